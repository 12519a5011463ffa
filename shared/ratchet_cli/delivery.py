"""Push delivery on one machine: what Pub/Sub and the Scheduler do in the cloud, from the queue in the SQLite file.

Sends the envelopes that Pub/Sub sends, and reads the answers as it does. Whatever ends this process, nothing is lost:
a message leaves the queue only when its endpoint has acknowledged it.
"""

import argparse
import base64
import http.client
import json
import logging
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ratchet.adapters.sqlite_queue import PROJECT, Lease, SqliteQueue, Subscription
from ratchet.domain.codec import format_time
from ratchet.ports import BusUnavailable

_log = logging.getLogger(__name__)

_ACKNOWLEDGES = frozenset({102, 200, 201, 202, 204})
_POLL, _POLL_BUSY, _BUSY_SECONDS = 0.05, 0.01, 1.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a subscription's messages go, and how many at a time. One at a time where a worker has effects outside."""

    subscription: str
    url: str
    concurrency: int = 2


@dataclass(frozen=True, slots=True)
class Tick:
    """A URL to post to every so many real seconds; never a second time while the first is still being answered."""

    url: str
    every: float
    timeout: float = 180


@dataclass(slots=True)
class _Line:
    """What this process knows of an endpoint or a tick: requests in flight, and until when it is left alone."""

    busy: int = 0
    pause: float = 0
    until: float = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def refused(self) -> None:
        with self.lock:
            # Requests that were refused together count once.
            if time.monotonic() >= self.until:
                self.pause = min(_LONGEST_PAUSE, max(_FIRST_PAUSE, self.pause * 2))
                self.until = time.monotonic() + self.pause

    def add(self, number: int) -> None:
        with self.lock:
            self.busy += number


class Delivery:
    """Hands due messages to their endpoints until it is told to stop.

    Requests run on daemon threads, as many as the endpoints allow: one that takes minutes must not hold up the end of
    the process, its message comes again.
    """

    def __init__(self, queue: SqliteQueue, endpoints: Sequence[Endpoint], ticks: Sequence[Tick] = ()) -> None:
        self._queue = queue
        self._endpoints = {endpoint.subscription: endpoint for endpoint in endpoints}
        self._ticks = ticks
        self._lines = {key: _Line() for key in (*self._endpoints, *ticks)}
        self._wake = queue.published

    def run(self, stop: threading.Event, grace: float = 5.0) -> None:
        """Deliver until `stop`; then let requests in flight end, for at most `grace` seconds."""
        active = time.monotonic()
        while not stop.is_set():
            self._wake.clear()
            try:
                if self._deliver() | self._tick():
                    active = time.monotonic()
            except BusUnavailable as exc:
                _log.warning("%s", exc)
            self._wake.wait(_POLL_BUSY if time.monotonic() - active < _BUSY_SECONDS else _POLL)
        end = time.monotonic() + grace
        while any(line.busy for line in self._lines.values()) and time.monotonic() < end:
            self._wake.clear()
            self._wake.wait(_POLL)

    def _deliver(self) -> bool:
        worked = False
        for name in self._queue.due(time.time()):
            if name not in self._endpoints:
                continue
            endpoint, line = self._endpoints[name], self._lines[name]
            free = endpoint.concurrency - line.busy
            if free <= 0 or time.monotonic() < line.until:
                continue
            for lease in self._queue.lease(name, free, time.time()):
                worked = True
                self._start(line, partial(self._push, lease, endpoint, line))
        return worked

    def _tick(self) -> bool:
        worked = False
        for tick in self._ticks:
            line = self._lines[tick]
            if not line.busy and time.monotonic() >= line.until:
                line.until = time.monotonic() + tick.every
                worked = True
                self._start(line, partial(self._poke, tick, line))
        return worked

    def _start(self, line: _Line, work: Callable[[], None]) -> None:
        def whole() -> None:
            try:
                work()
            except BusUnavailable as exc:
                # The answer could not be noted: the message comes again after its ack deadline.
                _log.warning("%s", exc)
            finally:
                line.add(-1)
                self._wake.set()

        line.add(1)
        threading.Thread(target=whole, daemon=True).start()

    def _push(self, lease: Lease, endpoint: Endpoint, line: _Line) -> None:
        try:
            status = _post(endpoint.url, envelope(lease), lease.subscription.ack_deadline)
        except ConnectionRefusedError:
            # A worker that is starting again. Nobody was asked, so no attempt is spent, and it may be back in no time.
            line.refused()
            self._queue.give_back(lease, time.time())
            return
        except (OSError, http.client.HTTPException) as exc:
            status = None
            _log.warning("%s: attempt %d: %s", endpoint.subscription, lease.attempt, type(exc).__name__)
        line.pause = 0
        if status in _ACKNOWLEDGES:
            self._queue.acknowledge(lease)
        else:
            _log.info("%s: attempt %d answered %s", endpoint.subscription, lease.attempt, status)
            self._queue.refuse(lease, time.time())

    def _poke(self, tick: Tick, line: _Line) -> None:
        try:
            _post(tick.url, b"{}", tick.timeout)
            line.pause = 0
        except ConnectionRefusedError:
            line.until = 0
            line.refused()
        except (OSError, http.client.HTTPException) as exc:
            _log.warning("%s: %s", tick.url, type(exc).__name__)


def envelope(lease: Lease) -> bytes:
    """The body of a Pub/Sub push request."""
    id_, published = lease.message_id, format_time(lease.published_at)
    message = {
        "attributes": dict(lease.message.attributes),
        "data": base64.b64encode(lease.message.data).decode(),
        "messageId": id_,
        "message_id": id_,
        "publishTime": published,
        "publish_time": published,
    }
    subscription = f"projects/{PROJECT}/subscriptions/{lease.subscription.name}"
    return json.dumps({"message": message, "subscription": subscription, "deliveryAttempt": lease.attempt}).encode()


def _post(url: str, body: bytes, timeout: float) -> int:
    """One request on a connection of its own: one kept open may be gone when the next message comes."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=timeout)
    try:
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("POST", path, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


def configured(config: Any) -> Delivery:
    """From `{queue, subscriptions: [{name, topic, url, concurrency?, max_attempts?, ...}], ticks: [{url, every}]}`."""
    endpoints, subscriptions = [], []
    for entry in config["subscriptions"]:
        rest = dict(entry)
        endpoints.append(Endpoint(rest["name"], rest.pop("url"), rest.pop("concurrency", 2)))
        subscriptions.append(Subscription(**rest))
    ticks = [Tick(**tick) for tick in config.get("ticks", ())]
    return Delivery(SqliteQueue(config["queue"], subscriptions), endpoints, ticks)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m ratchet_cli.delivery", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="JSON; see `configured`")
    delivery = configured(json.loads(parser.parse_args().config.read_text()))
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    delivery.run(stop)


if __name__ == "__main__":
    main()
