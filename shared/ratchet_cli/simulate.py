"""`ratchet simulate`: serve a scenario's providers, and say how to point `ratchet up` at them."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

from rich.console import Console

from ratchet_cli import local, stage
from ratchet_cli.processes import free_ports, listens
from ratchet_cli.report import Simulated
from ratchet_sim.scenario import ScenarioError

_UP_PORT = 8080
_START_SECONDS = 20.0


def run(scenario: Path, port: int = 8070, state: Path | None = None) -> int:
    """Until Ctrl-C: 0. 1: the port is taken, or the simulator ended by itself. 2: the file is not a scenario."""
    console = Console(stderr=True)
    folder = (state or Path(tempfile.mkdtemp(prefix="ratchet-simulate-"))).absolute()
    port = port or free_ports(1)
    try:
        play = stage.set_up(scenario, folder, port, keep_state=state is not None)
        play.write_config(f"sqlite:///{folder / 'ratchet.db'}")
    except (ScenarioError, OSError) as exc:
        console.print(str(exc), style="red", markup=False)
        return 2
    if listens(port):
        console.print(f"port {port} is taken; choose another with --port", style="red")
        return 1
    command = play.simulator()
    environment = {**os.environ, **command.environment}
    child = subprocess.Popen(command.arguments, stdout=subprocess.DEVNULL, env=environment)  # noqa: S603
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not listens(port) and child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        with suppress(OSError):
            # Where `ratchet up` listens unless told otherwise; until it does, the sender tries again.
            Simulated(play.url).set_webhook_url(f"http://127.0.0.1:{_UP_PORT}{local.DOORS['receive_webhook']}")
        _say(play)
        while child.poll() is None and not stopped.wait(0.2):
            pass
        return 0 if stopped.is_set() else 1
    finally:
        child.terminate()
        with suppress(subprocess.TimeoutExpired):
            child.wait(5)
        child.kill()


def _say(play: stage.Stage) -> None:
    """Lines for a shell's `eval`, and beside them what they are."""
    print(f"# {play.scenario.metadata.name}: simulated providers at {play.url}; Ctrl-C ends them")
    print("# in another shell: set these, then `ratchet up`")
    for name, value in {**play.environment, "RATCHET_CONFIG": str(play.config)}.items():
        quoted = value if value.replace("_", "").isalnum() else f"'{value}'"
        print(f"export {name}={quoted}")
    sys.stdout.flush()
