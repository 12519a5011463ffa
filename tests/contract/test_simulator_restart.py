"""A simulator that is killed outright goes on where it was, as a provider's service would."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

import ratchet_sim
from ratchet_sim.scenario import parse
from ratchet_sim.server import serve
from support.sim_clients import (
    SMALL,
    VERTEX_JOB,
    VERTEX_MODEL,
    Receiver,
    raw,
    small,
    until,
    vertex_client,
)


@contextmanager
def process(scenario: Path, state: Path, *more: str) -> Iterator[str]:
    """A simulator of its own; SIGKILL ends it, as nothing gentler would prove anything."""
    command = [sys.executable, "-m", "ratchet_sim.server", "--scenario", str(scenario), "--state", str(state), *more]
    environment = os.environ | {"PYTHONPATH": str(Path(ratchet_sim.__path__[0]).parent)}
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert child.stdout
        yield child.stdout.readline().split()[-1]
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait(10)
        if child.stdout:
            child.stdout.close()


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    tree = yaml.safe_load(SMALL.read_text())
    tree["spec"]["clock"]["factor"] = 0
    when, do = {"path": "models/7777"}, {"kind": "status", "code": 503}
    tree["spec"]["faults"] = [{"id": "third", "when": when, "nth": [3], "do": do}]
    path = tmp_path / "scenario.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def test_defaults_clock_log_and_fault_counters_outlive_a_sigkill(tmp_path: Path, scenario: Path) -> None:
    with process(scenario, tmp_path / "state") as url:
        raw("POST", url + "/_sim/advance", {"seconds": 61 * 60})
        client = vertex_client(url + "/vertex")
        client.models.update(model=VERTEX_MODEL, config={"default_checkpoint_id": "2"})
        assert client.models.get(model=VERTEX_MODEL).default_checkpoint_id == "2"
        before = [raw("GET", url + door)[1] for door in ("/_sim/clock", "/_sim/state", "/_sim/requests")]
    with process(scenario, tmp_path / "state") as url:
        assert [raw("GET", url + door)[1] for door in ("/_sim/clock", "/_sim/state", "/_sim/requests")] == before
        model = f"{url}/vertex/v1/{VERTEX_MODEL}"
        assert [raw("GET", model)[0] for _ in range(2)] == [503, 200], "the third matching request, over both lives"
        assert raw("GET", model)[1]["defaultCheckpointId"] == "2"
        assert [f["n"] for f in raw("GET", url + "/_sim/state")[1]["fired"]] == [3]


def test_a_clock_that_runs_goes_on_running_while_the_simulator_is_down(tmp_path: Path) -> None:
    clocks = []
    for _ in range(2):
        with serve(small(factor=600), tmp_path) as sim:
            clocks.append(sim.clock())
    assert clocks[0].pop("now") < clocks[1].pop("now")
    assert clocks[0] == clocks[1]


def test_a_webhook_that_was_never_acknowledged_is_sent_again_after_a_sigkill(tmp_path: Path, scenario: Path) -> None:
    def hooks(url: str) -> Any:
        return [[a["status"] for a in hook["attempts"]] for hook in raw("GET", url + "/_sim/state")[1]["webhooks"]]

    with Receiver(500, 200) as receiver:
        with process(scenario, tmp_path / "state", "--webhook-url", receiver.url) as url:
            raw("POST", url + "/_sim/advance", {"seconds": 46 * 60})
            until(lambda: hooks(url) == [[500], [200], []])
        with process(scenario, tmp_path / "state") as url:
            raw("POST", url + "/_sim/advance", {"seconds": 5})
            until(lambda: hooks(url) == [[500, 200], [200], []])
        assert len({receiver.take().headers["webhook-id"] for _ in range(3)}) == 1


def test_the_state_of_another_scenario_is_refused(tmp_path: Path) -> None:
    with serve(small(), tmp_path):
        pass
    other = parse(SMALL.read_text().replace("name: small", "name: other"))
    with pytest.raises(ValueError, match="holds the state of scenario 'small', not of 'other'"), serve(other, tmp_path):
        pass


def test_the_port_is_free_again_after_the_block(tmp_path: Path) -> None:
    with serve(small(), tmp_path) as first:
        port = int(first.url.rpartition(":")[2])
        raw("GET", f"{first.vertex_url}/v1/{VERTEX_JOB}")
    with serve(small(), tmp_path, port) as second:
        assert second.url == first.url
        assert len(second.requests()) == 1
