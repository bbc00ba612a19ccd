"""How sure a proportion is: Wilson's interval, for metrics, benchmarks and judges alike."""

from __future__ import annotations

import math
from statistics import NormalDist

LEVEL = 0.95
Z = NormalDist().inv_cdf((1 + LEVEL) / 2)


def wilson(successes: float, n: int) -> tuple[float, float]:
    """The 95% score interval of a proportion (Wilson 1927).

    Unlike a bootstrap's it has width after five successes in five.

    Args:
        successes: of `n`; a half is a tie.
        n: trials, at least one.
    """
    share, scale = successes / n, 1 + Z * Z / n
    middle = (share + Z * Z / (2 * n)) / scale
    half = Z / scale * math.sqrt(share * (1 - share) / n + Z * Z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)
