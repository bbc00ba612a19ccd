"""How far the judge model's votes and the people's can be trusted, in plain sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from toolkit.errors import RatingError
from toolkit.ratings import tabulate
from toolkit.ratings.agreement import agreement as compare
from toolkit.ratings.agreement import trust
from toolkit.report import figures
from toolkit.types import Vote

COIN = 0.5
"""A judge that tosses a coin gives the same winner in both orders half of the time."""
STEADY = 0.8
FIGURES = {
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
"""Key of `summary.notes["judge"]` -> what it says."""


@dataclass(frozen=True)
class Judge:
    """One judge model, and what its own verdicts say about it."""

    name: str
    battles: int
    identical: int
    shares: dict[str, dict[str, Any]]
    """Key of `FIGURES` -> `{"value", "low", "high", "n"}`."""

    @property
    def strength(self) -> str:
        """How much its votes weigh, said first."""
        found = self._interval("consistency")
        if found is None:
            return "How consistent this judge is was not measured: read its ratings as unproven."
        told = _share(self.shares["consistency"])
        return f"{_strength(*found)} It gave the same verdict in both orders on {told}; a coin would on 50%."

    @property
    def weak(self) -> bool:
        found = self._interval("consistency")
        return found is None or found[0] < STEADY

    @property
    def position(self) -> str:
        """Which side it leans to, if these battles show it."""
        found = self._interval("first_position")
        if found is None:
            return ""
        value, low, high = found
        told = f"the answer shown first won {_share(self.shares['first_position'])}"
        if low <= COIN <= high:
            return f"No lean to one position is shown: {told}."
        side = "first" if value > COIN else "second"
        return (
            f"It leans to the answer shown {side}: {told}. Asking in both orders takes this out of the votes."
        )

    def _interval(self, figure: str) -> tuple[float, float, float] | None:
        """A share with the ends of its interval; `None` where it was not measured."""
        share = self.shares.get(figure, {})
        value, low, high = (share.get(key) for key in ("value", "low", "high"))
        return None if value is None or low is None or high is None else (value, low, high)


def _strength(value: float, low: float, high: float) -> str:
    if high < COIN:
        return "Very weak judge: the order of the answers decides more often than the answers do."
    if low <= COIN:
        return "Very weak judge: these battles do not tell its verdicts from tosses of a coin."
    if value < STEADY:
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
            {key: facts[key] for key in FIGURES if isinstance(facts.get(key), dict) and facts[key].get("n")},
        )
        for name, facts in found.items()
        if isinstance(facts, dict)
    ]


def weakness(found: Sequence[Judge]) -> str:
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
    return {who: _share(share) for who, share in shares.items() if share and share["n"]}


def share_cells(judge: Judge) -> dict[str, str]:
    """What each share is called -> the share with its interval and n."""
    return {FIGURES[key]: _share(share) for key, share in judge.shares.items()}


def _share(share: dict[str, Any]) -> str:
    interval = f"{figures.percent(share.get('low'))} to {figures.percent(share.get('high'))}"
    return f"{figures.percent(share['value'])} (95% interval {interval}, n {share['n']})"


def agreement(judged: Sequence[Vote], people: Sequence[Vote]) -> str:
    """How far the judge's votes can stand in for people's; empty without battles that both saw."""
    if not judged or not people:
        return ""
    try:
        found = compare(tabulate(judged), tabulate(people))
    except RatingError:
        return ""
    return f"The judge against people, on the battles both saw. {trust(found)}"
