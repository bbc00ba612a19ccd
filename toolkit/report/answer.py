"""The report's first lines: what got better, what got worse, how sure, and what cannot be told.

Nothing is called better unless the paired difference keeps its sign over its whole 95% interval and stays
significant at 5% after Holm's correction for the number of metrics compared. Every claim comes with its
interval, p and n.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from toolkit.metrics.intervals import examples_to_settle, holm
from toolkit.report import figures, roles
from toolkit.report.meanings import Meaning, meaning
from toolkit.report.roles import Question
from toolkit.types import Difference, Rating, Summary

SIGNIFICANT = 0.05
TELLING = ("rougeL", "chrf", "token_f1", "bertscore_f1", "exact_match", "bleu", "rouge1", "perplexity")
"""Metrics in the order in which they are quoted and examples are chosen by them."""
MANY = 100_000
"""More examples than anybody would collect to settle a difference."""

Reading = Literal["better", "worse", "unclear", "describes"]
READINGS: tuple[Reading, ...] = ("better", "worse", "unclear", "describes")


@dataclass(frozen=True)
class Claim:
    """One paired difference, and what it shows."""

    difference: Difference
    corrected_p: float
    """After Holm's correction within its comparison."""
    reading: Reading
    meaning: Meaning
    before: float | None
    """The score of the contestant compared with."""
    after: float | None

    @property
    def change(self) -> str:
        """`0.715 → 0.906`; empty where the scores themselves are not known."""
        if self.before is None or self.after is None:
            return ""
        digits = self.meaning.digits
        return (
            f"{figures.number(self.before, digits)} \N{RIGHTWARDS ARROW} {figures.number(self.after, digits)}"
        )

    @property
    def size(self) -> str:
        return figures.signed(self.difference.value, self.meaning.digits)

    @property
    def interval(self) -> str:
        return figures.span(self.difference.low, self.difference.high, self.meaning.digits, sign=True)

    @property
    def p(self) -> str:
        return figures.p(self.corrected_p)

    @property
    def evidence(self) -> str:
        """What every claim comes with."""
        change = f"{self.change}, " if self.change else ""
        return f"{change}{self.size}, 95% interval {self.interval}, {self.p}, n {self.difference.n}"

    @property
    def wanted(self) -> int | None:
        """Examples that would settle a difference of this size; `None` where no number is reasonable."""
        if self.reading != "unclear":
            return None
        found = examples_to_settle(self.difference)
        return found if found and self.difference.n < found < MANY else None


@dataclass(frozen=True)
class Comparison:
    """The answer to one question, over all metrics."""

    question: Question
    claims: tuple[Claim, ...]

    def those(self, reading: Reading) -> tuple[Claim, ...]:
        return tuple(claim for claim in self.claims if claim.reading == reading)

    @property
    def ranking(self) -> int:
        """How many of the metrics can say which is better."""
        return len(self.claims) - len(self.those("describes"))

    @property
    def result(self) -> Literal["better", "worse", "mixed", "unclear"]:
        better, worse = self.those("better"), self.those("worse")
        if better and worse:
            return "mixed"
        return "better" if better else "worse" if worse else "unclear"

    @property
    def headline(self) -> str:
        """One sentence, without a full stop."""
        name, other = self.question.contestant, self.question.against
        told = {
            "better": f"{name} is better than {other}",
            "worse": f"{name} is worse than {other}",
            "mixed": f"{name} is better than {other} in some ways and worse in others",
            "unclear": f"No difference in quality between {name} and {other} is shown",
        }
        return told[self.result]

    @property
    def count(self) -> str:
        """`Of 9 metrics 8 are better, none is worse, 1 cannot be told`."""
        if not self.ranking:
            return "No metric that ranks was compared"
        better, worse, unclear = (len(self.those(reading)) for reading in READINGS[:3])
        parts = [f"{better or 'none'} {_are(better)} better", f"{worse or 'none'} {_are(worse)} worse"]
        parts += [f"{unclear} cannot be told"] if unclear else []
        return f"Of {figures.counted(self.ranking, 'metric')} {', '.join(parts)}"

    @property
    def leading(self) -> Claim | None:
        """The claim to quote first: of the most telling metric that shows a difference."""
        shown = self.those("better") + self.those("worse")
        place = {metric: index for index, metric in enumerate(TELLING)}
        return min(shown, key=lambda claim: place.get(claim.difference.metric, len(place)), default=None)


def compare(summary: Summary, question: Question, less_is_better: Iterable[str] = ()) -> Comparison:
    """Read every difference of one pair of contestants."""
    pair = (question.contestant, question.against)
    own = [found for found in summary.differences if (found.contestant, found.against) == pair]
    meanings = {found.metric: meaning(found.metric, less_is_better) for found in own}
    ranking = [found for found in own if meanings[found.metric].better]
    corrected = dict(
        zip([f.metric for f in ranking], holm([found.p_value for found in ranking]), strict=True)
    )
    scores = {(score.contestant, score.metric): score.value for score in summary.scores}
    claims = []
    for found in own:
        p, means = corrected.get(found.metric, found.p_value), meanings[found.metric]
        before, after = (scores.get((name, found.metric)) for name in (found.against, found.contestant))
        claims.append(Claim(found, p, read(found, p, means.better), means, before, after))
    return Comparison(question, tuple(claims))


def read(found: Difference, corrected_p: float, better: int) -> Reading:
    """What one difference shows; `better` is the sign of a change for the better, 0 where there is none."""
    if better == 0:
        return "describes"
    if not corrected_p < SIGNIFICANT or not (found.low > 0 or found.high < 0):
        return "unclear"
    return "better" if found.value * better > 0 else "worse"


def opening(compared: Sequence[Comparison]) -> str:
    """The answer in one or two sentences, from the most telling comparison."""
    if not compared:
        return "Nothing can be said: no two contestants were compared on the same examples."
    main = compared[0]
    told = {"better": "Yes", "worse": "No", "mixed": "In part", "unclear": "That cannot be told"}
    role = f", {main.question.role}" if main.question.role != roles.OTHER else ""
    return f"{told[main.result]}. {main.headline}{role}."


def leading(compared: Sequence[Comparison]) -> str:
    """The figures behind the opening."""
    if not compared:
        return ""
    claim = compared[0].leading
    quoted = f" {claim.meaning.title}: {claim.evidence}." if claim else ""
    return f"{compared[0].count}.{quoted}"


def caution(compared: Sequence[Comparison]) -> str:
    """What the p-values are corrected for, and what remains."""
    if not compared:
        return ""
    limit = min(1.0, SIGNIFICANT * len(compared))
    tests = figures.counted(sum(comparison.ranking for comparison in compared), "test")
    return (
        '"Better" and "worse" need the whole 95% interval of the paired difference on one side of zero and '
        f"p below 0.05. {tests} in {figures.counted(len(compared), 'comparison')}: p is corrected for the "
        "number of metrics in a comparison (Holm), so the chance of any false claim in one is at most 5%, "
        f"and over all comparisons here at most {figures.percent(limit)}."
    )


def standing(ratings: Sequence[Rating], voters: str) -> str:
    """Who leads by the votes, and whether the lead is beyond doubt; empty without ratings."""
    if not ratings:
        return ""
    top = [row for row in ratings if row.rank == 1]
    rated = ", ".join(f"{row.contestant} {figures.number(row.value, 0)} {_bracket(row)}" for row in ratings)
    votes = figures.counted(sum(row.battles for row in ratings) // 2, "vote")
    if len(top) == 1 and len(ratings) > 1:
        return f"{voters} put {top[0].contestant} first, beyond chance ({rated}; {votes})."
    names = figures.listed([row.contestant for row in top])
    return f"{voters} leave first place open between {names} ({rated}; {votes})."


def _bracket(row: Rating) -> str:
    known = figures.span(row.low, row.high, 0)
    return f"[{known}]" if known else ""


def unknowns(summary: Summary, compared: Sequence[Comparison]) -> list[str]:
    """What these data cannot tell, whatever the figures say."""
    over = units(summary)
    found = [_unsettled(comparison, over) for comparison in compared]
    if summary.stages:
        found.append(
            "Another training run: each stage was trained once, with one seed. The intervals are over "
            f"{over}; they do not hold the chance of training itself."
        )
    if summary.scores:
        found.append("Other prompts: the intervals are for examples drawn like these, not for another task.")
    return [sentence for sentence in found if sentence]


def units(summary: Summary) -> str:
    """What intervals are over, and n counts."""
    column = summary.notes.get("groups")
    return f"groups of examples (by {column})" if column else "examples"


def _unsettled(comparison: Comparison, over: str) -> str:
    unclear = comparison.those("unclear")
    if not unclear:
        return ""
    question = comparison.question
    titles = figures.listed([claim.meaning.title for claim in unclear])
    told = f"Whether {question.contestant} is better or worse than {question.against} by {titles}."
    wanted = sorted(claim.wanted for claim in unclear if claim.wanted)
    if not wanted:
        return told
    least, most = figures.rounded(wanted[0]), figures.rounded(wanted[-1])
    count = least if least == most else f"{least} to {most}"
    return f"{told} About {count} {over} would settle differences of the size found here."


def _are(count: int) -> str:
    return "are" if count > 1 else "is"
