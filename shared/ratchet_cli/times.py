"""Times as people type them."""

import re
from datetime import datetime, timedelta

from ratchet.domain.codec import parse_time
from ratchet_cli.problem import USAGE, Problem
from ratchet_cli.render import plain

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def parse_since(text: str, now: datetime) -> datetime:
    """A time with its zone, or how long ago. Raises: Problem."""
    try:
        ago = re.fullmatch(r"([0-9]{1,6})([smhd])", text)
        return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])}) if ago else parse_time(text)
    except (ValueError, OverflowError) as exc:
        mend = "write a time with its zone, such as 2026-11-22T14:30Z, or how long ago: 30m, 2d"
        raise Problem(f"--since {plain(text)}: {mend}", USAGE) from exc
