"""Verdicts -> votes. A judge is one voter, whatever the number of its verdicts on a battle."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal

from toolkit.errors import JudgeError
from toolkit.types import Battle, Outcome, Verdict, Vote

Rule = Literal["agreement", "average"]


def votes(battles: Sequence[Battle], verdicts: Iterable[Verdict], *, rule: Rule = "agreement") -> list[Vote]:
    """At most one vote a judge and battle, in the order of `battles`.

    Args:
        battles: what was judged.
        verdicts: of any number of judges; on other battles they are ignored.
        rule: `agreement`: both orders agree = that outcome, they disagree = a tie (as in MT-bench, Zheng et
            al. 2023). `average`: the mean probability over both orders decides, and a tie is exactly 0.5;
            needs a judge that gives probabilities.

    A battle with one order missing or unreadable gets no vote.
    """
    pairs = judged(verdicts)
    by_battle: dict[str, list[tuple[str, Outcome]]] = {}
    for (battle_id, judge, _prompt), (ab, ba) in pairs.items():
        outcome = _decide(ab, ba, rule)
        if outcome is not None:
            by_battle.setdefault(battle_id, []).append((judge, outcome))
    return [
        Vote(
            battle_id=battle.id,
            example_id=battle.example_id,
            model_a=battle.model_a,
            model_b=battle.model_b,
            outcome=outcome,
            voter=judge,
            kind="judge",
            category=battle.category,
        )
        for battle in battles
        for judge, outcome in by_battle.get(battle.id, ())
    ]


def require_votes(cast: Sequence[Vote], verdicts: Iterable[Verdict]) -> None:
    """Refuse to call judging done where no battle got a vote.

    Raises:
        JudgeError: with how many verdicts could not be read or were refused, and the first of them.
    """
    if cast:
        return
    said = list(verdicts)
    refused, unreadable = sum(v.refused for v in said), sum(not v.readable and not v.refused for v in said)
    first = next((verdict for verdict in said if not verdict.readable), None)
    example = (
        ""
        if first is None
        else f", the first of {first.judge}: {' '.join((first.reason or '').split())[:200]}"
    )
    raise JudgeError(
        f"no vote was cast: of {len(said)} verdicts {unreadable} could not be read and {refused} were refused"
        + (example or "; no example has answers of two contestants")
    )


def jury(cast: Iterable[Vote], *, voter: str = "jury") -> list[Vote]:
    """One vote a battle: what more than half of the judges that voted on it say, else a tie."""
    heard: dict[tuple[str, ...], list[Vote]] = {}
    for vote in cast:
        heard.setdefault(fight(vote), []).append(vote)
    return [_majority(said, voter) for said in heard.values()]


def fight(vote: Vote) -> tuple[str, ...]:
    """Which battle a vote is on: two contestants on an example; others may have given the same answers."""
    return vote.battle_id, vote.example_id, vote.model_a, vote.model_b


def _majority(said: list[Vote], voter: str) -> Vote:
    outcome, count = Counter(vote.outcome for vote in said).most_common(1)[0]
    agreed: Outcome = outcome if 2 * count > len(said) else "tie"
    return said[0].model_copy(update={"outcome": agreed, "voter": voter})


def judged(verdicts: Iterable[Verdict]) -> dict[tuple[str, str, str], tuple[Verdict, Verdict]]:
    """(battle, judge, prompt) -> its verdicts in the orders ab and ba, where both are there."""
    orders: dict[tuple[str, str, str], dict[str, Verdict]] = {}
    for verdict in verdicts:
        orders.setdefault((verdict.battle_id, verdict.judge, verdict.prompt), {})[verdict.order] = verdict
    both = {"ab", "ba"}
    return {key: (found["ab"], found["ba"]) for key, found in orders.items() if found.keys() == both}


def _decide(ab: Verdict, ba: Verdict, rule: Rule) -> Outcome | None:
    if ab.outcome is None or ba.outcome is None:
        return None
    if rule == "agreement":
        return ab.outcome if ab.outcome == ba.outcome else "tie"
    if ab.probability_a is None or ba.probability_a is None:
        return None
    mean = (ab.probability_a + ba.probability_a) / 2
    return "a" if mean > 0.5 else "b" if mean < 0.5 else "tie"  # noqa: PLR2004
