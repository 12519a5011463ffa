"""What stands between the parts in a chaos run does what it says, or the run would prove less than it seems."""

import http.client
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from chaos.front import Front
from chaos.proxy import Fault, Proxy

DELAY, TIME_OUT = 0.3, 0.4


class Worker(BaseHTTPRequestHandler):
    """Notes each path, and answers `/slow` after the function's time-out."""

    seen: list[str]

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/slow":
            time.sleep(2 * TIME_OUT)
        self.seen.append(self.path)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@contextmanager
def worker() -> Iterator[tuple[int, list[str]]]:
    seen: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Noting", (Worker,), {"seen": seen}))
    threading.Thread(target=server.serve_forever, args=[0.05], daemon=True).start()
    try:
        yield server.server_address[1], seen
    finally:
        server.shutdown()
        server.server_close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def post(port: int, path: str = "/topic") -> int:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
        connection.request("POST", path, b"{}")
        return connection.getresponse().status


@contextmanager
def proxy(target: int, fault: Fault | None) -> Iterator[tuple[Proxy, int]]:
    port = free_port()
    with closing(Proxy(port, target, lambda _: fault, lambda: DELAY)) as found:
        yield found, port


def test_a_request_passes_through() -> None:
    with worker() as (target, seen), proxy(target, None) as (found, port):
        assert (post(port), seen, found.counts.total()) == (204, ["/topic"], 0)


def test_a_cut_connection_delivers_nothing() -> None:
    with worker() as (target, seen), proxy(target, Fault.CUT) as (found, port):
        with pytest.raises(OSError):  # noqa: PT011 (reset or closed, as it happens)
            post(port)
        assert (seen, found.counts[Fault.CUT]) == ([], 1)


def test_a_request_that_is_held_back_arrives_late() -> None:
    with worker() as (target, seen), proxy(target, Fault.DELAY) as (_, port):
        begun = time.monotonic()
        assert (post(port), seen) == (204, ["/topic"])
        assert time.monotonic() - begun >= DELAY


def test_a_lost_reply_is_that_of_a_request_that_arrived() -> None:
    with worker() as (target, seen), proxy(target, Fault.LOSE) as (_, port):
        with pytest.raises(OSError):  # noqa: PT011
            post(port)
        deadline = time.monotonic() + 5
        while not seen:  # the worker notes it on a thread of its own
            assert time.monotonic() < deadline
        assert seen == ["/topic"]


def test_the_front_answers_for_a_worker_that_is_not_there() -> None:
    port = free_port()
    with closing(Front(port, {"w": [free_port()]}, TIME_OUT)):
        assert post(port, "/w/topic") == 503


def test_the_front_gives_up_on_a_slow_worker_which_goes_on() -> None:
    port = free_port()
    with worker() as (behind, seen), closing(Front(port, {"w": [behind]}, TIME_OUT)):
        assert post(port, "/w/topic") == 204
        assert post(port, "/w/slow") == 504
        assert seen == ["/topic"]
        deadline = time.monotonic() + 5
        while "/slow" not in seen:
            assert time.monotonic() < deadline
            assert post(port, "/w/topic") == 204
