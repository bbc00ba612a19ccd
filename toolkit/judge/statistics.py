"""How a judge judged: is it consistent, and what does it favour apart from quality?

Shares come with Wilson's 95% interval (Wilson 1927), which keeps its width at 0% and at 100%. `n` counts
battles, never verdicts: the two orders of one battle are not two independent observations.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from itertools import combinations
from typing import Any

from toolkit.judge.counting import Rule, fight, judged, votes
from toolkit.judge.judging import IDENTICAL
from toolkit.statistics import wilson
from toolkit.types import Battle, Outcome, Verdict, Vote

MARKDOWN = re.compile(r"^ {0,3}(?:#{1,6} |[-*+] |\d+[.)] |>|```|\|)|\*\*[^*\n]+\*\*|`[^`\n]+`", re.MULTILINE)
"""Headings, list items, quotes, code, tables, bold text."""


def statistics(
    battles: Sequence[Battle], verdicts: Iterable[Verdict], *, rule: Rule = "agreement"
) -> dict[str, dict[str, Any]]:
    """Figures of each judge: judge -> figure -> value. `rule` is how its verdicts became votes.

    Every share is `{"value", "low", "high", "n"}`; `value` is `None` where nothing was observed.
    `consistency`: the same outcome in both orders. `first_position`: how often the answer shown first won,
    over both orders; 0.5 is unbiased. `always_first`, `always_second`: the same position in both orders.
    `ties`: of the votes. `unreadable`, `refused` (by the judge's server): of the verdicts. `longer`,
    `more_markdown`: how often the votes that name a winner, between answers that differ in it, name the
    answer that has more of it.
    """
    known = {battle.id for battle in battles}
    by_judge: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        if verdict.battle_id in known:
            by_judge.setdefault(verdict.judge, []).append(verdict)
    return {judge: _figures(battles, found, rule) for judge, found in by_judge.items()}


def _figures(battles: Sequence[Battle], verdicts: list[Verdict], rule: Rule) -> dict[str, Any]:
    asked = [verdict for verdict in verdicts if verdict.reason != IDENTICAL]
    both = [(ab, ba) for ab, ba in judged(asked).values() if ab.outcome and ba.outcome]
    firsts = [(_first(ab), _first(ba)) for ab, ba in both]
    # Of a battle whose orders agree on a winner exactly half the verdicts name the first; ties count half.
    first = [(one + other) / 2 for one, other in firsts]
    cast = votes(battles, verdicts, rule=rule)
    return {
        "battles": len({verdict.battle_id for verdict in verdicts}),
        "identical": len({verdict.battle_id for verdict in verdicts}) - len({v.battle_id for v in asked}),
        "consistency": share(sum(ab.outcome == ba.outcome for ab, ba in both), len(both)),
        "first_position": share(sum(first), len(first)),
        "always_first": share(first.count(1.0), len(first)),
        "always_second": share(first.count(0.0), len(first)),
        "ties": share(sum(vote.outcome == "tie" for vote in cast), len(cast)),
        "unreadable": share(sum(v.outcome is None and not v.refused for v in asked), len(asked)),
        "refused": share(sum(verdict.refused for verdict in asked), len(asked)),
        "longer": preference(battles, cast, len),
        "more_markdown": preference(battles, cast, markdown),
        "tokens_in": sum(verdict.tokens_in for verdict in verdicts),
        "tokens_out": sum(verdict.tokens_out for verdict in verdicts),
    }


def disagreement(cast: Iterable[Vote]) -> dict[str, Any]:
    """How far a jury is of one mind: `unanimous` battles, and the agreement of each two judges.

    Of battles that all judges voted on; a tie agrees with a tie.
    """
    heard: dict[tuple[str, ...], dict[str, Outcome]] = {}
    for vote in cast:
        heard.setdefault(fight(vote), {})[vote.voter] = vote.outcome
    judges = sorted({judge for said in heard.values() for judge in said})
    full = [said for said in heard.values() if len(said) == len(judges)]
    return {
        "unanimous": share(sum(len(set(said.values())) == 1 for said in full), len(full)),
        "pairs": [
            {"judges": [one, other], "agreement": share(sum(s[one] == s[other] for s in full), len(full))}
            for one, other in combinations(judges, 2)
        ],
    }


def preference(
    battles: Sequence[Battle], cast: Iterable[Vote], measure: Callable[[str], float]
) -> dict[str, Any]:
    """How often the winner is the answer with the larger `measure`, where the two differ in it."""
    found = {battle.id: battle for battle in battles}
    won = []
    for vote in cast:
        a, b = (measure(found[vote.battle_id].completion_a), measure(found[vote.battle_id].completion_b))
        if vote.outcome in ("a", "b") and a != b:
            won.append((vote.outcome == "a") == (a > b))
    return share(sum(won), len(won))


def markdown(text: str) -> float:
    """How many marks of Markdown a text has."""
    return len(MARKDOWN.findall(text))


def share(count: float, n: int) -> dict[str, Any]:
    """`count` of `n` with Wilson's 95% interval."""
    if n == 0:
        return {"value": None, "low": None, "high": None, "n": 0}
    low, high = wilson(count, n)
    return {"value": count / n, "low": low, "high": high, "n": n}


def _first(verdict: Verdict) -> float:
    """1 when the answer shown first won, 0 when the second did, 0.5 for a tie."""
    if verdict.outcome not in ("a", "b"):
        return 0.5
    return float((verdict.outcome == "a") == (verdict.order == "ab"))
