"""The two-sided Wilson interval, by the figures that are published for it."""

import pytest

from ratchet.domain.confidence import MOST_CASES, wilson


@pytest.mark.parametrize(
    ("count", "total", "level", "low", "high"),
    [
        (58, 60, 0.90, 0.904, 0.989),
        (46, 60, 0.90, 0.667, 0.844),
        (57, 60, 0.90, 0.881, 0.980),
        (0, 10, 0.95, 0.0, 0.278),
        (10, 10, 0.95, 0.722, 1.0),
        (81, 263, 0.95, 0.255, 0.366),  # Newcombe 1998, table I
        (1, 29, 0.95, 0.0061, 0.1718),
        (15, 148, 0.95, 0.0624, 0.1605),
    ],
)
def test_the_interval_is_the_published_one(count: int, total: int, level: float, low: float, high: float) -> None:
    interval = wilson(count, total, level)
    assert (interval.low, interval.high) == (pytest.approx(low, abs=6e-4), pytest.approx(high, abs=6e-4))


def test_level_90_means_z_1_645() -> None:
    # For half of the cases the interval is 0.5 +- z / (2 sqrt(n + z^2)).
    interval = wilson(50, 100, 0.90)
    z = 1.6448536269514722
    assert interval.high - 0.5 == pytest.approx(z / (2 * (100 + z * z) ** 0.5), rel=1e-12)
    assert 0.5 - interval.low == pytest.approx(interval.high - 0.5, rel=1e-12)


@pytest.mark.parametrize("total", [1, 7, 60, 999])
def test_it_lies_within_zero_and_one_and_touches_them_at_the_ends(total: int) -> None:
    for count in range(total + 1):
        interval = wilson(count, total, 0.90)
        assert 0.0 <= interval.low <= count / total <= interval.high + 1e-15 <= 1.0 + 1e-15
    assert wilson(0, total, 0.90).low == 0.0
    assert wilson(total, total, 0.90).high == pytest.approx(1.0, abs=1e-15)


def test_rounding_never_leaves_the_unit_interval() -> None:
    for level in (0.5, 0.8, 0.9, 0.95, 0.99):
        for total in range(1, 400):
            assert wilson(total, total, level).high <= 1.0
            assert wilson(0, total, level).low >= 0.0


def test_no_more_than_a_million_cases_are_ever_said_to_be_missing() -> None:
    assert MOST_CASES == 1_000_000


def test_more_cases_and_a_lower_level_make_it_narrower() -> None:
    def width(count: int, total: int, level: float) -> float:
        interval = wilson(count, total, level)
        return interval.high - interval.low

    assert width(580, 600, 0.90) < width(58, 60, 0.90)
    assert width(58, 60, 0.80) < width(58, 60, 0.90)
