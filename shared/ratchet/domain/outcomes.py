"""How the handling of one event ended. What raised is dead or is retried; see `ports`."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Recorded:
    """Something that was not known is now recorded."""


@dataclass(frozen=True, slots=True)
class Ignored:
    """Nothing was to be done; `reason` comes from a closed set."""

    reason: str


@dataclass(frozen=True, slots=True)
class Deferred:
    """It goes on by a timer, at `until` at the earliest."""

    until: datetime


Outcome = Recorded | Ignored | Deferred
