"""Number formatting: digits, true minus sign, units."""

import math

MINUS = "\N{MINUS SIGN}"
ABSENT = "\N{EN DASH}"
SMALLEST_P = 0.001
GROUPED = 10_000
"""From here on digits are grouped in threes."""
MINUTE, HOUR = 60, 3600


def number(value: float | None, digits: int = 3) -> str:
    """`0.812`, `1112`, `12,345`, `∞`; an en dash for what is not there."""
    if value is None or math.isnan(value):
        return ABSENT
    if math.isinf(value):
        return "\N{INFINITY}" if value > 0 else f"{MINUS}\N{INFINITY}"
    text = f"{value:,.{digits}f}" if abs(value) >= GROUPED else f"{value:.{digits}f}"
    return text.lstrip("-") if not text.strip("-0.,") else text.replace("-", MINUS)


def signed(value: float, digits: int = 3) -> str:
    """As `number`, with a plus sign where it is more than zero."""
    text = number(value, digits)
    return f"+{text}" if value > 0 and text.strip("0.,") else text


def span(low: float | None, high: float | None, digits: int = 3, *, sign: bool = False) -> str:
    """An interval in words: `0.49 to 0.81`; empty where there is none."""
    if low is None or high is None:
        return ""
    write = signed if sign else number
    return f"{write(low, digits)} to {write(high, digits)}"


def p(value: float) -> str:
    """`p < 0.001`, `p = 0.013`."""
    return f"p < {SMALLEST_P}" if value < SMALLEST_P else f"p = {value:.3f}"


def percent(value: float | None) -> str:
    """A share as whole percent."""
    return ABSENT if value is None or math.isnan(value) else f"{100 * value:.0f}%"


def duration(seconds: float) -> str:
    """`8.2 s`, `4 min 12 s`, `3 h 05 min`."""
    if seconds < MINUTE:
        return f"{seconds:.1f} s"
    if seconds < HOUR:
        return f"{int(seconds // MINUTE)} min {int(seconds % MINUTE):02d} s"
    return f"{int(seconds // HOUR)} h {int(seconds % HOUR // MINUTE):02d} min"


def size(count: float) -> str:
    """Bytes as GiB."""
    return f"{count / 2**30:.1f} GiB"


def counted(n: int, one: str, many: str | None = None) -> str:
    """`1 vote`, `3 votes`."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def listed(names: list[str] | tuple[str, ...]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)


def rounded(count: int) -> str:
    """An estimated count, up to two significant digits: it has no more."""
    power: int = 10 ** max(0, len(str(count)) - 2)
    return f"{-(-count // power) * power:,}"
