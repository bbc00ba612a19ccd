"""Which examples are shown."""

from pathlib import Path

from toolkit.metrics.measurement import measurement_from_values
from toolkit.report.examples import load_examples
from toolkit.report.headline import OTHER, ComparisonPair
from toolkit.report.load import RunView
from toolkit.types import Completion, Message, Ratings, Summary

QUESTION = ComparisonPair("new", "old", OTHER)


def view(gains: list[float], *, measured: bool = True) -> RunView:
    """Answers of two contestants, the second better by `gains` in ROUGE-L."""
    ids = [f"e{i}" for i in range(len(gains))]
    answers = {
        name: [
            Completion(
                example_id=example,
                contestant=name,
                messages=(Message(role="user", content="?"),),
                completion=" ".join(f"{name}{j}" if j < i else "same" for j in range(len(ids))),
                finish="stop",
                tokens=3,
            )
            for i, example in enumerate(ids)
        ]
        for name in ("old", "new")
    }
    values = {"old": [0.5] * len(gains), "new": [0.5 + gain for gain in gains]}
    measurements = {
        name: [measurement_from_values(name, "rougeL", dict(zip(ids, found, strict=True)))]
        for name, found in values.items()
    }
    summary = Summary(
        run="r",
        contestants=("old", "new"),
        scores=(),
        differences=(),
        ratings=Ratings(),
        stages=(),
        skipped=(),
        seconds=0,
    )
    return RunView(
        folder=Path(),
        summary=summary,
        completions=answers,
        measurements=measurements if measured else {},
    )


def test_the_most_gained_the_most_lost_and_the_middle():
    found = load_examples(view([0.1, -0.4, 0.4, 0.0, -0.1, 0.3, 0.05, -0.2]), QUESTION)
    assert [(shown.id, shown.why) for shown in found.chosen] == [
        ("e2", "largest gain"),
        ("e1", "largest loss"),
        ("e6", "typical"),
    ]
    assert found.metric == "ROUGE-L"
    assert found.chosen[0].answers[1].figure == "ROUGE-L 0.90"
    assert found.tags == {"lost": 3, "gained": 4}


def test_no_example_is_shown_twice_or_called_a_loss_when_it_is_none():
    found = load_examples(view([0.2, 0.1]), QUESTION)
    assert [(shown.id, shown.why) for shown in found.chosen] == [("e0", "largest gain")]


def test_without_a_metric_the_most_different_answers_are_shown():
    found = load_examples(view([0.0] * 6, measured=False), QUESTION)
    assert found.chosen[0].id == "e5"
    assert "largest gain" not in {shown.why for shown in found.chosen}
    assert found.chosen[0].answers[0].figure == ""
    assert found.tags == {}


def test_no_answers_no_examples():
    assert load_examples(view([]), QUESTION) is None


def test_examples_are_tagged_by_what_went_wrong():
    run = view([0.1, -0.1, 0.0])
    old, new = run.completions["old"], run.completions["new"]
    old[0] = old[0].model_copy(update={"completion": "", "finish": "length"})
    new[1] = new[1].model_copy(update={"completion": "I'm sorry, but I cannot help with that."})
    new[2] = new[2].model_copy(update={"completion": "", "finish": "refused", "error": "no"})
    tags = {shown.id: set(shown.tags) for shown in load_examples(run, QUESTION).examples}
    assert tags == {"e0": {"gained", "cut", "empty"}, "e1": {"lost", "declined"}, "e2": {"refused"}}


def test_less_is_better_turns_gain_and_loss_round():
    run = view([0.1, -0.1])
    (mine,), (theirs,) = run.measurements["new"], run.measurements["old"]
    run.measurements["new"] = [mine.model_copy(update={"metric": "perplexity"})]
    run.measurements["old"] = [theirs.model_copy(update={"metric": "perplexity"})]
    found = load_examples(run, QUESTION)
    assert [shown.tags for shown in found.examples] == [("lost",), ("gained",)]
