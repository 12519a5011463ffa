"""The supervisor: what dies comes back, what is stopped is gone, and nobody outlives us."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ratchet_cli.processes import Command, NotReady, Supervisor, free_ports, listens

# A server with a worker of its own, as functions-framework is: only the worker listens.
_SERVER = """
import json, os, socketserver, sys
if os.fork():
    os.wait()
else:
    print(json.dumps({"event": "up", "pid": os.getpid()}), flush=True)
    socketserver.TCPServer.allow_reuse_address = True
    socketserver.TCPServer(("127.0.0.1", int(sys.argv[1])), socketserver.BaseRequestHandler).serve_forever()
"""


def _server(port: int) -> Command:
    return Command("server", [sys.executable, "-c", _SERVER, str(port)], {"PYTHONUNBUFFERED": "1"}, port)


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_killed_group_is_started_again_and_stop_leaves_nobody(tmp_path: Path) -> None:
    port, pids, one = free_ports(1), list[int](), threading.Lock()

    def heard(name: str, line: object) -> None:
        assert name == "server"
        assert isinstance(line, dict)
        with one:
            pids.append(line["pid"])

    supervisor = Supervisor(tmp_path / "log.jsonl", heard)
    try:
        supervisor.start([_server(port)])
        supervisor.wait(10)
        _until(lambda: len(pids) == 1)
        supervisor.kill("server")
        _until(lambda: len(pids) == 2 and listens(port))
        assert pids[0] != pids[1]
    finally:
        supervisor.stop()
    assert not listens(port)
    assert (tmp_path / "log.jsonl").read_text().count('"event": "up"') == 2


def test_a_process_that_keeps_dying_is_named_with_its_last_words(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path / "log.jsonl", lambda *_: None)
    try:
        supervisor.start([Command("broken", [sys.executable, "-c", "raise SystemExit('no such thing')"], port=1)])
        with pytest.raises(NotReady, match=r"broken does not start:[\s\S]*no such thing"):
            supervisor.wait(20)
    finally:
        supervisor.stop()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of their parent's death")
def test_nobody_outlives_a_parent_that_was_killed(tmp_path: Path) -> None:
    port = free_ports(1)
    script = (
        "import sys, time; from pathlib import Path; from ratchet_cli.processes import *;"
        f"s = Supervisor(Path({str(tmp_path / 'log')!r}), lambda *_: None);"
        f"s.start([Command('server', [sys.executable, '-m', 'http.server', '{port}'], port={port})]);"
        "s.wait(10); print('ready', flush=True); time.sleep(60)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=environment)
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"ready\n"
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    _until(lambda: not listens(port))
