"""Small real ports that keep what they were given, and an application to put behind a door under test."""

import io
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from flask import Flask, Request, Response

from ratchet.domain.events import Event
from ratchet.ports import BusUnavailable
from ratchet.runtime.logging import JsonLines


@dataclass
class RecordingBus:
    published: list[Event] = field(default_factory=list)
    down: bool = False

    def publish(self, event: Event) -> None:
        if self.down:
            raise BusUnavailable("down")
        self.published.append(event)


@dataclass
class FixedClock:
    at: datetime = datetime(2026, 11, 23, 12, tzinfo=UTC)

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return self.at.timestamp()

    def real(self, seconds: float) -> timedelta:
        return timedelta(seconds=seconds)

    def wait(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


class LogLines:
    """Our log, as it would be written."""

    def __init__(self) -> None:
        self.stream = io.StringIO()

    def clear(self) -> None:
        self.stream.seek(0)
        self.stream.truncate()

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]

    @property
    def codes(self) -> list[str | None]:
        return [line.get("code") for line in self.lines]


@contextmanager
def captured(function: str) -> Iterator[LogLines]:
    lines = LogLines()
    handler = logging.StreamHandler(lines.stream)
    handler.setFormatter(JsonLines(function, "example-project"))
    root, ours = logging.getLogger(), logging.getLogger("ratchet")
    before = root.level, ours.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    ours.setLevel(logging.INFO)
    try:
        yield lines
    finally:
        root.removeHandler(handler)
        root.setLevel(before[0])
        ours.setLevel(before[1])


def framework_app(tmp_path: Any, door: Callable[[Request], Response]) -> Flask:
    """The functions framework serving a one-line `main.py` that calls `door`."""
    import functions_framework

    source = tmp_path / "main.py"
    source.write_text("import flask\n\n\ndef main(request):\n    return flask.current_app.config['DOOR'](request)\n")
    app: Flask = functions_framework.create_app("main", str(source), "http")
    app.config["DOOR"] = door
    return app
