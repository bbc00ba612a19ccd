"""Vote section: ratings, win rates and judge reliability."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from toolkit.errors import RatingError
from toolkit.judge.aggregation import is_separable, preference_of, win_rates
from toolkit.ratings import Decisions, bradley_terry, first_place, tabulate
from toolkit.ratings.agreement import agreement as compare
from toolkit.ratings.agreement import agreement_sentence
from toolkit.recipe import Recipe
from toolkit.report import charts, headline, tables
from toolkit.report.formatting import percent
from toolkit.report.load import RunView
from toolkit.report.tables import Cell, Table
from toolkit.types import Vote

NOISE_SENTENCE = (
    "The judge's verdicts are noise: they do not differ from even by more than rounding moves them, or from "
    "tosses of a coin. No ratings are made of them."
)


SIMULATED = "Simulated voters (no people)"


def judges_are_noise(view: RunView) -> bool:
    """Whether the verdicts of every judge are noise."""
    found = judges(view.summary.notes)
    return bool(found) and all(each.is_noise for each in found)


def decisions(view: RunView) -> dict[str, Decisions]:
    """Voters -> what their votes decide; a judge whose verdicts are noise decides nothing."""
    fits = {"people": view.people_fit, "the judge": None if judges_are_noise(view) else view.judge_fit}
    return {voters: fit.decisions for voters, fit in fits.items() if fit}


def votes_section(view: RunView, colours: dict[str, int]) -> dict[str, Any]:
    """Judge and people: standings, charts, matrices, and how far to trust them."""
    found, jury = judges(view.summary.notes), jury_cells(view.summary.notes)
    noise, weak = judges_are_noise(view), weak_judges_note(found)
    judge = "The jury's votes" if jury else "The judge model's votes"
    simulated = bradley_terry(view.simulated) if view.simulated else None
    fits = {"People": view.people_fit, judge: view.judge_fit, SIMULATED: simulated}
    stored = {"People": view.summary.ratings.people, judge: view.summary.ratings.judge}
    boards, firm = [], []
    for title, votes in (("People", view.people), (judge, view.judge_votes), (SIMULATED, view.simulated)):
        void, fit = noise and title == judge, fits[title]
        place = first_place(votes) if votes and not void else None
        firm += [f"{title}: {place.sentence}"] if place else []
        if rows := fit.ratings if fit else stored.get(title):
            chart = charts.contestant_dots(f"{title}: ratings with 95% intervals", rows, colours, 0)
            board = {
                "title": title,
                "chart": "" if void else chart,
                "table": tables.ratings(title, () if void else rows, fit.settings if fit else ""),
                "wins": tables.wins(title, votes, view.summary.contestants),
                "rates": win_rate_table(votes, view),
                "standing": NOISE_SENTENCE if void else headline.ratings_sentence(rows, title),
                "weak": "" if void or title != judge else weak,
            }
            boards.append(board)
    both = None if noise else view.both_fit
    beside = {"People": view.people_fit, "Judge": view.judge_fit, "People + judge": both}
    return {
        "beside": tables.ratings_beside({k: f.ratings for k, f in beside.items() if f}) if both else None,
        "both": f"People + judge: {both.settings}" if both else "",
        "both_rates": tables.win_rates_together(both.win_rates) if both else None,
        "firm": firm,
        "boards": boards,
        "origins": [each.origin(view.recipe) for each in found],
        "judges": [(each, each.table) for each in found],
        "jury": tables.facts("The jury: how often its judges cast the same vote", jury) if jury else None,
        "agreement": agreement(view.judge_votes, view.people),
    }


def win_rate_table(votes: Iterable[Vote], view: RunView) -> Table | None:
    """Every pair's win rate, raw and between answers of equal length; `None` without answers."""
    lengths = {
        (name, row.example_id): len(row.completion) for name, rows in view.completions.items() for row in rows
    }
    sides = [(vote, (vote.model_a, vote.example_id), (vote.model_b, vote.example_id)) for vote in votes]
    found = [
        preference_of(vote, lengths[a], lengths[b]).reversed()
        for vote, a, b in sides
        if a in lengths and b in lengths
    ]
    rows = []
    for row in win_rates(found):
        equal = row["length_controlled"]
        controlled = _share_cell(equal) if is_separable(equal) else "cannot be separated from length"
        pair = f"{row['contestant']} over {row['against']}"
        rows.append((pair, _share_cell(row["win_rate"]), controlled, row["win_rate"]["n"]))
    header = ("pair", "win rate", "at equal length", "votes")
    return Table.of("Win rates with 95% intervals (a tie is half a win)", header, rows) if rows else None


def _share_cell(share: dict[str, Any]) -> Cell:
    return Cell(percent(share["value"]), f"{percent(share['low'])} to {percent(share['high'])}")


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

    @property
    def weak(self) -> bool:
        found = self._interval("consistency")
        return found is None or found[0] < CONSISTENT

    @property
    def table(self) -> Table:
        """Every share with its interval and n."""
        cells = {JUDGE_SHARES[key]: _share_text(share) for key, share in self.shares.items()}
        return tables.facts(f"Judge {self.name}", cells)

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
        value, low, high = found
        if high < CHANCE:
            text = "Very weak judge: the order of the answers decides more often than the answers do."
        elif low <= CHANCE:
            text = "Very weak judge: these battles do not tell its verdicts from tosses of a coin."
        elif value < CONSISTENT:
            text = (
                "Weak judge: where its two verdicts differ the vote is a tie, which draws ratings together."
            )
        else:
            text = "Consistent judge. That is not the same as a right one: only people's votes can show that."
        share = _share_text(self.shares["consistency"])
        return f"{text} It gave the same verdict in both orders on {share}; a coin would on 50%."

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


def judges(notes: dict[str, Any]) -> list[Judge]:
    """From `summary.notes`; parts that are not there are left out."""
    found = []
    for name, facts in (notes.get("judge") or {}).items():
        if isinstance(facts, dict):
            shares = {key: facts.get(key) for key in JUDGE_SHARES}
            known = {key: each for key, each in shares.items() if isinstance(each, dict) and each.get("n")}
            battles, identical = (int(facts.get(key, 0)) for key in ("battles", "identical"))
            found.append(Judge(name, battles, identical, known, dict(facts.get("setup", {}))))
    return found


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


def _share_text(share: dict[str, Any]) -> str:
    interval = f"{percent(share.get('low'))} to {percent(share.get('high'))}"
    return f"{percent(share['value'])} (95% interval {interval}, n {share['n']})"


def agreement(judge_votes: Sequence[Vote], people: Sequence[Vote]) -> str:
    """Agreement of judge and people, in words; empty without shared battles."""
    if not judge_votes or not people:
        return ""
    try:
        found = compare(tabulate(judge_votes), tabulate(people))
    except RatingError:
        return ""
    return f"The judge against people, on the battles both saw. {agreement_sentence(found)}"
