"""`ratchet simulate` and `ratchet up` as a person runs them, in two shells."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import yaml

from ratchet_cli import local
from ratchet_cli.processes import free_ports, listens

_RATCHET = [sys.executable, "-c", "from ratchet_cli.main import app; app()"]


def test_up_prints_and_notifies_what_wants_a_person_and_leaves_nothing_behind(tmp_path: Path) -> None:
    first = free_ports(local.PORTS + 1)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONUNBUFFERED": "1"}
    scenario = ["--scenario", str(Path(__file__).with_name("short.yaml"))]
    place = ["--port", str(first + local.PORTS), "--state", str(tmp_path)]
    simulator = subprocess.Popen(
        [*_RATCHET, "simulate", *scenario, *place], stdout=subprocess.PIPE, text=True, env=environment
    )
    try:
        environment |= _exported(simulator)
        _set(tmp_path / "ratchet.yaml", notify=f"cat >> {tmp_path / 'notes'}")
        up = subprocess.Popen(
            [*_RATCHET, "up", "--port", str(first)], stdout=subprocess.PIPE, text=True, env=environment
        )
        try:
            said = _said(up, "PROMOTED sums@live")
        finally:
            up.send_signal(signal.SIGINT)
            rest = up.communicate(timeout=30)[0]
    finally:
        simulator.terminate()
        simulator.wait(10)
    assert up.returncode == 0, said + rest
    assert "0 older checkpoints recorded, not tested" in said
    assert "may change losses@prod, patient@prod, sums@live" in said
    notes = [json.loads(line) for line in (tmp_path / "notes").read_text().splitlines()]
    assert "promotion.promoted" in {note["event"] for note in notes}
    assert not any(listens(first + offset) for offset in range(local.PORTS))


def test_up_names_what_is_wrong_with_the_settings(tmp_path: Path) -> None:
    config = tmp_path / "ratchet.yaml"
    config.write_text(f"store: sqlite:///{tmp_path}/r.db\npolicies_dir: {tmp_path}/none\nsuites_dir: {tmp_path}/none\n")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [*_RATCHET, "up", "--config", str(config)]
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=30, check=False)
    assert ended.returncode == 2
    assert "there is no such folder, create it, or mend the settings" in ended.stdout + ended.stderr


def _exported(simulator: "subprocess.Popen[str]") -> dict[str, str]:
    assert simulator.stdout is not None
    found: dict[str, str] = {}
    while "RATCHET_CONFIG" not in found:
        line = simulator.stdout.readline()
        assert line, "the simulator ended"
        if line.startswith("export "):
            name, _, value = line.removeprefix("export ").strip().partition("=")
            found[name] = value.strip("'")
    return found


def _set(config: Path, **settings: object) -> None:
    config.write_text(yaml.safe_dump({**yaml.safe_load(config.read_text()), **settings}))


def _said(process: "subprocess.Popen[str]", wanted: str) -> str:
    assert process.stdout is not None
    deadline, text = time.monotonic() + 60, ""
    while wanted not in text:
        line = process.stdout.readline()
        assert line, f"it ended: {text}"
        assert time.monotonic() < deadline, text
        text += line
    return text
