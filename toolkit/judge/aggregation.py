"""Verdicts -> votes. A judge is one voter, whatever the number of its verdicts on a battle."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from toolkit.errors import DataError, JudgeError
from toolkit.statistics import LEVEL, newton, wilson, wilson_of_points
from toolkit.types import Battle, Outcome, Record, Verdict, Vote

EVEN = 0.5
Rule = Literal["agreement", "average"]


def aggregate_votes(
    battles: Sequence[Battle],
    verdicts: Iterable[Verdict],
    *,
    rule: Rule = "agreement",
    noise: Mapping[str, float] = MappingProxyType({}),
) -> list[Vote]:
    """At most one vote a judge and battle, in the order of `battles`.

    Args:
        battles: what was judged.
        verdicts: of any number of judges; on other battles they are ignored.
        rule: `agreement`: both orders agree = that outcome, they disagree = a tie (as in MT-bench, Zheng et
            al. 2023). `average`: the mean probability over both orders decides, and a tie is exactly 0.5;
            needs a judge that gives probabilities.
        noise: judge -> how far its mean probability moves by rounding alone; within that of 0.5 it is a tie.

    A vote of a judge that gives probabilities carries their mean, which ratings and win rates count. A
    battle with one order missing or unreadable gets no vote.
    """
    pairs = pair_orders(verdicts)
    by_battle: dict[str, list[tuple[str, Outcome, float | None]]] = {}
    for (battle_id, judge, _prompt), (ab, ba) in pairs.items():
        outcome = _decide(ab, ba, rule, noise.get(judge, 0.0))
        if outcome is not None:
            by_battle.setdefault(battle_id, []).append((judge, outcome, mean_probability(ab, ba)))
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
            probability_a=probability,
        )
        for battle in battles
        for judge, outcome, probability in by_battle.get(battle.id, ())
    ]


def validate_vote_count(cast: Sequence[Vote], verdicts: Iterable[Verdict]) -> None:
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


def majority_votes(cast: Iterable[Vote], *, voter: str = "jury") -> list[Vote]:
    """One vote a battle: what more than half of the judges that voted on it say, else a tie."""
    heard: dict[tuple[str, ...], list[Vote]] = {}
    for vote in cast:
        heard.setdefault(battle_of(vote), []).append(vote)
    return [_majority(said, voter) for said in heard.values()]


def battle_of(vote: Vote) -> tuple[str, ...]:
    """Which battle a vote is on: two contestants on an example; others may have given the same answers."""
    return vote.battle_id, vote.example_id, vote.model_a, vote.model_b


def _majority(said: list[Vote], voter: str) -> Vote:
    outcome, count = Counter(vote.outcome for vote in said).most_common(1)[0]
    agreed: Outcome = outcome if 2 * count > len(said) else "tie"
    known = [vote.probability_a for vote in said if vote.probability_a is not None]
    mean = sum(known) / len(known) if len(known) == len(said) else None
    return said[0].model_copy(update={"outcome": agreed, "voter": voter, "probability_a": mean})


def proportion(count: float, n: int) -> dict[str, Any]:
    """`count` of `n` with Wilson's 95% interval."""
    if n == 0:
        return {"value": None, "low": None, "high": None, "n": 0}
    low, high = wilson(count, n)
    return {"value": count / n, "low": low, "high": high, "n": n}


def pair_orders(verdicts: Iterable[Verdict]) -> dict[tuple[str, str, str], tuple[Verdict, Verdict]]:
    """(battle, judge, prompt) -> its verdicts in the orders ab and ba, where both are there."""
    orders: dict[tuple[str, str, str], dict[str, Verdict]] = {}
    for verdict in verdicts:
        orders.setdefault((verdict.battle_id, verdict.judge, verdict.prompt), {})[verdict.order] = verdict
    both = {"ab", "ba"}
    return {key: (found["ab"], found["ba"]) for key, found in orders.items() if found.keys() == both}


def mean_probability(ab: Verdict, ba: Verdict) -> float | None:
    """A judge's mean probability over both orders that side `a` is better."""
    if ab.probability_a is None or ba.probability_a is None:
        return None
    return (ab.probability_a + ba.probability_a) / 2


def _decide(ab: Verdict, ba: Verdict, rule: Rule, band: float) -> Outcome | None:
    if ab.outcome is None or ba.outcome is None:
        return None
    mean = mean_probability(ab, ba)
    if mean is not None and abs(mean - EVEN) <= band:
        return "tie"
    if rule == "agreement":
        return ab.outcome if ab.outcome == ba.outcome else "tie"
    return None if mean is None else "a" if mean > EVEN else "b"


Array = NDArray[np.float64]

RIDGES = np.array([0.01, 4.0, 4.0])
"""Penalties of the constant, length and difficulty (half the squared coefficient each). The last two say that
coefficients beyond +-1 are unusual: a contestant that is always the shorter one says little about what would
happen at equal length, and without a penalty the fit extrapolates wildly."""

FREE = np.array([0.01, 0.01, 4.0])
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
    difficulty: float = 0.0
    """Of the example, where one is known: a covariate of the length-controlled win rate."""


def preferences_from_votes(battles: Sequence[Battle], cast: Iterable[Vote]) -> list[Preference]:
    """Votes on battles as preferences, seen from side `a`."""
    lengths = {battle.id: (len(battle.completion_a), len(battle.completion_b)) for battle in battles}
    return [
        Preference(
            contestant=vote.model_a,
            against=vote.model_b,
            value=vote.points,
            example_id=vote.example_id,
            length=lengths[vote.battle_id][0],
            length_against=lengths[vote.battle_id][1],
        )
        for vote in cast
    ]


def win_rates(found: Iterable[Preference]) -> list[dict[str, Any]]:
    """Every pair's raw and length-controlled win rate: `contestant`, `against`, and two shares with `n`."""
    pairs: dict[tuple[str, str], list[Preference]] = {}
    for preference in found:
        pairs.setdefault((preference.contestant, preference.against), []).append(preference)
    return [
        {
            "contestant": contestant,
            "against": against,
            "win_rate": win_rate(rows),
            "length_controlled": length_controlled(rows),
        }
        for (contestant, against), rows in pairs.items()
    ]


def win_rate(rows: Sequence[Preference]) -> dict[str, Any]:
    """The mean preference with its 95% interval over examples."""
    values = [row.value for row in rows]
    low, high = wilson_of_points(values, [row.example_id or str(place) for place, row in enumerate(rows)])
    return {"value": math.fsum(values) / len(rows), "low": low, "high": high, "n": len(rows)}


def standard_error(rows: Sequence[Preference]) -> float:
    """Of the raw win rate, as AlpacaEval reports it."""
    return float(np.std([row.value for row in rows], ddof=1) / math.sqrt(len(rows)))


def length_controlled(rows: Sequence[Preference]) -> dict[str, Any]:
    """The win rate between answers of equal length, with its 95% interval.

    Logistic regression of the preference on a constant, tanh of the standardised difference in length and,
    where examples have them, their difficulties; then the mean prediction at no difference in length. The
    interval is that of the constant in a fit without the penalty, from the sandwich covariance, and holds the
    value: where lengths go with sides the penalty decides the value, and the interval says how little is
        known. AlpacaEval fits the same features, but holds the coefficients back with an L1 penalty chosen
        by cross-validation and with judgments of gamed answers of its own baseline, which other data does
        not have; here a fixed penalty does it.
    """
    if not rows:
        raise DataError("no battles to take a win rate of")
    values = np.array([row.value for row in rows])
    apart = np.array([row.length - row.length_against for row in rows], dtype=float)
    spread = apart.std(ddof=1) if len(rows) > 1 else 0.0
    length = np.tanh(apart / spread) if spread > 0 else np.zeros(len(rows))
    difficulty = np.array([row.difficulty for row in rows])
    columns = np.stack([np.ones(len(rows)), length, difficulty], axis=1)
    fitted, _ = logistic(columns, values, RIDGES)
    free, covariance = logistic(columns, values, FREE)
    margin = _reach(len(rows)) * math.sqrt(covariance[0, 0])
    low, value, high = (
        float(_sigmoid(constant + each[2] * difficulty).mean())
        for constant, each in ((free[0] - margin, free), (fitted[0], fitted), (free[0] + margin, free))
    )
    return {"value": value, "low": min(low, value), "high": max(high, value), "n": len(rows)}


def is_separable(share: Mapping[str, Any]) -> bool:
    """Whether quality can be separated from length: lengths that go with a side leave it open."""
    return share["low"] is not None and share["high"] - share["low"] < INSEPARABLE


def _reach(n: int) -> float:
    """Student's quantile, three coefficients fitted."""
    from scipy.stats import t

    return float(t.ppf((1 + LEVEL) / 2, max(1, n - 3)))


def logistic(columns: Array, values: Array, ridges: Array) -> tuple[Array, Array]:
    """Coefficients of a logistic regression with targets in [0, 1], and their sandwich covariance.

    Args:
        columns: (rows, features); a constant is one of them, or is not fitted.
        values: (rows,).
        ridges: (features,), the weight of half of each squared coefficient.
    """

    def derivatives(fitted: Array) -> tuple[Array, Array]:
        expected = _sigmoid(columns @ fitted)
        curvature = columns.T @ (columns * (expected * (1 - expected))[:, None]) + np.diag(ridges)
        return columns.T @ (values - expected) - ridges * fitted, curvature

    fitted = newton(derivatives, np.zeros(columns.shape[1]))
    if fitted is None:
        raise DataError("the length-controlled win rate did not converge")
    inverse, expected = np.linalg.inv(derivatives(fitted)[1]), _sigmoid(columns @ fitted)
    scatter = (columns * (values - expected)[:, None]).T @ (columns * (values - expected)[:, None])
    model_based = columns.T @ (columns * (expected * (1 - expected))[:, None])
    # After a clean sweep no residual is left to estimate from: never claim less than the model's own spread.
    middle = scatter if np.trace(scatter) > np.trace(model_based) else model_based
    # What the penalty alone decides is not known: its part stands in the middle too.
    return fitted, inverse @ (middle + np.diag(ridges)) @ inverse


def _sigmoid(x: Array) -> Array:
    result: Array = 1 / (1 + np.exp(-np.clip(x, -500, 500)))
    return result
