"""How a judge judged: is it consistent, and what does it favour apart from quality?

Shares come with Wilson's 95% interval (Wilson 1927), which keeps its width at 0% and at 100%. `n` counts
battles, never verdicts: the two orders of one battle are not two independent observations.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations
from types import MappingProxyType
from typing import Any

from toolkit.judge.aggregation import (
    EVEN,
    Rule,
    aggregate_votes,
    battle_of,
    mean_probability,
    pair_orders,
    proportion,
)
from toolkit.judge.verdicts import IDENTICAL
from toolkit.types import Battle, Outcome, Verdict, Vote

MARKDOWN = re.compile(r"^ {0,3}(?:#{1,6} |[-*+] |\d+[.)] |>|```|\|)|\*\*[^*\n]+\*\*|`[^`\n]+`", re.MULTILINE)
"""Headings, list items, quotes, code, tables, bold text."""


def judge_statistics(
    battles: Sequence[Battle],
    verdicts: Iterable[Verdict],
    *,
    rule: Rule = "agreement",
    noise: Mapping[str, float] = MappingProxyType({}),
) -> dict[str, dict[str, Any]]:
    """Figures of each judge: judge -> figure -> value. `rule` is how its verdicts became votes.

    Every share is `{"value", "low", "high", "n"}`; `value` is `None` where nothing was observed.
    `consistency`: the same outcome in both orders. `first_position`: how often the answer shown first won,
    over both orders; 0.5 is unbiased. `always_first`, `always_second`: the same position in both orders.
    `ties`: of the votes. `unreadable`, `refused` (by the judge's server): of the verdicts. `longer`,
    `beyond_noise`: of the mean probabilities, those further from 0.5 than rounding alone moves them, where
    that was measured. `more_markdown`: how often the votes that name a winner, between answers that differ
    in it, name the answer that has more of it.
    """
    known = {battle.id for battle in battles}
    by_judge: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        if verdict.battle_id in known:
            by_judge.setdefault(verdict.judge, []).append(verdict)
    return {judge: _figures(battles, found, rule, noise) for judge, found in by_judge.items()}


def _figures(
    battles: Sequence[Battle], verdicts: list[Verdict], rule: Rule, noise: Mapping[str, float]
) -> dict[str, Any]:
    asked = [verdict for verdict in verdicts if verdict.reason != IDENTICAL]
    both = [(ab, ba) for ab, ba in pair_orders(asked).values() if ab.outcome and ba.outcome]
    firsts = [(_first(ab), _first(ba)) for ab, ba in both]
    # Of a battle whose orders agree on a winner exactly half the verdicts name the first; ties count half.
    first = [(one + other) / 2 for one, other in firsts]
    cast = aggregate_votes(battles, verdicts, rule=rule, noise=noise)
    means = [mean for ab, ba in both if (mean := mean_probability(ab, ba)) is not None]
    band = noise.get(verdicts[0].judge)
    beyond = [] if band is None else [abs(mean - EVEN) > band for mean in means]
    return {
        "beyond_noise": proportion(sum(beyond), len(beyond)),
        "battles": len({verdict.battle_id for verdict in verdicts}),
        "identical": len({verdict.battle_id for verdict in verdicts}) - len({v.battle_id for v in asked}),
        "consistency": proportion(sum(ab.outcome == ba.outcome for ab, ba in both), len(both)),
        "first_position": proportion(sum(first), len(first)),
        "always_first": proportion(first.count(1.0), len(first)),
        "always_second": proportion(first.count(0.0), len(first)),
        "ties": proportion(sum(vote.outcome == "tie" for vote in cast), len(cast)),
        "unreadable": proportion(sum(v.outcome is None and not v.refused for v in asked), len(asked)),
        "refused": proportion(sum(verdict.refused for verdict in asked), len(asked)),
        "longer": win_share(battles, cast, len),
        "more_markdown": win_share(battles, cast, markdown),
        "tokens_in": sum(verdict.tokens_in for verdict in verdicts),
        "tokens_out": sum(verdict.tokens_out for verdict in verdicts),
    }


def disagreement(cast: Iterable[Vote]) -> dict[str, Any]:
    """How far a jury is of one mind: `unanimous` battles, and the agreement of each two judges.

    Of battles that all judges voted on; a tie agrees with a tie.
    """
    heard: dict[tuple[str, ...], dict[str, Outcome]] = {}
    for vote in cast:
        heard.setdefault(battle_of(vote), {})[vote.voter] = vote.outcome
    judges = sorted({judge for said in heard.values() for judge in said})
    full = [said for said in heard.values() if len(said) == len(judges)]
    return {
        "unanimous": proportion(sum(len(set(said.values())) == 1 for said in full), len(full)),
        "pairs": [
            {
                "judges": [one, other],
                "agreement": proportion(sum(s[one] == s[other] for s in full), len(full)),
            }
            for one, other in combinations(judges, 2)
        ],
    }


def win_share(
    battles: Sequence[Battle], cast: Iterable[Vote], measure: Callable[[str], float]
) -> dict[str, Any]:
    """How often the winner is the answer with the larger `measure`, where the two differ in it."""
    found = {battle.id: battle for battle in battles}
    won = []
    for vote in cast:
        a, b = (measure(found[vote.battle_id].completion_a), measure(found[vote.battle_id].completion_b))
        if vote.outcome in ("a", "b") and a != b:
            won.append((vote.outcome == "a") == (a > b))
    return proportion(sum(won), len(won))


def markdown(text: str) -> float:
    """How many marks of Markdown a text has."""
    return len(MARKDOWN.findall(text))


def _first(verdict: Verdict) -> float:
    """1 when the answer shown first won, 0 when the second did, 0.5 for a tie."""
    if verdict.outcome not in ("a", "b"):
        return 0.5
    return float((verdict.outcome == "a") == (verdict.order == "ab"))
