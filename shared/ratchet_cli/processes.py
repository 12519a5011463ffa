"""Child processes that come back when they die, and are gone when we are.

Each runs in its own process group: functions-framework is a server with a worker, and a SIGKILL must hit both. What
they print goes line by line to one log file and to a callback.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Line = Mapping[str, Any]

_POLL = 0.02
_TERM_SECONDS = 5.0
_HOPELESS = 5
_SHORT_LIFE = 2.0


class NotReady(RuntimeError):
    """A process does not come up; the text ends with the last it said."""


@dataclass(frozen=True, slots=True)
class Command:
    """What to run. With a `port`, it is ready once somebody listens there."""

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    port: int | None = None


@dataclass(slots=True)
class _Child:
    command: Command
    process: "subprocess.Popen[str] | None" = None
    reader: threading.Thread | None = None
    started: float = 0.0
    short_lives: int = 0
    said: list[str] = field(default_factory=list)


class Supervisor:
    """Starts what it is given, and starts it again at once whenever it dies, until `stop`.

    `heard` gets the process's name and each JSON line that it prints; it is called from several threads, one at a time.
    """

    def __init__(self, log: Path, heard: Callable[[str, Line], None]) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log = log.open("a", encoding="utf-8", buffering=1)
        self._heard = heard
        self._children: dict[str, _Child] = {}
        self._lock = threading.Lock()
        self._telling = threading.Lock()
        self._stopping = threading.Event()
        # Children are told of the death of the *thread* that made them, so one thread makes them all and lives on.
        self._keeper = threading.Thread(target=self._keep, daemon=True)
        self._keeper.start()

    def start(self, commands: Iterable[Command]) -> None:
        with self._lock:
            for command in commands:
                self._children[command.name] = _Child(command)

    def wait(self, seconds: float) -> None:
        """Until every port answers.

        Raises:
            NotReady: a process keeps dying, or is not up in time.
        """
        end = time.monotonic() + seconds
        for child in list(self._children.values()):
            while child.process is None or (child.command.port is not None and not listens(child.command.port)):
                if child.short_lives >= _HOPELESS or time.monotonic() > end:
                    raise NotReady("\n".join([f"{child.command.name} does not start:", *child.said[-15:]]))
                time.sleep(_POLL)

    def names(self) -> Sequence[str]:
        return tuple(self._children)

    def kill(self, name: str) -> None:
        """SIGKILL to the whole group; it is started again at once."""
        self.signal(name, signal.SIGKILL)

    def signal(self, name: str, number: int) -> None:
        """To the whole group, if it runs."""
        with self._lock:
            process = self._children[name].process
            if process is not None:
                _signal_group(process, number)

    def stop(self) -> None:
        """SIGTERM to all, and after some seconds SIGKILL."""
        self._stopping.set()
        self._keeper.join()
        running = [child for child in self._children.values() if child.process is not None]
        for child in running:
            assert child.process is not None
            _signal_group(child.process, signal.SIGTERM)
        end = time.monotonic() + _TERM_SECONDS
        for child in running:
            assert child.process is not None
            with suppress(subprocess.TimeoutExpired):
                child.process.wait(max(0.0, end - time.monotonic()))
            # Also after an orderly end: nothing of the group may hold a port.
            _signal_group(child.process, signal.SIGKILL)
            child.process.wait()
            if child.reader is not None:
                child.reader.join(1.0)
        with self._telling:
            self._log.close()

    def _keep(self) -> None:
        while not self._stopping.wait(_POLL):
            with self._lock:
                for child in self._children.values():
                    self._revive(child)

    def _revive(self, child: _Child) -> None:
        process = child.process
        if process is not None:
            if process.poll() is None:
                return
            _signal_group(process, signal.SIGKILL)  # a worker that outlived its server holds the port
            lived = time.monotonic() - child.started
            orderly_start = lived >= _SHORT_LIFE or process.returncode == -signal.SIGKILL
            child.short_lives = 0 if orderly_start else child.short_lives + 1
            if child.short_lives and lived < 0.2 * child.short_lives:
                return
        self._spawn(child)

    def _spawn(self, child: _Child) -> None:
        command = child.command
        child.started = time.monotonic()
        child.process = subprocess.Popen(  # noqa: S603
            [*_dies_with_us(), *command.arguments],
            env={**os.environ, **command.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            process_group=0,
        )
        child.reader = threading.Thread(target=self._read, args=(child, child.process), daemon=True)
        child.reader.start()

    def _read(self, child: _Child, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        for text in process.stdout:
            line = _parsed(text)
            child.said = [*child.said[-30:], text.rstrip()]
            with self._telling:
                if self._log.closed:
                    continue
                self._log.write(json.dumps({"process": child.command.name, **(line or {"text": text.rstrip()})}) + "\n")
                if line is not None:
                    self._heard(child.command.name, line)
        process.stdout.close()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_ports(count: int) -> int:
    """The first of `count` neighbouring ports that nobody listens on."""
    for first in range(20_000 + (os.getpid() * 37) % 10_000, 32_000, count):
        if all(_free(port) for port in range(first, first + count)):
            return first
    raise OSError("no free ports")


def _free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _dies_with_us() -> Sequence[str]:
    """Linux ends the child when its parent dies in whatever way; elsewhere only `stop` does."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "TERM", "--"] if setpriv else []


def _signal_group(process: "subprocess.Popen[str]", number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _parsed(text: str) -> Line | None:
    if not text.startswith("{"):
        return None
    try:
        line = json.loads(text)
    except ValueError:
        return None
    return line if isinstance(line, dict) else None
