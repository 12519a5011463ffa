"""How sure a rate is: the two-sided Wilson interval, and what is missing until it is sure enough.

Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927). Level 0.90
means z = 1.645. `n` counts cases: a repeat of a case is not another case.
"""

from dataclasses import dataclass
from functools import cache
from math import sqrt
from statistics import NormalDist

MOST_CASES = 1_000_000
"""No more cases than this are ever said to be missing."""


@dataclass(frozen=True, slots=True)
class Interval:
    low: float
    high: float


def wilson(count: int, total: int, level: float) -> Interval:
    """The interval of the rate count/total at this level, 0 < level < 1. `total` is at least 1."""
    z = _z(level)
    rate, scale = count / total, 1 + z * z / total
    middle = (rate + z * z / (2 * total)) / scale
    half = z / scale * sqrt(rate * (1 - rate) / total + z * z / (4 * total * total))
    # Rounding must not make a rate of 1 less than sure of being below 1, nor leave the unit interval.
    return Interval(max(0.0, middle - half), min(1.0, middle + half))


@cache
def _z(level: float) -> float:
    return NormalDist().inv_cdf((1 + level) / 2)
