"""Statistics shown by the pages, cached for all sessions: ratings, win rates, agreement, voter reports."""

from __future__ import annotations

import gc
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import streamlit as st

from apps.session import service
from apps.settings import Settings
from toolkit import io
from toolkit.arena.moderation import VoterReport, voter_reports
from toolkit.arena.store import OWN_QUESTIONS, SIMULATED, VoteRow
from toolkit.arena.tally import paused_collection, win_rates, with_lengths
from toolkit.errors import RatingError
from toolkit.types import Rating, Record, Verdict, Vote

if TYPE_CHECKING:
    from toolkit.ratings import BradleyTerry, Elo, History, Table

logger = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
R = TypeVar("R", bound=Record)

FEW_VOTES = 1_000
"""Up to so many votes all figures are made at once, whenever a vote was added."""
KEEP_SECONDS = 30
"""Beyond, they are made in the background, and up to so many seconds old."""
PAUSE = 40
"""What took a second to make is not made again for so many seconds."""
HISTORY_POINTS = 2_000
"""In the chart of Elo over time, of all contestants together."""
MOST_SHUFFLED = 20_000
"""Votes up to which Elo is the mean over random orders; of more, as the votes came."""


_BACKGROUND = Lock()
"""Held by whoever makes figures in the background: one after the other, so that voters are not slowed."""


@dataclass
class _Entry(Generic[V]):
    version: int
    value: V
    until: float
    """Until when it is not made again, on the monotonic clock."""


class BackgroundCache(Generic[K, V]):
    """Values that follow the votes; of many votes only the first viewer of a key ever waits."""

    def __init__(self, compute: Callable[[K], V], seconds: float = KEEP_SECONDS, entries: int = 24) -> None:
        self._compute, self._seconds, self._size = compute, seconds, entries
        self._entries: OrderedDict[K, _Entry[V]] = OrderedDict()
        self._turn = Lock()

    def get(self, key: K, meanwhile: V | None = None) -> V:
        """The value now, or one of some seconds ago; `meanwhile`, where given, while there is none yet."""
        votes = service().votes()
        version, entry = votes.version, self._entries.get(key)
        if entry is not None and entry.version == version:
            return entry.value
        if len(votes.rows) <= FEW_VOTES or (entry is None and meanwhile is None):
            return self._make(key, version)
        old = entry is None or time.monotonic() > entry.until
        if old and _BACKGROUND.acquire(blocking=False):
            Thread(target=self._refresh, args=(key, version), daemon=True).start()
        return entry.value if entry is not None else meanwhile  # type: ignore[return-value]

    def _refresh(self, key: K, version: int) -> None:
        try:
            self._make(key, version)
        except Exception:
            logger.exception("figures could not be made again; the ones of before are shown")
        finally:
            _BACKGROUND.release()

    def _make(self, key: K, version: int) -> V:
        with self._turn, paused_collection():
            entry = self._entries.get(key)
            if entry is not None and entry.version == version:  # somebody else's turn made it
                return entry.value
            started = time.monotonic()
            value = self._compute(key)
            now = time.monotonic()
            self._entries[key] = _Entry(version, value, now + max(self._seconds, PAUSE * (now - started)))
            while len(self._entries) > self._size:
                self._entries.popitem(last=False)
            return value


@dataclass(frozen=True)
class Selection:
    """What is rated; equal selections have equal figures."""

    source: str = "People"
    category: str = "all"
    apart: tuple[str, ...] = ()
    """Kinds of votes that are kept apart by default and are to count here."""
    without: frozenset[str] = frozenset()
    """Voters left out."""


@dataclass(frozen=True)
class Standings:
    """All figures of the leaderboard."""

    fit: BradleyTerry
    online: Elo | None
    """`None`: of very many votes there is the history alone."""
    history: History
    even: dict[str, Rating]
    """At equal length; empty where that is not identifiable."""
    rates: list[dict[str, Any]]
    votes: int
    voters: int
    sides: dict[str, Sequence[Rating]] = field(default_factory=dict)
    """`People`, `Judge`, and both together, where there are votes of both."""
    agreement: str = ""
    firm: str = ""
    """How few votes, or which voter, first place hangs on."""


def votes_of(chosen: Selection) -> tuple[list[VoteRow], list[Vote]]:
    """People's votes of a selection, and the judge's; or simulated voters' alone."""
    votes = service().votes()
    if chosen.source == "Simulated":
        return [row for row in simulated_votes() if chosen.category in ("all", row.category)], []
    if chosen.category == OWN_QUESTIONS:
        return votes.own_questions, []
    people = votes.rows + [row for kind in chosen.apart for row in getattr(votes, kind)]
    if chosen.without:
        people = [row for row in people if row.voter not in chosen.without]
    if chosen.category == "all":
        return people, judge_votes()
    people = [row for row in people if row.category == chosen.category]
    return people, [vote for vote in judge_votes() if vote.category == chosen.category]


@dataclass(frozen=True)
class _Rated:
    """Ratings with the votes that they are of."""

    fit: BradleyTerry
    table: Table
    people: Table | None
    judge: Table | None


def _rate(chosen: Selection) -> _Rated | None:
    """`None` without votes."""
    from toolkit.ratings import bradley_terry, tabulate

    rows, verdicts = votes_of(chosen)
    cast: list[Any] = [*rows]  # rows have what is read of a vote
    people, judge = (tabulate(votes) if votes else None for votes in (cast, verdicts))
    table = {"People": people, "Judge": judge}.get(chosen.source, people or judge)
    if chosen.source == "Both" and people and judge:
        table = tabulate([*cast, *verdicts])
    if table is None:
        return None
    fit = bradley_terry(table)
    if people and chosen.source in ("People", "Both"):
        fit = fit.for_open_arena(table, arena_claims_of_run())
    return _Rated(fit, table, people, judge)


def _compute_standings(chosen: Selection) -> Standings | None:
    from toolkit import ratings as fits
    from toolkit.ratings.agreement import agreement, agreement_sentence

    rated = _caches()[0].get(chosen)
    if rated is None:
        return None
    fit, table, people, judge = rated.fit, rated.table, rated.people, rated.judge
    rows, verdicts = votes_of(chosen)
    votes: list[VoteRow | Vote] = [*rows] if chosen.source != "Judge" else []
    votes += verdicts if chosen.source != "People" else []
    place = fits.first_place(table) if len(table) <= MOST_SHUFFLED else None
    sides: dict[str, Sequence[Rating]] = {}
    sentence, even = "", dict[str, Rating]()
    if people and judge:
        sides = {"People": fits.bradley_terry(people).ratings, "Judge": fits.bradley_terry(judge).ratings}
        both = fits.prediction_powered(people, judge)
        sides |= {"People + judge": both.ratings} if both else {}
        try:
            found = agreement_sentence(agreement(judge, people))
            sentence = f"The judge's votes against the people's. {found}"
        except RatingError:
            sentence = "The judge and the people have no pair of answers in common."
    measured = with_lengths(table, service().pool, service().store.answer_texts(service().pool.run))
    with suppress(RatingError):  # not identifiable
        even = {row.contestant: row for row in fits.style_controlled(*measured).ratings}
    return Standings(
        fit=fit,
        online=fits.elo(table) if len(table) <= MOST_SHUFFLED else None,
        history=fits.elo_history(table, moments=HISTORY_POINTS // len(table.names)),
        even=even,
        rates=win_rates(table),
        votes=fit.votes,
        voters=len({vote.voter for vote in votes}),
        sides=sides,
        agreement=sentence,
        firm=place.sentence if place else "",
    )


def _compute_reports(_: str) -> list[VoterReport]:
    votes = service().votes()
    checks = service().store.cast_votes(service().pool.run, kinds=("check",))
    return voter_reports(sorted(votes.rows + votes.crowded + votes.own_questions), checks)


@st.cache_resource(show_spinner=False)
def _caches() -> tuple[
    BackgroundCache[Selection, _Rated | None],
    BackgroundCache[Selection, Standings | None],
    BackgroundCache[str, list[VoterReport]],
]:
    return BackgroundCache(_rate), BackgroundCache(_compute_standings), BackgroundCache(_compute_reports, 60)


def ratings(chosen: Selection = Selection()) -> BradleyTerry | None:
    """The ratings of a selection; `None` without votes."""
    return rated.fit if (rated := _caches()[0].get(chosen)) else None


def standings(chosen: Selection) -> Standings | None:
    """All figures of a selection; `None` without votes."""
    return _caches()[1].get(chosen)


def reports() -> list[VoterReport]:
    """What is conspicuous about each voter, the most suspicious first."""
    return _caches()[2].get("")


def flagged_voters() -> frozenset[str]:
    """Ids of flagged voters; none while the first reports are being made."""
    return frozenset(report.voter for report in _caches()[2].get("", []) if report.flagged)


def warm_up() -> None:
    """Make what every page needs, so that the first visitor does not wait for it."""
    with _BACKGROUND:
        standings(Selection())
        reports()
    gc.collect()
    gc.freeze()  # what was loaded stays: no later collection looks at it


@st.cache_resource(ttl=60, show_spinner=False)
def judge_votes() -> list[Vote]:
    """The judge's votes of the run, if it was judged."""
    return [vote for vote in _records("votes.jsonl", Vote) if vote.kind == "judge"]


@st.cache_resource(ttl=60, show_spinner=False)
def simulated_votes() -> list[VoteRow]:
    """Votes of simulated voters, which count nowhere among people's."""
    return service().store.vote_rows(service().pool.run, kinds=(SIMULATED,), repeats=False)


@st.cache_resource(ttl=60, show_spinner=False)
def judge_verdicts() -> list[Verdict]:
    """All judge verdicts of the run."""
    return _records("verdicts.jsonl", Verdict)


@st.cache_resource(ttl=60, show_spinner=False)
def per_example_scores() -> dict[str, dict[str, dict[str, float]]]:
    """Contestant -> metric -> example -> value of the run."""
    from toolkit.metrics import Measurement

    files = sorted((_run() / "measurements").glob("*.jsonl"))
    return {file.stem: {m.metric: m.per_example() for m in io.read(file, Measurement)} for file in files}


@st.cache_resource(show_spinner=False)
def arena_claims_of_run() -> tuple[tuple[str, str], ...] | None:
    """The pairs that the arena's votes decide, by the run's recipe; `None`: all."""
    from toolkit.recipe import arena_claims, load

    file = _run() / "recipe.yaml"
    return arena_claims(load(file)) if file.is_file() else None


def _records(name: str, kind: type[R]) -> list[R]:
    return list(io.read(_run() / name, kind)) if (_run() / name).exists() else []


def _run() -> Path:
    return Path(Settings.from_environment().run)
