"""A smoke run in a real process that is killed, or stopped past its lease, on its way: few calls again, one verdict."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ratchet.adapters.sqlite import SqliteStore
from ratchet.application.state import create, find_all
from ratchet.domain.records import RunOutcome, SmokeRun, Summary
from support.one_run import CASES, CHECKPOINT, CONCURRENCY, JOB, REPEATS, SUITE

CALLS = CASES * REPEATS
LATENCY = 0.02
PATH = {**os.environ, "PYTHONPATH": "shared:tests"}


@dataclass
class Endpoint:
    """Answers each number in its own way, and tells of the n-th call before and after it is answered."""

    asked: Counter[str] = field(default_factory=Counter)
    on_call: Callable[[int, str], object] = lambda *_: None
    url: str = ""

    @property
    def again(self) -> int:
        return sum(count - REPEATS for count in self.asked.values())


@contextmanager
def served(endpoint: Endpoint) -> Iterator[Endpoint]:
    lock, quiet = threading.Lock(), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None: ...

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            prompt, n = body["messages"][-1]["content"], 0
            if prompt.startswith("number"):
                with lock:
                    endpoint.asked[prompt] += 1
                    n = endpoint.asked.total()
                endpoint.on_call(n, "asked")
            quiet.wait(LATENCY)
            said = "wrong" if prompt in ("number 3", "number 8") else "right"
            message = {"role": "assistant", "content": said}
            usage = {"prompt_tokens": 9, "completion_tokens": 4}
            reply = json.dumps({"choices": [{"finish_reason": "stop", "message": message}], "usage": usage}).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)
            self.wfile.flush()
            endpoint.on_call(n, "answered")

        def handle(self) -> None:
            try:
                super().handle()
            except ConnectionError:
                self.close_connection = True  # Its caller was killed.

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    endpoint.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield endpoint
    finally:
        server.shutdown()
        server.server_close()


def worker(database: Path, endpoint: Endpoint) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "support.one_run", str(database), endpoint.url]
    return subprocess.Popen(command, env=PATH, stdout=subprocess.PIPE, text=True)


def handled(child: "subprocess.Popen[str]") -> str:
    return child.communicate(timeout=60)[0].strip()


def the_run(database: Path) -> SmokeRun:
    (stored,) = find_all(SqliteStore(database), SmokeRun, job=str(JOB))
    return stored.value


def redelivered(database: Path, endpoint: Endpoint) -> SmokeRun:
    """As Pub/Sub does it: again and again, until the run has ended."""
    for _ in range(30):
        handled(worker(database, endpoint))
        run = the_run(database)
        if run.outcome is not None:
            return run
    raise AssertionError("the run does not end")


def report(run: SmokeRun) -> Summary:
    assert run.summary is not None
    return replace(run.summary, latency_p50_ms=0, latency_p95_ms=0)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "store.db"
    SqliteStore(path).commit([create(CHECKPOINT)], "test")
    return path


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Summary:
    path = tmp_path_factory.mktemp("undisturbed") / "store.db"
    SqliteStore(path).commit([create(CHECKPOINT)], "test")
    with served(Endpoint()) as endpoint:
        run = redelivered(path, endpoint)
        assert (run.outcome, endpoint.again, len(endpoint.asked)) == (RunOutcome.FAIL, 0, CASES)
        return report(run)


@pytest.mark.parametrize("moment", ["asked", "answered"])
@pytest.mark.parametrize("nth", [1, CONCURRENCY, 2 * CONCURRENCY + 1, CALLS // 2, CALLS - 1, CALLS])
def test_a_run_that_is_killed_asks_little_again_and_comes_to_the_same_report(
    database: Path, undisturbed: Summary, nth: int, moment: str
) -> None:
    killed = threading.Event()

    def kill(n: int, when: str) -> None:
        if (n, when) == (nth, moment) and not killed.is_set():
            killed.set()
            child.send_signal(signal.SIGKILL)

    with served(Endpoint(on_call=kill)) as endpoint:
        child = worker(database, endpoint)
        while child.poll() is None:
            child.wait(timeout=60)
        if not killed.is_set():
            # The slice ended before the n-th call: the next one goes on.
            child = worker(database, endpoint)
            child.wait(timeout=60)
        run = redelivered(database, endpoint)
    assert killed.is_set()
    assert endpoint.again <= 2 * CONCURRENCY, endpoint.asked
    assert report(run) == undisturbed


def test_one_that_wakes_after_its_lease_writes_no_verdict(database: Path, undisturbed: Summary) -> None:
    stopped = threading.Event()

    def stop(n: int, when: str) -> None:
        # Before its first result: who is stopped within a transaction of SQLite stops everybody.
        if (n, when) == (1, "asked") and not stopped.is_set():
            sleeper.send_signal(signal.SIGSTOP)
            stopped.set()

    with served(Endpoint(on_call=stop)) as endpoint:
        sleeper = worker(database, endpoint)
        assert stopped.wait(60)
        run = redelivered(database, endpoint)
        sleeper.send_signal(signal.SIGCONT)
        assert handled(sleeper) in ("Ignored superseded", "")
        after = the_run(database)
    assert after == run
    assert run.lease.fence > 1
    assert endpoint.again <= 2 * CONCURRENCY
    assert report(run) == undisturbed


def test_two_that_begin_at_once_share_nothing_and_pay_once(database: Path, undisturbed: Summary) -> None:
    with served(Endpoint()) as endpoint:
        both = [worker(database, endpoint) for _ in range(2)]
        outcomes = sorted(handled(child) for child in both)
        run = redelivered(database, endpoint)
        assert endpoint.again <= 2 * CONCURRENCY
    assert outcomes[-1].split()[0] in ("Recorded", "Deferred", "Ignored")
    assert report(run) == undisturbed
    assert len(SUITE.calls()) == CALLS
