"""The report's sentences say no more than the figures do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.metric_info import known_figures, metric_info
from toolkit.ratings import bradley_terry
from toolkit.recipe import Recipe
from toolkit.report import headline
from toolkit.report.headline import BARE, BEFORE, FAIR, OTHER, ComparisonPair, headline_pairs
from toolkit.types import Completion, Difference, Rating, Ratings, Score, Summary, Vote

NEW, OLD = "tuned", "plain"
QUESTION = ComparisonPair(NEW, OLD, BARE)


def found(metric: str, value: float, half: float, p: float, n: int = 60) -> Difference:
    return Difference(
        metric=metric,
        contestant=NEW,
        against=OLD,
        value=value,
        low=value - half,
        high=value + half,
        p_value=p,
        n=n,
    )


def summary(*differences: Difference, **changes: object) -> Summary:
    fields = {
        "run": "r",
        "contestants": (OLD, NEW),
        "scores": (),
        "differences": differences,
        "ratings": Ratings(),
        "stages": (),
        "skipped": (),
        "seconds": 1.0,
    }
    return Summary.model_validate(fields | changes)


figure = st.floats(-100, 100, allow_nan=False)
differences = st.lists(
    st.builds(
        found,
        metric=st.sampled_from(sorted(known_figures())),
        value=figure,
        half=st.floats(0, 50),
        p=st.floats(0, 1),
    ),
    max_size=8,
    unique_by=lambda row: row.metric,
)


@given(differences)
def test_nothing_is_claimed_against_its_own_interval(rows):
    comparison = headline.compare(summary(*rows), QUESTION)
    assert {c.difference.metric for c in comparison.claims} == {row.metric for row in rows}
    for claim in (*comparison.with_conclusion("better"), *comparison.with_conclusion("worse")):
        row = claim.difference
        assert not row.low <= 0 <= row.high
        assert row.p_value <= claim.corrected_p < headline.SIGNIFICANT
        gained = row.value * metric_info(row.metric).better > 0
        assert gained == (claim.conclusion == "better")
    for claim in comparison.with_conclusion("describes"):
        assert metric_info(claim.difference.metric).better == 0


@given(differences)
def test_the_opening_claims_only_what_the_metrics_show(rows):
    comparison = headline.compare(summary(*rows), QUESTION)
    reply = headline.opening_sentence([comparison])
    main = comparison.primary.conclusion if comparison.primary else "unclear"
    kinds = set(comparison.families.values())
    assert reply.startswith("Yes") == (main == "better" and not {"worse", "mixed"} & kinds)
    assert reply.startswith("No.") == (main == "worse" and not {"better", "mixed"} & kinds)
    assert reply.startswith("That cannot be told") == (main == "unclear")
    if main == "better" and "worse" in kinds:
        assert reply.startswith("In part")
    quoted = headline.evidence_sentence([comparison])
    if comparison.primary:
        assert comparison.primary.metric_info.title in quoted
        assert all(word in quoted for word in ("95% interval", "p ", "n 60"))


@given(differences)
def test_every_claim_brings_its_interval_p_and_n(rows):
    for claim in headline.compare(summary(*rows), QUESTION).claims:
        assert "95% interval" in claim.evidence
        assert " to " in claim.evidence
        assert f"n {claim.difference.n}" in claim.evidence


def test_one_small_p_among_many_metrics_is_not_enough():
    names = [name for name, means in known_figures().items() if means.better]
    rows = [found(name, 0.1, 0.09, 0.03 if i == 0 else 0.5) for i, name in enumerate(names)]
    assert headline.compare(summary(rows[0]), QUESTION).result != "unclear"
    assert headline.compare(summary(*rows), QUESTION).result == "unclear"


def test_less_perplexity_is_better_and_more_is_worse():
    assert headline.compare(summary(found("perplexity", -3, 1, 0.001)), QUESTION).result == "better"
    assert headline.compare(summary(found("perplexity", 3, 1, 0.001)), QUESTION).result == "worse"


def test_a_benchmarks_own_direction_is_followed():
    row = summary(found("task/score", 3, 1, 0.001))
    assert headline.compare(row, QUESTION).result == "better"
    assert headline.compare(row, QUESTION, {"task/score"}).result == "worse"


def test_gains_and_losses_together_are_mixed():
    rows = summary(found("rougeL", 0.3, 0.1, 0.001), found("bertscore_f1", -0.2, 0.1, 0.001))
    assert headline.opening_sentence([headline.compare(rows, QUESTION)]) == (
        "In part. tuned is better than plain, the bare base, in some ways and worse in others."
    )


def test_the_change_is_computed_from_the_scores():
    scores = [Score(contestant=c, metric="rougeL", value=v, n=60) for c, v in ((OLD, 0.5), (NEW, 0.8))]
    comparison = headline.compare(summary(found("rougeL", 0.3, 0.1, 0.0002), scores=scores), QUESTION)
    assert headline.evidence_sentence([comparison]) == (
        "ROUGE-L: 0.500 → 0.800, +0.300, 95% interval +0.200 to +0.400, p < 0.001, n 60. "
        "Of 1 kind of measures 1 says better (word overlap), none says worse."
    )


def test_the_recipes_primary_metric_decides_and_one_kind_of_measure_counts_once():
    names = ("rougeL", "chrf", "bleu", "token_f1")
    rows = [found(name, 0.3, 0.1, 0.0001) for name in names] + [found("bertscore_f1", 0.01, 0.1, 0.5)]
    comparison = headline.compare(summary(*rows), QUESTION)
    assert comparison.headline() == "tuned is better than plain by ROUGE-L"
    assert comparison.counts_sentence == (
        "Of 2 kinds of measures 1 says better (word overlap), none says worse, "
        "1 cannot tell (embedding similarity)"
    )
    by_meaning = headline.compare(summary(*rows, notes={"primary": "bertscore_f1"}), QUESTION)
    assert by_meaning.result == "unclear"
    assert "by BERTScore F1" in by_meaning.headline()


def test_what_was_forgotten_is_a_kind_of_its_own():
    rows = [found("right", 0.3, 0.1, 0.0001), found("guard_bits_per_byte", 0.3, 0.1, 0.0001)]
    kinds = headline.compare(summary(*rows), QUESTION).families
    assert kinds == {"task checks": "better", "guard set": "worse"}


def test_votes_are_a_kind_of_measure():
    cast = [Vote(model_a=NEW, model_b=OLD, outcome="a")] * 20 + [Vote(model_a=OLD, model_b="z", outcome="a")]
    votes = {"the judge": bradley_terry(cast).decisions}
    kinds = headline.compare(summary(found("rougeL", 0.1, 0.2, 0.5)), QUESTION, votes=votes).families
    assert kinds == {"word overlap": "unclear", "the judge": "better"}


def test_too_few_examples_for_any_claim_are_named():
    names = [name for name, means in known_figures().items() if means.better]
    comparison = headline.compare(summary(*[found(name, 3, 1, 0.0625, n=5) for name in names]), QUESTION)
    assert comparison.result == "unclear"
    (caution, *_) = headline.limitations(summary(), [comparison])
    assert caution.startswith("Any difference, of whatever size: 5 examples and")


def test_the_primary_measure_does_not_pay_for_the_others():
    names = [name for name, means in known_figures().items() if means.better]
    run = summary(*[found(name, 3, 1, 0.0078, n=8) for name in names])
    comparison = headline.compare(run, QUESTION)
    assert [claim.difference.metric for claim in comparison.with_conclusion("better")] == ["rougeL"]
    assert comparison.primary.corrected_p == pytest.approx(0.0078 / 0.8)
    (caution, *_) = headline.limitations(summary(), [comparison])
    assert caution.startswith("Any difference but in the primary measure, of whatever size: 8 examples and")


def test_without_comparisons_nothing_is_claimed():
    assert headline.opening_sentence([]).startswith("Nothing can be said")
    assert headline.multiplicity_note([]) == ""


def test_what_would_settle_an_open_question_is_named():
    comparison = headline.compare(summary(found("rougeL", 0.05, 0.1, 0.3)), QUESTION)
    (sentence,) = headline.limitations(summary(), [comparison])
    assert sentence == (
        "Whether tuned is better or worse than plain by ROUGE-L. "
        "About 500 examples would settle differences of the size found here."
    )


def test_the_chance_of_a_false_claim_is_added_up():
    comparison = headline.compare(summary(found("rougeL", 0.3, 0.1, 0.001)), QUESTION)
    assert "at most 15%" in headline.multiplicity_note([comparison] * 3)


@pytest.mark.parametrize(("ranks", "open_"), [((1, 2), False), ((1, 1), True)])
def test_first_place_is_given_only_where_it_is_alone(ranks, open_):
    rows = [
        Rating(contestant=name, value=value, low=value - 30, high=value + 30, battles=40, rank=rank)
        for name, value, rank in zip(("x", "y"), (1050, 950), ranks, strict=True)
    ]
    reply = headline.ratings_sentence(rows, "People")
    assert ("leave first place open between x and y" in reply) == open_
    assert ("put x first" in reply) == (not open_)
    assert "x 1050 [1020 to 1080]" in reply
    assert "40 votes" in reply


def test_nobody_voted():
    assert headline.ratings_sentence([], "People") == ""


RECIPE = Recipe.model_validate(
    {
        "name": "r",
        "base": "b",
        "data": {"d": {"source": "d.jsonl"}},
        "stages": [
            {"name": "one", "method": "sft", "data": "d"},
            {"name": "two", "method": "dpo", "data": "d", "start": "one"},
        ],
        "contestants": {
            "bare": {},
            "shown": {"prompt": [{"role": "system", "content": "s"}]},
            "elsewhere": {"model": "m"},
            "first": {"stage": "one"},
            "last": {"stage": "two"},
        },
    }
)


def test_the_questions_of_a_run():
    names = list(RECIPE.contestants)
    assert headline_pairs(names, RECIPE) == [
        ComparisonPair("last", "shown", FAIR),
        ComparisonPair("last", "bare", BARE),
        ComparisonPair("last", "first", BEFORE),
        ComparisonPair("first", "bare", BARE),
    ]
    assert headline_pairs(["x", "y", "z"], None) == [
        ComparisonPair("z", "x", OTHER),
        ComparisonPair("z", "y", OTHER),
    ]
    assert headline_pairs(["x"], None) == []


def test_a_contestant_of_cut_or_empty_answers_is_flagged_in_the_first_sentence():
    def answers(bad: int) -> list[Completion]:
        texts = ["" if i % 2 else "cut off" for i in range(bad)] + ["fine"] * (10 - bad)
        return [
            Completion(
                example_id=str(i),
                contestant=OLD,
                messages=(),
                completion=text,
                finish="stop" if text != "cut off" else "length",
                tokens=1,
            )
            for i, text in enumerate(texts)
        ]

    assert headline.unusable_answers({OLD: answers(2), NEW: []}) == {}
    flags = headline.unusable_answers({OLD: answers(5), NEW: answers(0)})
    assert flags == {OLD: {"cut": 3, "empty": 2, "either": 5, "looping": 0, "n": 10}}
    rows = summary(found("rougeL", 0.3, 0.1, 0.001))
    comparison = headline.compare(rows, QUESTION)
    reply = f"5 of 10 answers of {OLD} (3 cut at the token limit and 2 empty) are incomplete"
    opening = headline.opening_sentence([comparison], flags)
    short = f"5 of 10 answers of {OLD} are cut at the token limit or empty"
    assert opening.endswith(f" But {short}: a higher max_new_tokens may change the comparison.")
    limits = headline.limitations(rows, [comparison], flags)
    assert f"{reply}: raise max_new_tokens before you compare with it." in limits


@pytest.mark.parametrize(
    ("text", "repeats"),
    [
        ("Reply: Sorry. I am sorry. I am sorry. I am sorry. I am so", True),
        ("no no no no no no", True),
        ("Reply: I'm sure you're not alone. I'm sure you're not alo", True),
        ("Reply: a long and winding answer that was cut before it could come to its en", False),
        ("", False),
    ],
)
def test_an_answer_that_repeats_itself_is_known(text, repeats):
    assert headline.repeats_itself(text) == repeats


def test_a_contestant_that_never_ends_is_not_called_treated_unfairly():
    row = Completion(
        example_id="e", contestant=OLD, messages=(), completion="I am " * 30, finish="length", tokens=60
    )
    flags = headline.unusable_answers({OLD: [row], NEW: []})
    assert flags[OLD] == {"cut": 1, "empty": 0, "either": 1, "looping": 1, "n": 1}
    assert "1 of them repeating themselves) never end" in headline.unusable_sentence(OLD, flags[OLD])
