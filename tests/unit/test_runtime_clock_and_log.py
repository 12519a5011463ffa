"""The two clocks, and what a log line may hold."""

import io
import json
import logging
import time
from datetime import UTC, datetime

import pytest

from ratchet.runtime.clock import SimulatedClock, SystemClock, connect
from ratchet.runtime.logging import JsonLines
from ratchet.runtime.settings import SettingsError


def test_a_simulated_clock_runs_faster_and_leases_stay_real() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    clock = SimulatedClock(start, time.time() - 10, 60)
    assert 600 <= (clock.now() - start).total_seconds() < 660
    assert clock.real(150).total_seconds() == 9000


def test_a_clock_that_stands_still_is_refused() -> None:
    with pytest.raises(ValueError, match="stands still"):
        SimulatedClock(datetime(2026, 1, 1, tzinfo=UTC), 0, 0)


def test_without_a_simulator_there_is_no_simulated_time() -> None:
    assert isinstance(connect(None), SystemClock)
    with pytest.raises(SettingsError, match="clock_url"):
        connect("http://127.0.0.1:1")


def test_a_librarys_exception_is_logged_without_its_message() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines("f", None))
    logger = logging.Logger("library")
    logger.addHandler(handler)
    try:
        raise KeyError("canary")
    except KeyError:
        logger.exception("it failed for %s", "canary")
    line = json.loads(stream.getvalue())
    assert "canary" not in stream.getvalue()
    assert (line["severity"], line["exception"], line["logger"]) == ("ERROR", ["KeyError"], "library")
