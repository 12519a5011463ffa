"""Time-outs and waits, as one checked chain: whatever holds a lease has stopped before the lease ends."""

import itertools
from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Real seconds.

    Raises:
        ValueError: the chain budget < function time-out < ack deadline < lease does not hold.
    """

    budget: float = 90
    function_timeout: float = 110
    ack_deadline: float = 120
    lease: float = 150
    provider_timeout: float = 20
    slice: float = 60
    skew: float = 10

    def __post_init__(self) -> None:
        chain = (0, self.slice, self.budget, self.function_timeout, self.ack_deadline, self.lease)
        if any(shorter >= longer for shorter, longer in itertools.pairwise(chain)):
            raise ValueError("limits: slice < budget < function_timeout < ack_deadline < lease does not hold")
        if not 0 < self.provider_timeout + self.skew < self.lease:
            raise ValueError("limits: provider_timeout + skew must be less than lease")


READ_BACK = (2.0, 5.0, 15.0)
"""Seconds after a write at which the provider's default is read again."""

SETTLE = 30.0
"""Seconds that a provider is given to show a write, before a different one may follow."""


DENIED_WAIT = timedelta(minutes=10)
"""After a 401 or 403: a person must mend it, and asking sooner only fills the log."""


def backoff(tries: int, fraction: float, floor: float | None = None) -> timedelta:
    """Full jitter up to 10 s x 2^tries, at most ten minutes; not before `floor` seconds, which is capped at an hour."""
    jittered = fraction * min(600.0, 10.0 * 2 ** min(tries, 10))
    return timedelta(seconds=max(1.0, jittered, min(floor or 0.0, 3600.0)))
