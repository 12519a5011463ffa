"""The simulators over HTTP: Vertex under `/vertex`, OpenAI under `/openai/v1`, control doors under `/_sim`.

    python -m ratchet_sim.server --scenario FILE --state DIR --port N [--webhook-url URL]

prints one line when it listens. Control doors, never used by product code:

    GET  /_sim/clock              {"now", "start", "factor", "origin"}: now = start + (Unix time - origin) * factor
    GET  /_sim/requests?after=n   {"requests": [...]}: what was asked and answered, at most 1000 entries
    GET  /_sim/state              {"now", "defaults", "fired", "webhooks", "exhausted"}
    POST /_sim/advance            {"seconds": n} moves the scenario's clock; `start` changes with it
    POST /_sim/webhook-url        {"url": ...} where OpenAI's webhooks go; none are sent before
"""

from __future__ import annotations

import argparse
import json
import os
import select
import socket
import socketserver
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from ratchet_sim import faults
from ratchet_sim.scenario import Scenario, load
from ratchet_sim.simulator import Simulator
from ratchet_sim.world import Body

_DRIP = 0.02


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    # A handler may be withholding a reply for ever; `close_all` wakes it instead of waiting for it.
    block_on_close = False
    request_queue_size = 128

    def __init__(self, port: int, simulator: Simulator) -> None:
        self.simulator = simulator
        self._open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), _Handler)

    def process_request(self, request: socket.socket, client_address: object) -> None:  # type: ignore[override]
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: socket.socket) -> None:  # type: ignore[override]
        self._open.discard(request)
        super().shutdown_request(request)

    def close_all(self) -> None:
        """Stop listening and hang up on everybody: kept-alive connections must not outlive the store."""
        self.shutdown()
        self.server_close()
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode("utf-8", "replace")
        simulator = self.server.simulator
        if parts.path.startswith("/_sim/"):
            self._send(_control(simulator, self.command, parts.path, parts.query, body))
        elif any(parts.path.startswith(prefix + "/") for prefix in faults.DOORS):
            token = self.headers.get("Authorization", "").removeprefix("Bearer ").strip()
            self._send(simulator.handle(self.command, parts.path, parts.query, token, body))
        else:
            self._send(_json(404, {"error": "neither /vertex, /openai nor /_sim"}))

    do_GET = do_POST = do_PATCH = do_DELETE = do_PUT = _serve  # noqa: N815 (http.server asks for these names)

    def _send(self, wire: faults.Wire) -> None:
        # A client that has gone is its own affair; what it asked for is done and logged.
        with suppress(ConnectionError):
            if wire.how == "reset":
                return self._reset()
            if wire.how == "late" and not self._client_waits(wire.seconds):
                self.close_connection = True
                return None
            self._send_head(wire)
            if wire.how == "half":
                self.wfile.write(wire.payload[: len(wire.payload) // 2])
                self.wfile.flush()
                return self._reset()
            if wire.how == "slowly":
                return self._drip(wire.payload, wire.seconds or 0)
            self.wfile.write(wire.payload)
            self.wfile.flush()
        return None

    def _send_head(self, wire: faults.Wire) -> None:
        self.send_response(wire.status)
        for name, value in wire.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(wire.payload)))
        self.end_headers()

    def _client_waits(self, seconds: float | None) -> bool:
        """Withhold the reply; False as soon as the client (or the simulator) goes away."""
        deadline = float("inf") if seconds is None else time.monotonic() + seconds
        while time.monotonic() < deadline:
            readable, _, _ = select.select([self.connection], [], [], min(0.1, max(0, deadline - time.monotonic())))
            gone = bool(readable) and not self.connection.recv(1, socket.MSG_PEEK)
            if gone or self.server.simulator.stopping.is_set():
                return False
        return True

    def _drip(self, payload: bytes, seconds: float) -> None:
        size = max(1, int(len(payload) * _DRIP / max(seconds, _DRIP)))
        for start in range(0, len(payload), size):
            self.wfile.write(payload[start : start + size])
            self.wfile.flush()
            if self.server.simulator.stopping.wait(_DRIP):
                return

    def _reset(self) -> None:
        """Close so that the client sees a reset, not an orderly end: needs the file descriptor itself closed."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        os.close(self.connection.detach())

    def log_message(self, *_: object) -> None:
        """Silent: the request log is in the store."""


def _json(status: int, body: Body) -> faults.Wire:
    return faults.Wire(status, json.dumps(body).encode(), {"Content-Type": "application/json"})


def _control(simulator: Simulator, method: str, path: str, query: str, body: str) -> faults.Wire:
    match method, path:
        case "GET", "/_sim/clock":
            return _json(200, simulator.clock())
        case "GET", "/_sim/requests":
            after = int(parse_qs(query).get("after", ["0"])[0])
            return _json(200, {"requests": simulator.requests(after)})
        case "GET", "/_sim/state":
            return _json(200, simulator.state())
        case "POST", "/_sim/advance":
            return _json(200, simulator.advance(float(json.loads(body)["seconds"])))
        case "POST", "/_sim/webhook-url":
            simulator.set_webhook_url(str(json.loads(body)["url"]))
            return _json(200, {})
    return _json(404, {"error": f"no control door {method} {path}"})


@dataclass(frozen=True, slots=True)
class Sim:
    """A running simulator, for tests in the same process."""

    url: str
    simulator: Simulator

    @property
    def vertex_url(self) -> str:
        return self.url + "/vertex"

    @property
    def openai_url(self) -> str:
        return self.url + "/openai/v1"

    def now(self) -> datetime:
        return self.simulator.now()

    def clock(self) -> Body:
        return self.simulator.clock()

    def state(self) -> Body:
        return self.simulator.state()

    def requests(self, after: int = 0) -> list[Body]:
        return self.simulator.requests(after)

    def advance(self, seconds: float) -> None:
        self.simulator.advance(seconds)

    def set_webhook_url(self, url: str) -> None:
        self.simulator.set_webhook_url(url)


@contextmanager
def serve(scenario: Scenario | Path, state: Path, port: int = 0) -> Iterator[Sim]:
    """Serve in threads of this process until the block ends; the state stays in `state`."""
    simulator = Simulator(load(scenario) if isinstance(scenario, Path) else scenario, state)
    server = _Server(port, simulator)
    sender = threading.Thread(target=simulator.send_webhooks, daemon=True)
    listener = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    listener.start()
    sender.start()
    try:
        yield Sim(f"http://127.0.0.1:{server.server_address[1]}", simulator)
    finally:
        simulator.stop()
        server.close_all()
        sender.join(timeout=20)
        simulator.store.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="ratchet_sim.server", description="Simulate Vertex AI and OpenAI tuning.")
    parser.add_argument("--scenario", type=Path, required=True)
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--webhook-url")
    arguments = parser.parse_args()
    with serve(arguments.scenario, arguments.state, arguments.port) as sim, suppress(KeyboardInterrupt):
        if arguments.webhook_url:
            sim.set_webhook_url(arguments.webhook_url)
        print(f"ratchet_sim ready at {sim.url}", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
