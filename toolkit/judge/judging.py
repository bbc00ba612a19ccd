"""Put every battle to a judge in both orders; each verdict is on disk the moment it exists."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from toolkit import records
from toolkit.judge.asking import Order
from toolkit.progress import tell
from toolkit.types import SWAPPED, Battle, Message, Outcome, Verdict, digest

logger = logging.getLogger(__name__)

IDENTICAL = "identical answers: a tie, the judge was not asked"
"""`reason` of a verdict on two answers that are the same text."""

NOT_FINITE = "the model's figures are not finite; load it in bfloat16 or float32"
"""`reason` of no verdict: an overflow says nothing about either answer."""

REWARD = digest("reward")
"""`Verdict.prompt` of a reward model, which is asked in no words."""

ORDERS: tuple[Order, ...] = ("ab", "ba")

LONGEST_REPLY = 512
"""Tokens of a verdict or a grade in words, at most."""


class Ask(NamedTuple):
    """One question to a judge: a battle in one order."""

    battle: Battle
    order: Order


class Key(NamedTuple):
    """What a verdict is known by; a second one under the same key is never asked for."""

    battle_id: str
    judge: str
    order: Order
    prompt: str


class PairJudge(Protocol):
    """A model that compares two answers."""

    @property
    def name(self) -> str:
        """What its verdicts and votes are signed with."""

    @property
    def prompt_key(self) -> str:
        """Hash of the judge prompt it uses."""

    def verdicts(self, asks: Sequence[Ask], known: Mapping[Ask, Verdict]) -> Iterator[Verdict]:
        """Yield what is still to be said on `asks`, each verdict as soon as it is there, in any order.

        Args:
            asks: all of them, so that how they are grouped does not depend on what is known.
            known: the last verdict on each ask that has one. A judge may say more on an unreadable one, with
                the next `attempt`; every other is final.
        """


def judge_battles(
    judge: PairJudge, battles: Sequence[Battle], *, out: Path, share: tuple[int, int] = (0, 1)
) -> list[Verdict]:
    """Verdicts of `judge` on both orders of every battle, in the order of `battles`.

    Each verdict is appended to `out` when it arrives. Verdicts already there (same battle whatever the order
    of its sides, judge, order and prompt) are not asked for again, so an interrupted call continues and a
    finished one costs nothing. Only what a server refused is asked again: that is no verdict.

    Args:
        judge: who judges.
        battles: all of them, also those that other processes judge: what is batched with what hangs on all.
        out: the log; several processes may append to one.
        share: `(k, n)`: judge only the k-th of n parts of the battles, counted from 0, and give its verdicts.

    Raises:
        JudgeError: the judge cannot be used for these battles.
        EndpointError: the judge's server does not answer; what it said before is kept.
        DataError: `out` has a line that is no verdict.
    """
    found = recorded(out)
    mirrored = _mirrored(found, battles)
    if mirrored:
        records.append(out, mirrored.values())
        found |= mirrored
    part, parts = share
    mine = {
        battle.id for battle in battles[part * len(battles) // parts : (part + 1) * len(battles) // parts]
    }
    asks = {_key(judge, ask): ask for ask in _both_orders(battles)}
    ours = [key for key, ask in asks.items() if ask.battle.id in mine]
    same = [identical(key) for key in ours if key not in found and not _differ(asks[key])]
    if same:
        records.append(out, same)
        found |= {key_of(verdict): verdict for verdict in same}
    to_ask = {key: ask for key, ask in asks.items() if _differ(ask)}
    known = {ask: found[key] for key, ask in to_ask.items() if key in found and not found[key].refused}
    elsewhere = {ask: identical(key) for key, ask in to_ask.items() if ask.battle.id not in mine}
    done = sum(key in found and not found[key].refused for key in ours)
    logger.info("judge %s: %d verdicts wanted, %d known", judge.name, len(ours), done)
    for verdict in judge.verdicts(list(to_ask.values()), elsewhere | known):
        records.append(out, [verdict])
        found[key_of(verdict)] = verdict
        done = min(done + 1, len(ours))  # an unreadable reply is asked for again
        tell(logger, "verdicts", done, len(ours))
    return [found[key] for key in ours]


def heard(battles: Sequence[Battle], judge: str, prompt: str, *, out: Path) -> list[Verdict]:
    """What a judge of this name and prompt has said on some battles so far, in their order."""
    found = recorded(out, battles)
    keys = [Key(battle.id, judge, order, prompt) for battle in battles for order in ORDERS]
    return [found[key] for key in keys if key in found]


def recorded(out: Path, battles: Iterable[Battle] = ()) -> dict[Key, Verdict]:
    """The last verdict of a log under each key, also of these battles with their sides changed."""
    found = {key_of(verdict): verdict for verdict in records.read(out, Verdict)} if out.exists() else {}
    return found | _mirrored(found, battles)


def _mirrored(found: Mapping[Key, Verdict], battles: Iterable[Battle]) -> dict[Key, Verdict]:
    """Verdicts on battles that were judged with their sides changed, in the battles' own terms."""
    by_battle: dict[str, list[Verdict]] = {}
    for verdict in found.values():
        by_battle.setdefault(verdict.battle_id, []).append(verdict)
    turned = {}
    for battle in battles:
        for verdict in by_battle.get(battle.mirrored.id, ()):
            outcome, likely = verdict.outcome, verdict.probability_a
            own = verdict.model_copy(
                update={
                    "battle_id": battle.id,
                    "order": "ba" if verdict.order == "ab" else "ab",
                    "outcome": None if outcome is None else SWAPPED[outcome],
                    "probability_a": None if likely is None else 1 - likely,
                }
            )
            if key_of(own) not in found:
                turned[key_of(own)] = own
    return turned


def key_of(verdict: Verdict) -> Key:
    return Key(verdict.battle_id, verdict.judge, verdict.order, verdict.prompt)


def in_battle_terms(first_wins: Outcome | None, order: Order) -> Outcome | None:
    """An outcome in terms of what was shown (`a`: the first) -> in terms of the battle's sides."""
    return first_wins if order == "ab" or first_wins is None else SWAPPED[first_wins]


def sides(ask: Ask) -> tuple[tuple[Message, ...], tuple[Message, ...]]:
    """Both conversations of a battle, each with its answer: a's and b's, whatever the order."""
    battle = ask.battle
    a = (*battle.messages, Message(role="assistant", content=battle.completion_a))
    b = (*(battle.messages_b or battle.messages), Message(role="assistant", content=battle.completion_b))
    return a, b


def identical(key: Key) -> Verdict:
    """The verdict on two answers that are the same text."""
    return Verdict(
        battle_id=key.battle_id,
        judge=key.judge,
        order=key.order,
        prompt=key.prompt,
        outcome="tie",
        probability_a=0.5,
        reason=IDENTICAL,
    )


def _key(judge: PairJudge, ask: Ask) -> Key:
    return Key(ask.battle.id, judge.name, ask.order, judge.prompt_key)


def _differ(ask: Ask) -> bool:
    return ask.battle.completion_a != ask.battle.completion_b


def _both_orders(battles: Iterable[Battle]) -> Iterator[Ask]:
    for battle in battles:
        for order in ORDERS:
            yield Ask(battle, order)
