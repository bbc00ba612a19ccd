"""Vote sections: win rates and judge reliability."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from toolkit.errors import RatingError
from toolkit.judge.aggregation import Preference, is_separable, win_rates
from toolkit.ratings import tabulate
from toolkit.ratings.agreement import agreement as compare
from toolkit.ratings.agreement import agreement_sentence
from toolkit.recipe import Recipe
from toolkit.report import formatting
from toolkit.report.load import RunView
from toolkit.report.tables import Cell, Table
from toolkit.types import Vote


def win_rate_table(votes: Iterable[Vote], view: RunView) -> Table | None:
    """Every pair's win rate, raw and between answers of equal length; `None` without answers."""
    lengths = {
        (name, row.example_id): len(row.completion) for name, rows in view.completions.items() for row in rows
    }
    found = [
        Preference(
            contestant=vote.model_b,
            against=vote.model_a,
            value=1 - vote.points,
            example_id=vote.example_id,
            length=lengths[vote.model_b, vote.example_id],
            length_against=lengths[vote.model_a, vote.example_id],
        )
        for vote in votes
        if (vote.model_a, vote.example_id) in lengths and (vote.model_b, vote.example_id) in lengths
    ]
    rows = tuple(
        (
            Cell(f"{row['contestant']} over {row['against']}"),
            _share(row["win_rate"]),
            _share(row["length_controlled"])
            if is_separable(row["length_controlled"])
            else Cell("cannot be separated from length"),
            Cell(str(row["win_rate"]["n"])),
        )
        for row in win_rates(found)
    )
    header = ("pair", "win rate", "at equal length", "votes")
    return Table("Win rates with 95% intervals (a tie is half a win)", header, rows) if rows else None


def _share(share: dict[str, Any]) -> Cell:
    return Cell(
        formatting.percent(share["value"]),
        f"{formatting.percent(share['low'])} to {formatting.percent(share['high'])}",
    )


CHANCE = 0.5
"""A judge that tosses a coin gives the same winner in both orders half of the time."""
CONSISTENT = 0.8
NOISE = 0.2
"""Share of battles beyond the noise band below which a judge's verdicts are noise."""
JUDGE_SHARES = {
    "beyond_noise": "Mean probabilities further from 50% than rounding moves them",
    "consistency": "Same verdict in both orders",
    "first_position": "Won by the answer shown first (50% is unbiased)",
    "always_first": "Named the first answer in both orders",
    "always_second": "Named the second answer in both orders",
    "ties": "Votes that are ties",
    "unreadable": "Verdicts that could not be read",
    "refused": "Questions that the judge's server refused",
    "longer": "Votes for the longer answer, where lengths differ",
    "more_markdown": "Votes for the answer with more Markdown, where it differs",
}
"""Key of `summary.notes["judge"]` -> label."""


@dataclass(frozen=True)
class Judge:
    """One judge model with the statistics of its verdicts."""

    name: str
    battles: int
    identical: int
    shares: dict[str, dict[str, Any]]
    """Key of `JUDGE_SHARES` -> `{"value", "low", "high", "n"}`."""
    setup: dict[str, Any]
    """How a local judge computed, and how far rounding moves its mean probabilities (`band`)."""

    @property
    def is_noise(self) -> bool:
        """Whether its verdicts say nothing about the answers: too near even, or no steadier than a coin."""
        beyond, steady = self._interval("beyond_noise"), self._interval("consistency")
        if beyond is not None:
            return beyond[0] < NOISE
        return steady is not None and steady[1] <= CHANCE

    def origin(self, recipe: Recipe | None) -> str:
        """Which model judged, whether it is the contestants' base, what it saw and how it computed."""
        judge = recipe.judge if recipe else None
        parts = [f"{self.name} judged"]
        if recipe and judge and judge.endpoint is None and judge.model in (None, recipe.base):
            parts[0] += ", which is the base of the trained contestants"
        if judge:
            parts.append(f"it {'saw' if judge.reference else 'did not see'} the reference answers")
        if self.setup:
            parts.append("{dtype} on {device}, attention {attention}".format(**self.setup))
            parts.append(f"rounding moves its mean probabilities by up to {self.setup['band']:.4f}")
        return f"{'; '.join(parts)}."

    @property
    def strength(self) -> str:
        """How consistent the judge is, in one or two sentences."""
        found = self._interval("consistency")
        if found is None:
            return "How consistent this judge is was not measured: read its ratings as unproven."
        share = _share_text(self.shares["consistency"])
        return f"{_strength(*found)} It gave the same verdict in both orders on {share}; a coin would on 50%."

    @property
    def weak(self) -> bool:
        found = self._interval("consistency")
        return found is None or found[0] < CONSISTENT

    @property
    def position(self) -> str:
        """Which side it leans to, if these battles show it."""
        found = self._interval("first_position")
        if found is None:
            return ""
        value, low, high = found
        lean = f"the answer shown first won {_share_text(self.shares['first_position'])}"
        if low <= CHANCE <= high:
            return f"No lean to one position is shown: {lean}."
        side = "first" if value > CHANCE else "second"
        return (
            f"It leans to the answer shown {side}: {lean}. Asking in both orders takes this out of the votes."
        )

    def _interval(self, figure: str) -> tuple[float, float, float] | None:
        """A share with the ends of its interval; `None` where it was not measured."""
        share = self.shares.get(figure, {})
        value, low, high = (share.get(key) for key in ("value", "low", "high"))
        return None if value is None or low is None or high is None else (value, low, high)


def _strength(value: float, low: float, high: float) -> str:
    if high < CHANCE:
        return "Very weak judge: the order of the answers decides more often than the answers do."
    if low <= CHANCE:
        return "Very weak judge: these battles do not tell its verdicts from tosses of a coin."
    if value < CONSISTENT:
        return "Weak judge: where its two verdicts differ the vote is a tie, which draws ratings together."
    return "Consistent judge. That is not the same as a right one: only people's votes can show that."


def judges(notes: dict[str, Any]) -> list[Judge]:
    """From `summary.notes`; parts that are not there are left out."""
    found = notes.get("judge") or {}
    return [
        Judge(
            name,
            int(facts.get("battles", 0)),
            int(facts.get("identical", 0)),
            {
                key: facts[key]
                for key in JUDGE_SHARES
                if isinstance(facts.get(key), dict) and facts[key].get("n")
            },
            dict(facts.get("setup", {})),
        )
        for name, facts in found.items()
        if isinstance(facts, dict)
    ]


def weak_judges_note(found: Sequence[Judge]) -> str:
    """What to be wary of in the votes of these judges; empty where none of them is weak."""
    weak = sum(judge.weak for judge in found)
    if not weak:
        return ""
    return f"Weak judges in this jury: {weak} of {len(found)}" if len(found) > 1 else "This judge is weak"


def jury_cells(notes: dict[str, Any]) -> dict[str, str]:
    """How often the judges of a jury cast the same vote, all of them and two by two; empty for one judge."""
    found = notes.get("jury") or {}
    shares = {"All judges": found.get("unanimous")}
    shares |= {" and ".join(pair["judges"]): pair["agreement"] for pair in found.get("pairs", ())}
    return {who: _share_text(share) for who, share in shares.items() if share and share["n"]}


def share_cells(judge: Judge) -> dict[str, str]:
    """What each share is called -> the share with its interval and n."""
    return {JUDGE_SHARES[key]: _share_text(share) for key, share in judge.shares.items()}


def _share_text(share: dict[str, Any]) -> str:
    interval = f"{formatting.percent(share.get('low'))} to {formatting.percent(share.get('high'))}"
    return f"{formatting.percent(share['value'])} (95% interval {interval}, n {share['n']})"


def agreement(judge_votes: Sequence[Vote], people: Sequence[Vote]) -> str:
    """Agreement of judge and people, in words; empty without shared battles."""
    if not judge_votes or not people:
        return ""
    try:
        found = compare(tabulate(judge_votes), tabulate(people))
    except RatingError:
        return ""
    return f"The judge against people, on the battles both saw. {agreement_sentence(found)}"
