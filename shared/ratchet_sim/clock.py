"""The scenario's clock: real time, stretched by a factor and pushed forward on demand.

It is a formula over three stored numbers, so it goes on ticking while the simulator is down, as a provider's does.
Whoever wants the same time elsewhere asks `/_sim/clock` for these numbers and computes likewise.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class ScenarioClock:
    """At the real instant `origin` (Unix seconds) it was `start`; each real second since is `factor` seconds."""

    start: datetime
    origin: float
    factor: float

    def now(self, real: float) -> datetime:
        return self.start + timedelta(seconds=(real - self.origin) * self.factor)

    def advanced(self, seconds: float) -> ScenarioClock:
        # Moving the start, not the origin: it also works for a clock that stands still (factor 0).
        return replace(self, start=self.start + timedelta(seconds=seconds))

    def real_seconds(self, scenario: timedelta) -> float:
        """How long to really wait for a stretch of scenario time; for ever if the clock stands still."""
        return scenario.total_seconds() / self.factor if self.factor else float("inf")
