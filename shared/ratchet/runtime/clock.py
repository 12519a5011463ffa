"""Time: the machine's, or in a demo the simulator's, which runs faster."""

import http.client
import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

from ratchet import deadline
from ratchet.domain.codec import parse_time
from ratchet.runtime.settings import SettingsError


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def real(self, seconds: float) -> timedelta:
        return timedelta(seconds=seconds)

    def wait(self, seconds: float) -> None:
        time.sleep(deadline.left(seconds))


@dataclass(frozen=True, slots=True)
class SimulatedClock:
    """At the real instant `origin` (Unix seconds) it was `start`; each real second since is `factor` seconds.

    Raises:
        ValueError: a factor that is not positive: nothing that waits would ever end.
    """

    start: datetime
    origin: float
    factor: float

    def __post_init__(self) -> None:
        if not self.factor > 0:
            raise ValueError("a clock that stands still")

    def now(self) -> datetime:
        return self.start + timedelta(seconds=(time.time() - self.origin) * self.factor)

    def monotonic(self) -> float:
        return time.monotonic()

    def real(self, seconds: float) -> timedelta:
        return timedelta(seconds=seconds * self.factor)

    def wait(self, seconds: float) -> None:
        time.sleep(deadline.left(seconds / self.factor))


def connect(clock_url: str | None) -> SystemClock | SimulatedClock:
    """The clock that the settings ask for. The simulator is asked once; from then on both compute alike.

    Raises:
        SettingsError: the simulator does not answer with a clock.
    """
    if clock_url is None:
        return SystemClock()
    place = urlsplit(clock_url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=5)
    try:
        connection.request("GET", place.path.rstrip("/") + "/_sim/clock")
        reply = json.loads(connection.getresponse().read(4096))
        return SimulatedClock(parse_time(reply["start"]), float(reply["origin"]), float(reply["factor"]))
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as exc:
        raise SettingsError("clock_url: no simulated clock answers there; start the simulator first") from exc
    finally:
        connection.close()
