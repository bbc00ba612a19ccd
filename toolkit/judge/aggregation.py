"""Verdicts -> votes, win rates, and how a judge judged. A judge is one voter, however many its verdicts.

Shares come with Wilson's 95% interval (Wilson 1927), which keeps its width at 0% and at 100%. `n` counts
battles, never verdicts: the two orders of one battle are not two independent observations.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations
from types import MappingProxyType
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from toolkit.errors import DataError, JudgeError
from toolkit.judge.verdicts import IDENTICAL
from toolkit.statistics import LEVEL, newton, wilson, wilson_of_points
from toolkit.types import Battle, Outcome, Record, Verdict, Vote

EVEN = 0.5
Rule = Literal["agreement", "average"]

MARKDOWN = re.compile(r"^ {0,3}(?:#{1,6} |[-*+] |\d+[.)] |>|```|\|)|\*\*[^*\n]+\*\*|`[^`\n]+`", re.MULTILINE)
"""Headings, list items, quotes, code, tables, bold text."""


def aggregate_votes(
    battles: Sequence[Battle],
    verdicts: Iterable[Verdict],
    *,
    rule: Rule = "agreement",
    noise: Mapping[str, float] = MappingProxyType({}),
) -> list[Vote]:
    """At most one vote a judge and battle, in the order of `battles`; verdicts on other battles are ignored.

    A vote of a judge that gives probabilities carries their mean, which ratings and win rates count. A
    battle with one order missing or unreadable gets no vote.

    Args:
        battles: what was judged.
        verdicts: of any number of judges.
        rule: `agreement`: both orders agree = that outcome, they disagree = a tie (as in MT-bench, Zheng et
            al. 2023). `average`: the mean probability over both orders decides, and a tie is exactly 0.5;
            needs a judge that gives probabilities.
        noise: judge -> how far its mean probability moves by rounding alone; within that of 0.5 it is a tie.
    """
    by_battle: dict[str, list[dict[str, Any]]] = {}
    for (battle_id, judge, _prompt), (ab, ba) in pair_orders(verdicts).items():
        outcome = _decide(ab, ba, rule, noise.get(judge, 0.0))
        if outcome is not None:
            fields = {"voter": judge, "outcome": outcome, "probability_a": mean_probability(ab, ba)}
            by_battle.setdefault(battle_id, []).append(fields)
    shared = {"example_id", "model_a", "model_b", "category"}
    return [
        Vote(battle_id=battle.id, kind="judge", **battle.model_dump(include=shared), **fields)
        for battle in battles
        for fields in by_battle.get(battle.id, ())
    ]


def _decide(ab: Verdict, ba: Verdict, rule: Rule, band: float) -> Outcome | None:
    if ab.outcome is None or ba.outcome is None:
        return None
    mean = mean_probability(ab, ba)
    if mean is not None and abs(mean - EVEN) <= band:
        return "tie"
    if rule == "agreement":
        return ab.outcome if ab.outcome == ba.outcome else "tie"
    return None if mean is None else "a" if mean > EVEN else "b"


def pair_orders(verdicts: Iterable[Verdict]) -> dict[tuple[str, str, str], tuple[Verdict, Verdict]]:
    """(battle, judge, prompt) -> its verdicts in the orders ab and ba, where both are there."""
    orders: dict[tuple[str, str, str], dict[str, Verdict]] = {}
    for verdict in verdicts:
        orders.setdefault((verdict.battle_id, verdict.judge, verdict.prompt), {})[verdict.order] = verdict
    return {key: (found["ab"], found["ba"]) for key, found in orders.items() if len(found) > 1}


def mean_probability(ab: Verdict, ba: Verdict) -> float | None:
    """A judge's mean probability over both orders that side `a` is better."""
    if ab.probability_a is None or ba.probability_a is None:
        return None
    return (ab.probability_a + ba.probability_a) / 2


def validate_vote_count(votes: Sequence[Vote], verdicts: Iterable[Verdict]) -> None:
    """Raise `JudgeError` where no battle got a vote: how many verdicts were unreadable, and the first."""
    if votes:
        return
    known = list(verdicts)
    refused, failed = sum(v.refused for v in known), [verdict for verdict in known if not verdict.readable]
    first = "; no example has answers of two contestants"
    if failed:
        first = f", the first of {failed[0].judge}: {' '.join((failed[0].reason or '').split())[:200]}"
    raise JudgeError(
        f"no vote was cast: of {len(known)} verdicts {len(failed) - refused} could not be read and {refused} "
        f"were refused{first}"
    )


def _by_battle(votes: Iterable[Vote]) -> list[list[Vote]]:
    """Votes on two contestants on an example; other contestants may have given the same answers."""
    found: dict[tuple[str, ...], list[Vote]] = {}
    for vote in votes:
        key = (vote.battle_id, vote.example_id, vote.model_a, vote.model_b)
        found.setdefault(key, []).append(vote)
    return list(found.values())


def majority_votes(votes: Iterable[Vote], *, voter: str = "jury") -> list[Vote]:
    """One vote a battle: what more than half of the judges that voted on it say, else a tie."""
    majority = []
    for cast in _by_battle(votes):
        outcome, count = Counter(vote.outcome for vote in cast).most_common(1)[0]
        given = [vote.probability_a for vote in cast if vote.probability_a is not None]
        mean = sum(given) / len(given) if len(given) == len(cast) else None
        update = {"voter": voter, "outcome": outcome if 2 * count > len(cast) else "tie"}
        majority.append(cast[0].model_copy(update=update | {"probability_a": mean}))
    return majority


def proportion(count: float, n: int) -> dict[str, Any]:
    """`count` of `n` with Wilson's 95% interval."""
    if n == 0:
        return {"value": None, "low": None, "high": None, "n": 0}
    low, high = wilson(count, n)
    return {"value": count / n, "low": low, "high": high, "n": n}


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
    read = [verdict for verdict in verdicts if verdict.reason != IDENTICAL]
    both = [(ab, ba) for ab, ba in pair_orders(read).values() if ab.outcome and ba.outcome]
    # Of a battle whose orders agree on a winner exactly half the verdicts name the first; ties count half.
    first = [(_first(ab) + _first(ba)) / 2 for ab, ba in both]
    votes = aggregate_votes(battles, verdicts, rule=rule, noise=noise)
    means = [mean for ab, ba in both if (mean := mean_probability(ab, ba)) is not None]
    band = noise.get(verdicts[0].judge)
    beyond = [] if band is None else [abs(mean - EVEN) > band for mean in means]
    all_battles = {verdict.battle_id for verdict in verdicts}
    return {
        "beyond_noise": proportion(sum(beyond), len(beyond)),
        "battles": len(all_battles),
        "identical": len(all_battles) - len({verdict.battle_id for verdict in read}),
        "consistency": proportion(sum(ab.outcome == ba.outcome for ab, ba in both), len(both)),
        "first_position": proportion(sum(first), len(first)),
        "always_first": proportion(first.count(1.0), len(first)),
        "always_second": proportion(first.count(0.0), len(first)),
        "ties": proportion(sum(vote.outcome == "tie" for vote in votes), len(votes)),
        "unreadable": proportion(sum(v.outcome is None and not v.refused for v in read), len(read)),
        "refused": proportion(sum(verdict.refused for verdict in read), len(read)),
        "longer": win_share(battles, votes, len),
        "more_markdown": win_share(battles, votes, markdown),
        "tokens_in": sum(verdict.tokens_in for verdict in verdicts),
        "tokens_out": sum(verdict.tokens_out for verdict in verdicts),
    }


def _first(verdict: Verdict) -> float:
    """1 when the answer shown first won, 0 when the second did, 0.5 for a tie."""
    if verdict.outcome not in ("a", "b"):
        return 0.5
    return float((verdict.outcome == "a") == (verdict.order == "ab"))


def markdown(text: str) -> float:
    """How many marks of Markdown a text has."""
    return len(MARKDOWN.findall(text))


def win_share(
    battles: Sequence[Battle], votes: Iterable[Vote], measure: Callable[[str], float]
) -> dict[str, Any]:
    """How often the winner is the answer with the larger `measure`, where the two differ in it."""
    found = {battle.id: battle for battle in battles}
    won = []
    for vote in votes:
        a, b = measure(found[vote.battle_id].completion_a), measure(found[vote.battle_id].completion_b)
        if vote.outcome in ("a", "b") and a != b:
            won.append((vote.outcome == "a") == (a > b))
    return proportion(sum(won), len(won))


def disagreement(votes: Iterable[Vote]) -> dict[str, Any]:
    """Agreement within a jury: `unanimous` battles, and the agreement of each two judges.

    Of battles that all judges voted on; a tie agrees with a tie.
    """
    outcomes = [{vote.voter: vote.outcome for vote in cast} for cast in _by_battle(votes)]
    judges = sorted({judge for by_judge in outcomes for judge in by_judge})
    full = [by_judge for by_judge in outcomes if len(by_judge) == len(judges)]

    def share(names: Sequence[str]) -> dict[str, Any]:
        return proportion(sum(len({row[name] for name in names}) == 1 for row in full), len(full))

    pairs = [{"judges": [*pair], "agreement": share(pair)} for pair in combinations(judges, 2)]
    return {"unanimous": share(judges), "pairs": pairs}


Array = NDArray[np.float64]

RIDGES = np.array([0.01, 4.0])
"""Penalties of the constant and of length (half the squared coefficient each). The last one says that
coefficients beyond +-1 are unusual: a contestant that is always the shorter one says little about what would
happen at equal length, and without a penalty the fit extrapolates wildly."""

FREE = np.array([0.01, 0.01])
"""Penalties behind the interval: only what keeps a clean sweep finite."""
INSEPARABLE = 0.95
"""Width of the interval from which on quality cannot be separated from length."""


class Preference(Record):
    """How much one answer was preferred to another's on one example."""

    contestant: str
    against: str
    value: float
    """From 0 (the other won) to 1."""
    length: int
    """Of the contestant's answer, in characters."""
    length_against: int
    example_id: str = ""

    def reversed(self) -> Self:
        """The same, seen from the other side."""
        names = {"contestant": self.against, "against": self.contestant, "value": 1 - self.value}
        lengths = {"length": self.length_against, "length_against": self.length}
        return self.model_copy(update=names | lengths)


def preferences_from_votes(battles: Sequence[Battle], votes: Iterable[Vote]) -> list[Preference]:
    """Votes on battles as preferences, seen from side `a`."""
    lengths = {battle.id: (len(battle.completion_a), len(battle.completion_b)) for battle in battles}
    return [preference_of(vote, *lengths[vote.battle_id]) for vote in votes]


def preference_of(vote: Vote, length_a: int, length_b: int) -> Preference:
    """A vote on answers of these lengths as a preference, seen from side `a`."""
    return Preference(
        contestant=vote.model_a,
        against=vote.model_b,
        value=vote.points,
        example_id=vote.example_id,
        length=length_a,
        length_against=length_b,
    )


def win_rates(found: Iterable[Preference]) -> list[dict[str, Any]]:
    """Every pair's raw and length-controlled win rate: `contestant`, `against`, and two shares with `n`."""
    pairs: dict[tuple[str, str], list[Preference]] = {}
    for preference in found:
        names = preference.contestant, preference.against
        if names[::-1] in pairs:  # sides are drawn by chance
            pairs[names[::-1]].append(preference.reversed())
        else:
            pairs.setdefault(names, []).append(preference)
    rates = []
    for (contestant, against), rows in pairs.items():
        values = [row.value for row in rows]
        low, high = wilson_of_points(values, [row.example_id or str(k) for k, row in enumerate(rows)])
        raw = {"value": math.fsum(values) / len(rows), "low": low, "high": high, "n": len(rows)}
        shares = {"win_rate": raw, "length_controlled": length_controlled(rows)}
        rates.append({"contestant": contestant, "against": against} | shares)
    return rates


def length_controlled(rows: Sequence[Preference]) -> dict[str, Any]:
    """The win rate between answers of equal length, with its 95% interval.

    Logistic regression of the preference on a constant and tanh of the standardised difference in length;
    then the prediction at no difference. The interval is that of the constant in a fit without the penalty,
    from the sandwich covariance, and holds the value: where lengths go with sides the penalty decides the
    value, and the interval says how little is known. AlpacaEval also fits the difficulty of its instructions,
    and holds the coefficients back with an L1 penalty chosen by cross-validation and with judgments of gamed
    answers of its own baseline, which other data does not have.
    """
    from scipy.special import stdtrit

    if not rows:
        raise DataError("no battles to take a win rate of")
    values = np.array([row.value for row in rows])
    apart = np.array([row.length - row.length_against for row in rows], dtype=float)
    spread = apart.std(ddof=1) if len(rows) > 1 else 0.0
    length = np.tanh(apart / spread) if spread > 0 else np.zeros(len(rows))
    columns = np.stack([np.ones(len(rows)), length], axis=1)
    fitted, _ = logistic(columns, values, RIDGES)
    free, covariance = logistic(columns, values, FREE)
    margin = float(stdtrit(max(1, len(rows) - 3), (1 + LEVEL) / 2)) * math.sqrt(covariance[0, 0])
    ends = np.array([free[0] - margin, fitted[0], free[0] + margin])
    low, value, high = _sigmoid(ends).tolist()
    return {"value": value, "low": min(low, value), "high": max(high, value), "n": len(rows)}


def is_separable(share: Mapping[str, Any]) -> bool:
    """Whether quality can be separated from length: lengths that go with a side leave it open."""
    return share["low"] is not None and share["high"] - share["low"] < INSEPARABLE


def logistic(columns: Array, values: Array, ridges: Array) -> tuple[Array, Array]:
    """Coefficients of a logistic regression with targets in [0, 1], and their sandwich covariance.

    `columns` are (rows, features), a constant among them; `values` are (rows,); `ridges` (features,) the
    weight of half of each squared coefficient.
    """

    def derivatives(fitted: Array) -> tuple[Array, Array]:
        expected = _sigmoid(columns @ fitted)
        model_based = columns.T @ (columns * (expected * (1 - expected))[:, None])
        return columns.T @ (values - expected) - ridges * fitted, model_based + np.diag(ridges)

    fitted = newton(derivatives, np.zeros(columns.shape[1]))
    if fitted is None:
        raise DataError("the length-controlled win rate did not converge")
    curvature, residual = derivatives(fitted)[1], values - _sigmoid(columns @ fitted)
    scatter, model_based = columns.T @ (columns * residual[:, None] ** 2), curvature - np.diag(ridges)
    # After a clean sweep no residual is left to estimate from: never claim less than the model's own spread.
    middle = scatter if np.trace(scatter) > np.trace(model_based) else model_based
    # What the penalty alone decides is not known: its part stands in the middle too.
    inverse = np.linalg.inv(curvature)
    return fitted, inverse @ (middle + np.diag(ridges)) @ inverse


def _sigmoid(x: Array) -> Array:
    result: Array = 1 / (1 + np.exp(-np.clip(x, -500, 500)))
    return result
