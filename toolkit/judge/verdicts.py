"""Put every battle to a judge in both orders; each verdict is on disk the moment it exists."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

from pydantic import ValidationError

from toolkit.generate.completions import Store
from toolkit.judge.prompts import Order
from toolkit.progress import log_progress
from toolkit.types import SWAPPED, Battle, Judgment, Message, Outcome, Verdict, digest

logger = logging.getLogger(__name__)

IDENTICAL = "identical answers: a tie, the judge was not asked"
"""`reason` of a verdict on two answers that are the same text."""

NOT_FINITE = "the model's figures are not finite; load it in bfloat16 or float32"
"""`reason` of no verdict: an overflow says nothing about either answer."""

REWARD = digest("reward")
"""`Verdict.prompt` of a reward model, which is asked in no words."""

ORDERS: tuple[Order, ...] = ("ab", "ba")
OTHER: dict[Order, Order] = {"ab": "ba", "ba": "ab"}

MARK = re.compile(r"@([0-9a-f]{6})$")
"""End of a local judge's name: the start of its weights' fingerprint."""

OLD_ID_DIGITS = 16
"""Hex digits of the ids of battles and completions in logs of earlier versions, which went by names."""

Said = TypeVar("Said", bound=Judgment)


class Comparison(NamedTuple):
    """One question to a judge: a battle in one order."""

    battle: Battle
    order: Order

    @property
    def identical(self) -> bool:
        """Whether both answers are the same text: a tie, which no judge need see."""
        return self.battle.completion_a == self.battle.completion_b

    def verdict(self, judge: str, prompt: str, **found: Any) -> Verdict:
        """A judge's verdict on this question; `found` are the verdict's own fields."""
        return Verdict(battle_id=self.battle.id, order=self.order, judge=judge, prompt=prompt, **found)


class PairJudge(Protocol):
    """A model that compares two answers."""

    @property
    def name(self) -> str:
        """What its verdicts and votes are signed with."""

    @property
    def prompt_key(self) -> str:
        """Hash of the judge prompt it uses."""

    def verdicts(
        self, comparisons: Sequence[Comparison], known: Mapping[Comparison, Verdict]
    ) -> Iterator[Verdict]:
        """Yield what is still to be said on `comparisons`, each verdict as soon as it is there, in any order.

        Args:
            comparisons: all of them, so that how they are grouped does not depend on what is known.
            known: the last verdict on each ask that has one. A judge may say more on an unreadable one, with
                the next `attempt`; every other is final.
        """


def open_store(folder: Path, judge: str, prompt: str, kind: type[Said]) -> Store[Said]:
    """What one judge has said with one prompt; a local judge goes by its weights, not by its folder."""
    marked = MARK.search(judge)
    settings = {"judge": marked[1] if marked else judge, "prompt": prompt}
    return Store(folder, settings, kind.model_validate)


class VerdictStore:
    """The verdicts of one judge with one prompt, by what it read: two answers to a question, in an order."""

    def __init__(self, folder: Path, judge: str, prompt: str) -> None:
        self.judge = judge
        self._store = open_store(folder, judge, prompt, Verdict)

    def get(self, comparison: Comparison) -> Verdict | None:
        """The last verdict on a battle in one order, or on its mirror image, in the battle's own terms."""
        battle, order = comparison
        mirrored, other = battle.mirrored, OTHER[order]
        for names, shown in (
            ((battle.id, battle.former_id), order),
            ((mirrored.id, mirrored.former_id), other),
        ):
            for name in names:
                if (found := self._store.replies.get(digest(name, shown))) is not None:
                    return _in_terms_of(comparison, found, self.judge)
        return None

    def add(self, verdict: Verdict) -> None:
        """Keep a verdict; it is on disk when this returns."""
        key = digest(verdict.battle_id, verdict.order)
        self._store.add(key, verdict, verdict.model_dump(mode="json"))


def judge_battles(
    judge: PairJudge, battles: Sequence[Battle], *, store: Path, share: tuple[int, int] = (0, 1)
) -> list[Verdict]:
    """Verdicts of `judge` on both orders of every battle, in the order of `battles`.

    Each verdict is kept in `store` when it arrives. Verdicts already there (same question, answers, judge,
    order and prompt, whatever the names and whichever side is called a) are not asked for again, so an
    interrupted call continues and a finished one costs nothing. Only what a server refused is asked again:
    that is no verdict.

    Args:
        judge: who judges.
        battles: all of them, also those that other processes judge: what is batched with what hangs on all.
        store: folder of verdicts; several processes may add to one.
        share: `(k, n)`: judge only the k-th of n parts of the battles, counted from 0, and give its verdicts.

    Raises:
        JudgeError: the judge cannot be used for these battles.
        EndpointError: the judge's server does not answer; what it said before is kept.
    """
    kept, (part, parts) = VerdictStore(store, judge.name, judge.prompt_key), share
    different = list({battle.id: battle for battle in battles}.values())
    mine = different[part * len(different) // parts : (part + 1) * len(different) // parts]
    ours = list(both_orders(mine))
    found = {
        comparison: verdict
        for comparison in ours
        if (verdict := kept.get(comparison)) is not None and not verdict.refused
    }
    for comparison in ours:
        if comparison not in found and comparison.identical:
            found[comparison] = identical_verdict(comparison, judge.name, judge.prompt_key)
            kept.add(found[comparison])
    logger.info("judge %s: %d verdicts wanted, %d known", judge.name, len(ours), len(found))
    comparisons = [comparison for comparison in both_orders(different) if not comparison.identical]
    wanted = set(ours)
    known = {  # other processes' parts count as judged
        each: found[each] if each in wanted else identical_verdict(each, judge.name, judge.prompt_key)
        for each in comparisons
        if each in found or each not in wanted
    }
    by_key = {(comparison.battle.id, comparison.order): comparison for comparison in comparisons}
    done = len(found)
    for verdict in judge.verdicts(comparisons, known):
        kept.add(verdict)
        found[by_key[verdict.battle_id, verdict.order]] = verdict
        done = min(done + 1, len(ours))  # an unreadable reply is asked for again
        log_progress(logger, "verdicts", done, len(ours))
    return [found[comparison] for comparison in ours]


def load_verdicts(battles: Iterable[Battle], judge: str, prompt: str, *, store: Path) -> list[Verdict]:
    """What a judge of this name and prompt has said on some battles so far, in their order."""
    kept = VerdictStore(store, judge, prompt)
    different = {battle.id: battle for battle in battles}.values()
    return [verdict for comparison in both_orders(different) if (verdict := kept.get(comparison)) is not None]


def import_old_verdicts(log: Path, store: Path) -> None:
    """Put the verdicts in a log of earlier versions, whose battles went by names, into a store."""
    import_old_log(
        log,
        store,
        Verdict,
        lambda said: digest(said.battle_id, said.order) if len(said.battle_id) == OLD_ID_DIGITS else "",
    )


def import_old_log(log: Path, store: Path, kind: type[Said], key_of: Callable[[Said], str]) -> None:
    """Put the lines of a log of earlier versions into a store; an empty key: it is no such line."""
    if not log.exists():
        return
    stores: dict[tuple[str, str], Store[Said]] = {}
    for line in log.read_text(encoding="utf-8", errors="replace").split("\n"):
        with suppress(ValidationError):  # torn
            said = kind.model_validate_json(line)
            key, who = key_of(said), (said.judge, said.prompt)
            if not key:
                continue
            kept = stores[who] = stores.get(who) or open_store(store, *who, kind)
            if key not in kept.replies:
                kept.add(key, said, said.model_dump(mode="json"))


def _in_terms_of(comparison: Comparison, found: Verdict, judge: str) -> Verdict:
    """A verdict on a battle or its mirror image, as one on this battle in this order."""
    own: dict[str, Any] = {"battle_id": comparison.battle.id, "judge": judge, "order": comparison.order}
    if found.order != comparison.order:
        own["outcome"] = None if found.outcome is None else SWAPPED[found.outcome]
        own["probability_a"] = None if found.probability_a is None else 1 - found.probability_a
    return found.model_copy(update=own)


def to_battle_outcome(first_wins: Outcome | None, order: Order) -> Outcome | None:
    """An outcome in terms of what was shown (`a`: the first) -> in terms of the battle's sides."""
    return first_wins if order == "ab" or first_wins is None else SWAPPED[first_wins]


def conversations(comparison: Comparison) -> tuple[tuple[Message, ...], tuple[Message, ...]]:
    """Both conversations of a battle, each with its answer: a's and b's, whatever the order."""
    battle = comparison.battle
    a = (*battle.messages, Message(role="assistant", content=battle.completion_a))
    b = (*(battle.messages_b or battle.messages), Message(role="assistant", content=battle.completion_b))
    return a, b


def identical_verdict(comparison: Comparison, judge: str, prompt: str) -> Verdict:
    """The verdict on two answers that are the same text."""
    return comparison.verdict(judge, prompt, outcome="tie", probability_a=0.5, reason=IDENTICAL)


def both_orders(battles: Iterable[Battle]) -> Iterator[Comparison]:
    for battle in battles:
        for order in ORDERS:
            yield Comparison(battle, order)
