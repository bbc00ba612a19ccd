"""Draw the next battle for a voter.

The pair of contestants is drawn at random: `uniform`, every pair alike; `active`, half of the probability
alike and half in proportion to how doubtful each pair's order still is, which leaves every pair at least half
its uniform probability. The example is drawn among those of the pair that are open to the voter, the sides by
a fair coin. The draws depend on a secret, so that nobody can work out the next one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.special import ndtr

from toolkit.arena.battles import BattlePool, battle_key
from toolkit.arena.tally import Tally
from toolkit.statistics import newton
from toolkit.types import Pair, sorted_pair

MIN_UNCERTAINTY = 1e-12
"""With thousands of votes a pair's doubt may round to zero, and then that of all of them."""


@dataclass(frozen=True)
class DrawnBattle:
    """The selected battle; `a` is shown on the left."""

    example_id: str
    a: str
    b: str
    pair_probability: float
    probability: float
    """Of this pair, example and order of sides."""


def draw_battle(
    pool: BattlePool,
    tally: Tally,
    met: AbstractSet[str],
    rng: Generator,
    revealed: AbstractSet[tuple[str, str]] = frozenset(),
) -> DrawnBattle | None:
    """Draw the next battle for a voter; `None` when none is left.

    Args:
        pool: contestants and battles.
        tally: votes so far.
        met: keys of the battles the voter was shown.
        rng: unpredictable for voters.
        revealed: (example, contestant) of the answers whose author the voter knows.
    """
    pairs = [pair for pair in pool.pairs if any(True for _ in _open_examples(pool, pair, met, revealed))]
    if not pairs:
        return None
    a, b, chance = draw_pair(pool, tally, pairs, rng)
    examples = list(_open_examples(pool, sorted_pair(a, b), met, revealed))
    example = examples[int(rng.integers(len(examples)))]
    return DrawnBattle(example, a, b, chance, chance / len(examples) / 2)


def _open_examples(
    pool: BattlePool, pair: Pair, met: AbstractSet[str], revealed: AbstractSet[tuple[str, str]]
) -> Iterator[str]:
    for example in pool.battles[pair]:
        known = any((example, name) in revealed for name in pair)
        if not known and pool.battle_key(example, pair) not in met:
            yield example


def draw_pair(
    pool: BattlePool, tally: Tally, pairs: Sequence[Pair], rng: Generator
) -> tuple[str, str, float]:
    """Draw one of these pairs: its left side, its right side, and the probability of the pair."""
    chances = pair_probabilities(pool, tally, pairs)
    index = int(rng.choice(len(pairs), p=chances))
    a, b = pairs[index] if rng.random() < 1 / 2 else pairs[index][::-1]
    return a, b, float(chances[index])


def pair_probabilities(pool: BattlePool, tally: Tally, pairs: Sequence[Pair]) -> Matrix:
    """Probability of drawing each of these pairs, shape (pairs,)."""
    uniform = np.full(len(pairs), 1 / len(pairs))
    short = np.array([tally.votes[pair] < pool.options.goal for pair in pairs])
    if pool.options.pairing != "active" or not short.any():
        return uniform
    unsure = misorder_probability(win_matrix(tally, pool.contestants))
    place = {name: index for index, name in enumerate(pool.contestants)}
    uncertainty = {pair: float(unsure[place[pair[0]], place[pair[1]]]) for pair in pool.pairs}
    weights = np.where(short, np.maximum([uncertainty[pair] for pair in pairs], MIN_UNCERTAINTY), 0)
    return np.asarray(uniform / 2 + weights / weights.sum() / 2)


def win_matrix(tally: Tally, contestants: tuple[str, ...]) -> Matrix:
    return np.array([[tally.points.get((one, other), 0.0) for other in contestants] for one in contestants])


# How sure the votes are about the order of each pair

PRIOR_SD = 1.5
"""Of a strength, in log-odds: a typical pair of contestants then wins 9 : 1 against each other at most."""

Matrix = NDArray[np.float64]


def posterior(wins: Matrix) -> tuple[Matrix, Matrix]:
    """Strengths (k,) in log-odds and their covariance (k, k), given how often i beat j, a tie being half.

    The maximum of the log-posterior under a normal prior, and the curvature there.
    """
    games, precision = wins + wins.T, np.eye(len(wins)) / PRIOR_SD**2

    def derivatives(strength: Matrix) -> tuple[Matrix, Matrix]:
        chance = 1 / (1 + np.exp(strength[None, :] - strength[:, None]))
        information = games * chance * (1 - chance)
        gradient = (wins - games * chance).sum(axis=1) - precision @ strength
        return gradient, np.diag(information.sum(axis=1)) - information + precision

    strength = newton(derivatives, np.zeros(len(wins)))
    assert strength is not None
    return strength, np.asarray(np.linalg.inv(derivatives(strength)[1]))


def misorder_probability(wins: Matrix) -> Matrix:
    """Probability that each pair's order is the other way round than it looks, shape (k, k), in 0..0.5."""
    strength, covariance = posterior(wins)
    variance = np.diag(covariance)
    spread = np.sqrt(np.maximum(variance[:, None] + variance[None, :] - 2 * covariance, 0))
    z = np.abs(strength[:, None] - strength[None, :]) / np.where(spread > 0, spread, 1)
    return np.asarray(ndtr(-z))


# Attention checks

RIGHT = "the example's own answer"
WRONG = "an answer to something else"
"""Stored in place of the contestant names of an attention check."""


def attention_check_due(number: int, every: int, rng: Generator) -> bool:
    """Whether a voter's battle of this number is a check: one in `every` on average, never the first."""
    return every > 0 and number > 0 and bool(rng.integers(every) == 0)


def build_attention_check(pool: BattlePool, met: set[str], rng: Generator) -> dict[str, Any] | None:
    """The fields of a ballot: an example with its reference or an answer, against another example's answer.

    Returns:
        `None` when the run is too small for it, or what was drawn is in `met` already.
    """
    shown = {
        example: [answer for answer in answers.values() if answer.id not in pool.flagged]
        for example, answers in pool.answers.items()
    }
    examples = [example for example, answers in shown.items() if answers]
    if len(examples) < 2:  # noqa: PLR2004
        return None
    mine, other = (examples[int(i)] for i in rng.choice(len(examples), size=2, replace=False))
    answers, others = shown[mine], shown[other]
    own = answers[int(rng.integers(len(answers)))]
    right = own.reference or own.completion
    wrong = others[int(rng.integers(len(others)))].completion
    if right.strip() == wrong.strip() or own.messages == others[0].messages:
        return None
    sides = [(RIGHT, right), (WRONG, wrong)]
    if battle_key(mine, *sides) in met:
        return None
    expected = "ab"[int(rng.integers(2))]
    (name_a, answer_a), (name_b, answer_b) = sides if expected == "a" else sides[::-1]
    return {
        "kind": "check",
        "example_id": mine,
        "messages": own.messages,
        "reference": own.reference,
        "contestant_a": name_a,
        "contestant_b": name_b,
        "answer_a": answer_a,
        "answer_b": answer_b,
        "expected": expected,
    }
