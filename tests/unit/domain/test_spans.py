"""A span is written in the largest unit that needs no fraction."""

from datetime import timedelta

import pytest

from ratchet.domain.spans import span_text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0h"), (1, "1s"), (59, "59s"), (60, "1m"), (61, "61s"), (119, "119s"), (120, "2m"), (3540, "59m"),
        (3599, "3599s"), (3600, "1h"), (3601, "3601s"), (3660, "61m"), (7198, "7198s"), (7200, "2h"), (86400, "24h"),
        (86460, "1441m"), (3600 * 3600, "3600h"),
    ],
)  # fmt: skip
def test_a_span_is_written_in_its_largest_unit(seconds: int, text: str) -> None:
    assert span_text(timedelta(seconds=seconds)) == text
