"""Select the headline comparisons of a run, and state what improved, what got worse and what is undecided.

Nothing is called better unless the paired difference keeps its sign over its whole 95% interval and stays
significant at 5% after Holm's correction for the number of metrics compared. The primary measure has four
fifths of that error, and decides the headline; other measures agree or not by kind, since several counts of
one kind are one finding.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from toolkit import metric_info as metrics
from toolkit.metric_info import MetricInfo, metric_info
from toolkit.metrics.intervals import examples_needed
from toolkit.metrics.measurement import FEWEST_SEEDS
from toolkit.ratings import Decisions
from toolkit.recipe import Recipe, contestants, is_fair_baseline
from toolkit.report.formatting import counted, listed, number, p, percent, rounded, signed, span
from toolkit.statistics import PRIMARY_SHARE, SIGNIFICANT, decide, holm, smallest_p
from toolkit.types import Completion, Difference, Rating, Score, Summary

FAIR = "the fair baseline"
BARE = "the bare base"
BEFORE = "the stage before"
OTHER = "another contestant"


@dataclass(frozen=True)
class ComparisonPair:
    """A pair to compare; `role` describes `against`."""

    contestant: str
    against: str
    role: str

    @property
    def title(self) -> str:
        return f"{self.contestant} against {self.against}"


def headline_pairs(names: Sequence[str], recipe: Recipe | None) -> list[ComparisonPair]:
    """Headline comparisons, the most important first.

    The last trained contestant against the base with a prompt (the fair baseline) and against the bare base,
    then every stage against the one it was trained on. Without a recipe, or where nothing was trained, the
    last contestant against all others.
    """
    specs = {n: spec for n, spec in (contestants(recipe) if recipe else {}).items() if n in names}
    trained = [name for name, spec in specs.items() if spec.stage]
    if recipe is None or not trained:
        return [ComparisonPair(names[-1], other, OTHER) for other in names[:-1]]
    final = trained[-1]
    fair = [name for name, spec in specs.items() if is_fair_baseline(spec)]
    bare = [name for name, spec in specs.items() if spec.on_base and not spec.has_prompt]
    found = [ComparisonPair(final, other, FAIR) for other in fair]
    found += [ComparisonPair(final, other, BARE) for other in bare[:1]]
    for name in reversed(trained):
        parent = recipe.stage(specs[name].stage or "").start
        before = bare[:1] if parent == "base" else [n for n in trained if specs[n].stage == parent]
        found += [ComparisonPair(name, other, BARE if parent == "base" else BEFORE) for other in before[:1]]
    return list({(q.contestant, q.against): q for q in reversed(found)}.values())[::-1]


METRIC_ORDER = ("rougeL", "chrf", "token_f1", "bertscore_f1", "exact_match", "bleu", "rouge1", "perplexity")
"""Metrics in the order in which they are quoted and examples are chosen by them."""


def quoted_scores(summary: Summary) -> list[Score]:
    """The scores of the primary measure; where there are none, of the first of `METRIC_ORDER` with any."""
    by_metric: dict[str, list[Score]] = {}
    for score in summary.scores:
        by_metric.setdefault(score.metric, []).append(score)
    order = (summary.notes.get("primary"), *METRIC_ORDER)
    return next((by_metric[metric] for metric in order if metric in by_metric), [])


MAX_EXAMPLES_NEEDED = 100_000
"""No sample size above this is suggested."""

FAMILIES = {
    metrics.WORDS: "word overlap",
    metrics.SENSE: "embedding similarity",
    metrics.LIKELIHOOD: "likelihood",
    metrics.GUARD: "guard set",
    metrics.BENCHMARKS: "benchmarks",
    metrics.OTHER: "task checks",
}
"""Group of metrics -> the kind of measure it is: word overlap counted in ten ways is one finding."""

Conclusion = Literal["better", "worse", "unclear", "describes"]


@dataclass(frozen=True)
class Claim:
    """One paired difference and its conclusion."""

    difference: Difference
    corrected_p: float
    """After Holm's correction within its comparison."""
    conclusion: Conclusion
    metric_info: MetricInfo
    before: float | None
    """The score of the contestant compared with."""
    after: float | None

    @property
    def size(self) -> str:
        return signed(self.difference.value, self.metric_info.digits)

    @property
    def interval(self) -> str:
        return span(self.difference.low, self.difference.high, self.metric_info.digits, sign=True)

    @property
    def p(self) -> str:
        return p(self.corrected_p)

    @property
    def evidence(self) -> str:
        """`0.715 -> 0.906, +0.191, 95% interval 0.120 to 0.260, p < 0.001, n 60`."""
        change = ""
        if self.before is not None and self.after is not None:
            before, after = (number(each, self.metric_info.digits) for each in (self.before, self.after))
            change = f"{before} \N{RIGHTWARDS ARROW} {after}, "
        return f"{change}{self.size}, 95% interval {self.interval}, {self.p}, n {self.difference.n}"

    @property
    def examples_needed(self) -> int | None:
        """Examples that would settle a difference of this size; `None` where no number is reasonable."""
        if self.conclusion != "unclear":
            return None
        found = examples_needed(self.difference)
        return found if found and self.difference.n < found < MAX_EXAMPLES_NEEDED else None


@dataclass(frozen=True)
class Comparison:
    """The answer to one question, over all metrics."""

    pair: ComparisonPair
    claims: tuple[Claim, ...]
    measure: str = ""
    """The recipe's primary metric."""
    votes: dict[str, Conclusion] = field(default_factory=dict)
    """Voters -> what their votes decide between the two."""

    def with_conclusion(self, conclusion: Conclusion) -> tuple[Claim, ...]:
        return tuple(claim for claim in self.claims if claim.conclusion == conclusion)

    @property
    def ranked_metrics(self) -> int:
        """Number of metrics that have a direction."""
        return len(self.claims) - len(self.with_conclusion("describes"))

    @property
    def primary(self) -> Claim | None:
        """The claim of the measure that decides."""
        ranking = {c.difference.metric: c for c in self.claims if c.conclusion != "describes"}
        return ranking[primary_metric(ranking, self.measure)] if ranking else None

    @property
    def families(self) -> dict[str, Conclusion | Literal["mixed"]]:
        """Kind of measure -> what it shows; several metrics of one kind are one finding."""
        found: dict[str, set[Conclusion]] = {}
        for claim in self.claims:
            if claim.conclusion != "describes":
                kind = FAMILIES.get(claim.metric_info.group, "task checks")
                found.setdefault(kind, set()).add(claim.conclusion)
        shown = {kind: conclusions - {"unclear"} or {"unclear"} for kind, conclusions in found.items()}
        return {kind: "mixed" if len(own) > 1 else min(own) for kind, own in shown.items()} | self.votes

    @property
    def result(self) -> Literal["better", "worse", "mixed", "unclear"]:
        """What the primary measure shows; mixed where another kind of measure shows the opposite."""
        main = self.primary.conclusion if self.primary else "unclear"
        opposite = {"better": "worse", "worse": "better"}.get(main)
        if opposite and {opposite, "mixed"} & set(self.families.values()):
            return "mixed"
        return main if main in ("better", "worse") else "unclear"

    def headline(self, role: str = "") -> str:
        """One sentence without a full stop; `role` says what the other contestant is."""
        name, other = self.pair.contestant, self.pair.against + (f", {role}," if role else "")
        by = f" by {self.primary.metric_info.title}" if self.primary else ""
        text = {
            "better": f"{name} is better than {other}{by}",
            "worse": f"{name} is worse than {other}{by}",
            "mixed": f"{name} is better than {other} in some ways and worse in others",
            "unclear": f"No difference in quality between {name} and {other} is shown{by}",
        }
        return text[self.result]

    def kinds_of(self, conclusion: str) -> list[str]:
        """The kinds of measures that show this."""
        return [kind for kind, found in self.families.items() if found == conclusion]

    @property
    def kinds(self) -> str:
        """`better: likelihood, the judge; cannot tell: word overlap`."""
        titles = {"better": "better", "worse": "worse", "mixed": "both", "unclear": "cannot tell"}
        own = {title: self.kinds_of(key) for key, title in titles.items()}
        return "; ".join(f"{title}: {', '.join(names)}" for title, names in own.items() if names)

    @property
    def counts_sentence(self) -> str:
        """`Of 4 kinds of measures 2 say better (likelihood, the judge), none says worse, ...`."""
        if not self.families:
            return "No metric that ranks was compared"
        parts = []
        for conclusion, words in (("better", "better"), ("worse", "worse"), ("mixed", "both")):
            own = self.kinds_of(conclusion)
            if own or conclusion != "mixed":
                named = f" ({', '.join(own)})" if own else ""
                parts.append(f"{len(own) or 'none'} {'say' if len(own) > 1 else 'says'} {words}{named}")
        if unclear := self.kinds_of("unclear"):
            parts.append(f"{len(unclear)} cannot tell ({', '.join(unclear)})")
        return f"Of {counted(len(self.families), 'kind')} of measures {', '.join(parts)}"


def compare(
    summary: Summary,
    pair: ComparisonPair,
    less_is_better: Collection[str] = (),
    votes: Mapping[str, Decisions] = MappingProxyType({}),
) -> Comparison:
    """Read every difference of one pair of contestants, and what voters decide between the two."""
    own = [d for d in summary.differences if (d.contestant, d.against) == (pair.contestant, pair.against)]
    infos = {found.metric: metric_info(found.metric, less_is_better) for found in own}
    measure = summary.notes.get("primary") or ""
    ranking = {found.metric: found.p_value for found in own if infos[found.metric].better}
    corrected = correct_p_values(ranking, measure)
    scores = {(score.contestant, score.metric): score.value for score in summary.scores}
    claims = []
    for found in own:
        p_value, info = corrected.get(found.metric, found.p_value), infos[found.metric]
        before, after = (scores.get((name, found.metric)) for name in (found.against, found.contestant))
        claims.append(Claim(found, p_value, conclude(found, p_value, info.better), info, before, after))
    sides, decided = (pair.contestant, pair.against), dict[str, Conclusion]()
    for voters, ranked in votes.items():
        if set(sides) <= set(ranked.names):
            better, worse = ranked.better(*sides), ranked.better(*sides[::-1])
            decided[voters] = "better" if better else "worse" if worse else "unclear"
    return Comparison(pair, tuple(claims), measure, decided)


def primary_metric(metrics: Iterable[str], measure: str) -> str:
    """The metric that decides: `measure` of the recipe, else the first of `METRIC_ORDER`, else the first."""
    place = {metric: index for index, metric in enumerate(dict.fromkeys((measure, *METRIC_ORDER)))}
    return min(metrics, key=lambda metric: place.get(metric, len(place)))


def correct_p_values(p_values: Mapping[str, float], measure: str) -> dict[str, float]:
    """P-values of the metrics that rank two contestants, by Holm's correction with a primary metric."""
    if not p_values:
        return {}
    primary = list(p_values).index(primary_metric(p_values, measure))
    return dict(zip(p_values, holm(list(p_values.values()), primary), strict=True))


def conclude(found: Difference, corrected_p: float, better: int) -> Conclusion:
    """What one difference shows; `better` is the sign of a change for the better, 0 where there is none."""
    return decide(found.low, found.high, corrected_p, better) if better else "describes"


UNUSABLE = 0.2
"""Share of cut or empty answers above which a contestant is flagged."""


def unusable_answers(completions: Mapping[str, Sequence[Completion]]) -> dict[str, dict[str, int]]:
    """Contestants of whom too many answers are cut at the limit or empty: `cut`, `looping`, `empty` ..."""
    found = {}
    for name, rows in completions.items():
        answered = [row for row in rows if not row.refused]
        cut = {row.example_id for row in answered if row.finish == "length"}
        empty = {row.example_id for row in answered if not row.completion.strip()}
        if len(cut | empty) > UNUSABLE * len(answered):
            looping = sum(row.example_id in cut and repeats_itself(row.completion) for row in answered)
            counts = {"cut": len(cut), "empty": len(empty), "either": len(cut | empty), "looping": looping}
            found[name] = counts | {"n": len(answered)}
    return found


LONGEST_CYCLE = 25
"""Words."""


def repeats_itself(text: str) -> bool:
    """Whether a text that was cut ends in words that it has just written: no limit would have ended it.

    Its last four words, or half a cycle of up to 25 words where that is more, are those one cycle before.
    """
    words = text.split()[:-1]  # the last one may be half a word
    return any(
        words[-length:] == words[-length - cycle : -cycle]
        for cycle in range(1, min(LONGEST_CYCLE, len(words) - 4) + 1)
        for length in [max(4, cycle // 2)]
    )


def loops(counts: Mapping[str, int]) -> bool:
    """Whether most of the unusable answers repeat themselves: the contestant's own fault, not the limit's."""
    return 2 * counts.get("looping", 0) > counts["either"]


def unusable_part(name: str, counts: Mapping[str, int]) -> str:
    """`16 of 60 answers of base-fewshot (16 cut at the token limit)`."""
    repeating = f", {counts['looping']} of them repeating themselves" if counts.get("looping") else ""
    kinds = [f"{counts['cut']} cut at the token limit{repeating}", f"{counts['empty']} empty"]
    named = " and ".join(kind for kind in kinds if not kind.startswith("0 "))
    return f"{counts['either']} of {counts['n']} answers of {name} ({named})"


def unusable_sentence(name: str, counts: Mapping[str, int]) -> str:
    """What is wrong with a contestant's answers, without a full stop."""
    if loops(counts):
        return f"{unusable_part(name, counts)} never end: a higher limit would not help it"
    return f"{unusable_part(name, counts)} are incomplete: raise max_new_tokens before you compare with it"


def opening_sentence(
    compared: Sequence[Comparison], unusable: Mapping[str, Mapping[str, int]] = MappingProxyType({})
) -> str:
    """The answer in one or two sentences, from the most telling comparison, and what makes it unfair."""
    if not compared:
        return "Nothing can be said: no two contestants were compared on the same examples."
    main = compared[0]
    text = {"better": "Yes", "worse": "No", "mixed": "In part", "unclear": "That cannot be told"}
    role = main.pair.role if main.pair.role != OTHER else ""
    pair = (main.pair.contestant, main.pair.against)
    flagged = {name: unusable[name] for name in pair if name in unusable}
    unfair = f" But {_unfair(flagged)}." if flagged else ""
    return f"{text[main.result]}. {main.headline(role)}.{unfair}"


def _unfair(flagged: Mapping[str, Mapping[str, int]]) -> str:
    """Why a comparison may be unfair; the kinds of faults of each contestant are in the limitations."""
    parts = [f"{counts['either']} of {counts['n']} answers of {name}" for name, counts in flagged.items()]
    if all(map(loops, flagged.values())):
        return f"{listed(parts)} never end"
    names = {"cut": "cut at the token limit", "empty": "empty"}
    kinds = [name for kind, name in names.items() if any(counts[kind] for counts in flagged.values())]
    change = ": a higher max_new_tokens may change the comparison" if kinds[0] != "empty" else ""
    return f"{listed(parts)} are {' or '.join(kinds)}{change}"


def evidence_sentence(compared: Sequence[Comparison]) -> str:
    """The figures behind the opening."""
    if not compared:
        return ""
    claim = compared[0].primary
    quoted = f"{claim.metric_info.title}: {claim.evidence}. " if claim else ""
    return f"{quoted}{compared[0].counts_sentence}."


def multiplicity_note(compared: Sequence[Comparison]) -> str:
    """The multiplicity correction, in words."""
    if not compared:
        return ""
    limit = min(1.0, SIGNIFICANT * len(compared))
    tests = counted(sum(comparison.ranked_metrics for comparison in compared), "test")
    return (
        '"Better" and "worse" need the whole 95% interval of the paired difference on one side of zero and '
        f"p below 0.05. {tests} in {counted(len(compared), 'comparison')}: p is corrected for the "
        "number of metrics in a comparison (Holm, four fifths of the error for the primary measure), so the "
        "chance of any false claim in one is at most 5%, and over all comparisons here at most "
        f"{percent(limit)}."
    )


def ratings_sentence(ratings: Sequence[Rating], voters: str) -> str:
    """Who leads by the votes, and whether the lead is beyond doubt; empty without ratings."""
    if not ratings:
        return ""
    top = [row for row in ratings if row.rank == 1]
    spans = [f" [{ends}]" if (ends := span(row.low, row.high, 0)) else "" for row in ratings]
    named = (f"{row.contestant} {number(row.value, 0)}" for row in ratings)
    rated = ", ".join(map("".join, zip(named, spans, strict=True)))
    votes = counted(sum(row.battles for row in ratings) // 2, "vote")
    if len(top) == 1 and len(ratings) > 1:
        return f"{voters} put {top[0].contestant} first, beyond chance ({rated}; {votes})."
    names = listed([row.contestant for row in top])
    return f"{voters} leave first place open between {names} ({rated}; {votes})."


def limitations(
    summary: Summary,
    compared: Sequence[Comparison],
    unusable: Mapping[str, Mapping[str, int]] = MappingProxyType({}),
    others: Sequence[str] = (),
) -> list[str]:
    """Limitations of the run's data; `others`: runs that were scored on the same examples."""
    over = resampling_unit(summary)
    found = [f"{unusable_sentence(name, counts)}." for name, counts in unusable.items()]
    found += [sample_caution(compared, over), *(_undecided_sentence(each, over) for each in compared)]
    if summary.stages:
        found.append(_seeds_sentence(summary, over))
    if samples := summary.notes.get("samples"):
        found.append(
            f"Other answers to these prompts: scores are of {samples} sampled answers to each example, and "
            "intervals hold the chance of sampling; judge, people and the examples shown have the first."
        )
    if sweep := summary.notes.get("sweep"):
        settings = ", ".join(f"{key} {value}" for key, value in sweep["chosen"].items())
        count, title = len(sweep["variants"]), metric_info(sweep["metric"]).title
        found.append(
            f"Other settings: {settings} was chosen of {count} variants by {title} on "
            f"`{sweep['validation']}`; one was scored on the test set."
        )
    found.append(tried_sentence(others))
    if summary.scores:
        found.append("Other prompts: the intervals are for examples drawn like these, not for another task.")
    return [sentence for sentence in found if sentence]


def _seeds_sentence(summary: Summary, over: str) -> str:
    """Whether intervals hold the chance of training."""
    seeds = summary.notes.get("seeds")
    if not seeds:
        return (
            "Another training run: each stage was trained once, with one seed. The intervals are over "
            f"{over}; they do not hold the chance of training itself."
        )
    if seeds["count"] < FEWEST_SEEDS:
        return "Another training run: two seeds were trained, and claims are about the first (see Training)."
    return (
        f"Other ways of training: intervals of scores hold {over} and {seeds['count']} seeds (see Training)."
    )


def tried_sentence(others: Sequence[str]) -> str:
    """How many variants were tried on this test set; empty where none was."""
    if not others:
        return ""
    shown = listed([*others[:3], *([f"{len(others) - 3} more"] if len(others) > 3 else [])])  # noqa: PLR2004
    were = "was" if len(others) == 1 else "were"
    return (
        f"The best of several: {counted(len(others), 'other run')} in this results folder ({shown}) {were} "
        "scored on the same test set. One that was chosen among them by it looks better than it is; choose "
        "by `scoring.validation`, and confirm on examples not yet used."
    )


FEW = 30
"""Examples below which intervals and p-values lean on the shape of the differences."""


def sample_caution(compared: Sequence[Comparison], over: str) -> str:
    """What so few examples cannot show; empty where they are enough."""
    claims = [claim for comparison in compared for claim in comparison.claims]
    if not claims:
        return ""
    n = min(claim.difference.n for claim in claims)
    tests = max(comparison.ranked_metrics for comparison in compared)
    if smallest_p(n) * max(1, tests - 1) >= SIGNIFICANT:
        shown = " but in the primary measure" if smallest_p(n) < SIGNIFICANT * PRIMARY_SHARE else ""
        return f"Any difference{shown}, of whatever size: {n} {over} and {tests} metrics leave p above 0.05."
    if n < FEW:
        return f"Much with {n} {over}: where differences are skewed, a decision near its limit may be wrong."
    return ""


def resampling_unit(summary: Summary) -> str:
    """What intervals are over, and n counts."""
    column = summary.notes.get("groups")
    return f"groups of examples (by {column})" if column else "examples"


def interval_unit(summary: Summary) -> str:
    """What 95% intervals are over, seeds included."""
    count = summary.notes.get("seeds", {}).get("count", 1)
    return resampling_unit(summary) + (f" and {count} training seeds" if count >= FEWEST_SEEDS else "")


def _undecided_sentence(comparison: Comparison, over: str) -> str:
    unclear, pair = comparison.with_conclusion("unclear"), comparison.pair
    if not unclear:
        return ""
    titles = listed([claim.metric_info.title for claim in unclear])
    text = f"Whether {pair.contestant} is better or worse than {pair.against} by {titles}."
    needed = sorted(claim.examples_needed for claim in unclear if claim.examples_needed)
    if not needed:
        return text
    count = " to ".join(dict.fromkeys((rounded(needed[0]), rounded(needed[-1]))))
    return f"{text} About {count} {over} would settle differences of the size found here."
