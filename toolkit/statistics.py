"""Wilson's interval, Holm's correction, the rule of "better", and Newton's method for every fit."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

LEVEL = 0.95
SIGNIFICANT = 0.05
NORMAL = NormalDist()
Z = NORMAL.inv_cdf((1 + LEVEL) / 2)


def effective_freedom(weights: NDArray[Any]) -> float:
    """Degrees of freedom of a sum of parts with these weights, at least one: n - 1 where all are equal.

    One less than as many equal parts as count as much (Kish 1965); with squared sizes as weights, those of a
    sum of squares (Satterthwaite 1946).
    """
    return max(1.0, float(weights.sum() ** 2 / (weights**2).sum()) - 1)


def wilson(successes: float, n: float) -> tuple[float, float]:
    """The 95% score interval of a proportion (Wilson 1927).

    Unlike a bootstrap's it has width after five successes in five.

    Args:
        successes: of `n`; a half is a tie.
        n: trials, at least one; as many as the data are worth, where they are not independent.
    """
    share, scale = successes / n, 1 + Z * Z / n
    middle = (share + Z * Z / (2 * n)) / scale
    half = Z / scale * math.sqrt(share * (1 - share) / n + Z * Z / (4 * n * n))
    low = max(0.0, middle - half) if successes > 0 else 0.0  # without what rounding leaves of it
    return low, min(1.0, middle + half) if successes < n else 1.0


def wilson_of_points(points: Sequence[float], clusters: Sequence[str] = ()) -> tuple[float, float]:
    """Wilson's interval of a mean of points in [0, 1], of ties and probabilities too.

    It is that of as many wins and losses as would have the points' own variance, which is over clusters
    (examples) where several points share one.
    """
    n, total = len(points), math.fsum(points)
    share = total / n
    sums: dict[str, float] = {}
    for place, point in enumerate(points):
        name = clusters[place] if clusters else str(place)
        sums[name] = sums.get(name, 0.0) + point - share
    binary, groups = share * (1 - share), len(sums)
    spread = math.fsum(each * each for each in sums.values())
    # One cluster more, of wins and losses, keeps the width where all wins, losses or ties are alike.
    more = 0 if any(point not in (0.0, 0.5, 1.0) for point in points) else 1
    variance = (spread + more * binary * n / groups) / max(1, groups - 1 + 2 * more) * groups
    size = n * n * binary / variance if variance > 0 else float(groups)
    return wilson(share * size, size)


def decide(
    low: float, high: float, corrected_p: float, better: int = 1
) -> Literal["better", "worse", "unclear"]:
    """What a paired difference shows, by its 95% interval and its p-value after Holm's correction.

    Report, slices, gate and comparisons of runs decide by this alone. `better`: -1 where less is.
    """
    if not corrected_p < SIGNIFICANT or low <= 0 <= high:
        return "unclear"
    return "better" if (low > 0) == (better > 0) else "worse"


def smallest_p(count: int) -> float:
    """The smallest two-sided p-value that swapping the sides of so many examples can give."""
    return float(2.0 ** (1 - count))


PRIMARY_SHARE = 0.8  # share of the error that the primary measure has, before what is decided frees its own


def holm(p_values: Sequence[float], primary: int | None = None) -> list[float]:
    """P-values corrected for how many comparisons were made (Holm 1979), in the order given.

    `primary` is the place of the one that has four fifths of the error (Holm's weighted form): it grows by a
    quarter at most, however many others there are.
    """
    count = len(p_values)
    weights = [1.0] * count
    if primary is not None and count > 1:
        weights[primary] = (count - 1) * PRIMARY_SHARE / (1 - PRIMARY_SHARE)
    order = sorted(range(count), key=lambda i: p_values[i] / weights[i])
    corrected, largest = [0.0] * count, 0.0
    for rank, i in enumerate(order):
        left = math.fsum(weights[j] for j in order[rank:])
        largest = max(largest, min(1.0, left / weights[i] * p_values[i]))
        corrected[i] = largest
    return corrected


STEPS = 200
TOLERANCE = 1e-10  # Newton's method ends with a step that moves no parameter further
MAX_STEP = 1.0  # no parameter moves further in one step: then it climbs from anywhere


def newton(
    derivatives: Callable[[Array], tuple[Array, Array]], start: Array, floor: Array | float = -math.inf
) -> Array | None:
    """The maximum of a concave function by Newton's method; `None` where it is not reached.

    `derivatives`: parameters (m,) -> gradient (m,) and minus the second derivatives (m, m); each stays above
    its `floor`.
    """
    import numpy as np

    theta = start
    for _ in range(STEPS):
        gradient, curvature = derivatives(theta)
        try:
            step = np.linalg.solve(curvature, gradient)
        except np.linalg.LinAlgError:
            return None
        longest = float(np.abs(step).max())
        moved = theta + step * min(1.0, MAX_STEP / max(longest, TOLERANCE))
        theta = np.maximum(moved, (theta + floor) / 2)
        if longest < TOLERANCE:
            return np.asarray(theta)
    return None
