"""Runtime settings of the arena: open or closed, contestants, pairing, blocked voters.

Settings are lines of an append-only log in the store, so every process of an arena follows them and every
change can be read afterwards.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from toolkit.arena.battles import BattlePool, load_battle_pool, merge_pools
from toolkit.arena.store import Store
from toolkit.errors import DataError
from toolkit.types import Record

logger = logging.getLogger(__name__)

REFRESH = 2.0
"""Seconds after which a change is seen by every process."""


class ArenaSettings(Record):
    """The settings of one run's arena."""

    open: bool = True
    contestants: tuple[str, ...] = ()
    """Who takes part; empty: as the arena was started."""
    pairing: Literal["uniform", "active"] | None = None
    """`None`: the recipe's value."""
    runs: tuple[str, ...] = ()
    """Further run folders whose contestants join."""
    repeats: bool = False
    """Whether voters go on after the last unseen answer; such votes are kept apart."""
    voters_per_address: int = 5
    """Voters without an account who count, of one network address; 0: all."""
    closed_at: float = 0.0
    """When the arena was last closed; ballots of before are void."""


def address_limit(decisions: dict[str, Any], run: str | None) -> int:
    """`voters_per_address` of a run's arena; of all that are kept in the store, the highest (0: no limit)."""
    prefix = "arena:" if run is None else f"arena:{run}"
    values = [value for subject, value in decisions.items() if subject.startswith(prefix)]
    limits = [ArenaSettings.model_validate(value).voters_per_address for value in values]
    return 0 if 0 in limits else max(limits, default=ArenaSettings().voters_per_address)


@dataclass(frozen=True)
class EffectiveSettings:
    """The battle pool after the settings are applied."""

    control: ArenaSettings
    everyone: BattlePool
    """All contestants that can be selected."""
    pool: BattlePool
    """The selected contestants."""
    problems: tuple[str, ...]
    """Settings that could not be applied, one line each, shown to administrators."""


def apply_settings(pool: BattlePool, control: ArenaSettings) -> EffectiveSettings:
    """Merge the additional runs and keep the selected contestants."""
    everyone, problems = pool, []
    for run in control.runs:
        try:
            everyone = merge_pools(everyone, load_battle_pool(Path(run)))
        except DataError as error:
            problems.append(f"A further run takes no part. {error}.")
    names = tuple(name for name in everyone.contestants if name in control.contestants)
    if control.contestants and len(names) < 2:  # noqa: PLR2004
        there = f"only {names[0]} is" if names else "none is"
        problems.append(f"Of the chosen contestants {there} there, so nobody can vote: choose others.")
    options = pool.options.model_copy(update={"pairing": control.pairing or pool.options.pairing})
    chosen = names if control.contestants else everyone.contestants
    for problem in problems:
        logger.warning("%s: %s", pool.run, problem)
    return EffectiveSettings(
        control, everyone, replace(everyone, contestants=chosen, options=options), tuple(problems)
    )


class SettingsStore:
    """Read and write the settings of one run and the blocked voters."""

    def __init__(self, store: Store, run: str, clock: Callable[[], float]) -> None:
        self._store, self._subject, self._clock = store, f"arena:{run}", clock
        self._lock, self._read_at = threading.Lock(), float("-inf")
        self._control, self._blocked = ArenaSettings(), frozenset[str]()

    @property
    def control(self) -> ArenaSettings:
        self._refresh()
        return self._control

    @property
    def blocked(self) -> frozenset[str]:
        """Voters who may not vote; their votes are not counted."""
        self._refresh()
        return self._blocked

    def change(self, control: ArenaSettings, reason: str, actor: str = "") -> None:
        """Store new settings of an `actor`; raises `DataError` where only one contestant is chosen."""
        if len(control.contestants) == 1:
            raise DataError(f"an arena needs two contestants, not only `{control.contestants[0]}`")
        if self.control.open and not control.open:
            control = control.model_copy(update={"closed_at": self._clock()})
        value = control.model_dump(mode="json")
        self._store.record_event(self._subject, value, reason, self._clock(), actor)
        self._read_at = float("-inf")

    def block(self, voter: str, reason: str, actor: str = "", *, blocked: bool = True) -> None:
        """Stop a voter and leave out their votes, or undo that; the votes stay in the log."""
        self._store.block(voter, reason, self._clock(), actor, blocked=blocked)
        self._read_at = float("-inf")

    def _refresh(self) -> None:
        with self._lock:
            if 0 <= self._clock() - self._read_at < REFRESH:  # a clock that was put back waits for nothing
                return
            self._read_at = self._clock()
            decisions = self._store.current_events()
            self._control = ArenaSettings.model_validate(decisions.get(self._subject, {}))
            self._blocked = frozenset(self._store.blocked(decisions))
