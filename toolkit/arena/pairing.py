"""Draw the next battle for a voter.

The pair of contestants is drawn at random: `uniform`, every pair alike; `active`, half of the probability
alike and half in proportion to how doubtful each pair's order still is, which leaves every pair at least half
its uniform probability. The example is drawn among those of the pair that are open to the voter: alike, or
under `active` in a run with a judge half alike and half in proportion to how far people's votes are from what
the judge predicts, where a vote tells the most (Neyman 1934); the ballot's weight undoes that. The sides are
drawn by a fair coin. The draws depend on a secret, so that nobody can work out the next one.
"""

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.special import ndtr

from toolkit.arena.battles import BattlePool, battle_key, side_fields
from toolkit.arena.tally import Tally
from toolkit.statistics import newton
from toolkit.types import Pair, sorted_pair

Matrix = NDArray[np.float64]

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
    weight: float
    """Uniform probability of the example among the pair's, over the one it was drawn with; at most 2."""


def draw_battle(
    pool: BattlePool,
    tally: Tally,
    met: AbstractSet[str],
    rng: Generator,
    revealed: AbstractSet[tuple[str, str]] = frozenset(),
    deviations: Matrix | None = None,
) -> DrawnBattle | None:
    """Draw the next battle for a voter; `None` when none is left.

    `met` are keys of the battles the voter was shown, `revealed` the (example, contestant) of the answers
    whose author the voter knows; without `deviations`, those of `residual_deviations`, examples are drawn
    alike. Voters must not be able to predict `rng`.
    """
    pairs = [pair for pair in pool.pairs if any(True for _ in _open_examples(pool, pair, met, revealed))]
    if not pairs:
        return None
    a, b, chance = draw_pair(pool, tally, pairs, rng)
    pair = sorted_pair(a, b)
    examples = list(_open_examples(pool, pair, met, revealed))
    chances = np.full(len(examples), 1 / len(examples))
    if deviations is not None and pool.options.pairing == "active":
        judged = np.array([pool.judged.get((example, pair), np.nan) for example in examples])
        chances = example_probabilities(judged, deviations)
    index = int(rng.choice(len(examples), p=chances))
    drawn = float(chances[index])
    return DrawnBattle(examples[index], a, b, chance, chance * drawn / 2, 1 / len(examples) / drawn)


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
    uncertainty = [unsure[place[one], place[other]] for one, other in pairs]
    weights = np.where(short, np.maximum(uncertainty, MIN_UNCERTAINTY), 0)
    return np.asarray(uniform / 2 + weights / weights.sum() / 2)


def win_matrix(tally: Tally, contestants: tuple[str, ...]) -> Matrix:
    return np.array([[tally.points.get((one, other), 0.0) for other in contestants] for one in contestants])


# How much a vote on each example tells beside the judge's

MARGINS = 3
"""Classes of battles, by how sure the judge is."""
PRIOR_VOTES = 10
"""Votes that the judge's own probabilities stand for in each class."""


def residual_deviations(judged: Matrix, points: Matrix, seen: Matrix) -> Matrix:
    """Root mean square of people's `points` less what the judge predicts, by how sure it is.

    `judged` are the judge's probabilities of all battles, whose p (1 - p) is at first taken for the mean
    square, `seen` those of the battles with points; NaN: none. Returns the figure of each class from unsure
    to sure, then of battles without a judge's vote; shape (MARGINS + 1,).
    """
    known, sure = ~np.isnan(seen), np.clip(judged, 0.1, 0.9)
    points, seen = points[known], seen[known]
    margin, agreed = np.abs(seen - 1 / 2), np.where(seen < 1 / 2, -1, 1) * (points - 1 / 2)
    slope = np.clip((agreed * margin).sum() / max((margin**2).sum(), 1e-9), 0, 1)
    of_all, of_votes = margin_classes(judged), margin_classes(seen)
    found = np.full(MARGINS + 1, 1 / 2)
    for k in range(MARGINS):
        battles, residual = sure[of_all == k], (agreed - slope * margin)[of_votes == k]
        prior = PRIOR_VOTES * float((battles * (1 - battles)).mean() if len(battles) else 1 / 4)
        found[k] = ((prior + (residual**2).sum()) / (PRIOR_VOTES + len(residual))) ** 0.5
    return found


def margin_classes(judged: Matrix) -> NDArray[np.intp]:
    """Class of each battle, by how sure the judge is; the last for NaN."""
    sure = np.abs(2 * judged - 1)
    return np.searchsorted(np.arange(1, MARGINS) / MARGINS, sure, side="right") + np.isnan(judged)


def example_probabilities(judged: Matrix, deviations: Matrix) -> Matrix:
    """Probability of drawing each of a pair's examples, by the judge's; at least half of the uniform one."""
    weights = deviations[margin_classes(judged)]
    return np.asarray((1 / len(weights) + weights / weights.sum()) / 2)


# How sure the votes are about the order of each pair

PRIOR_SD = 1.5
"""Of a strength, in log-odds: a typical pair of contestants then wins 9 : 1 against each other at most."""


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
    """The fields of a ballot: an example's reference or answer, against an answer to another example.

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
    answer = answers[int(rng.integers(len(answers)))]
    right = answer.reference or answer.completion
    wrong = others[int(rng.integers(len(others)))].completion
    if right.strip() == wrong.strip() or answer.messages == others[0].messages:
        return None
    sides = [(RIGHT, right), (WRONG, wrong)]
    if battle_key(mine, *sides) in met:
        return None
    expected = "ab"[int(rng.integers(2))]
    shown_sides = side_fields(*(sides if expected == "a" else sides[::-1]))
    prompt = {"example_id": mine, "messages": answer.messages, "reference": answer.reference}
    return {"kind": "check", "expected": expected, **prompt, **shown_sides}
