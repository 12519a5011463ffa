"""An HTTP server that answers what it is told, byte for byte, and remembers what it was asked."""

from __future__ import annotations

import json
import os
import socket
import struct
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Say:
    """One reply. A `body` that is not bytes is sent as JSON; `silence` withholds it; `torn` sends half and resets."""

    body: Any = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    kind: str = "application/json"
    silence: float = 0
    drip: float = 0
    torn: bool = False


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    headers: Mapping[str, str]
    body: str


@dataclass
class Script:
    url: str
    replies: list[Say]
    asked: list[Asked] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    busy: int = 0
    busiest: int = 0


@contextmanager
def scripted(*replies: Say) -> Iterator[Script]:
    """Give the replies in turn, the last one for ever."""
    script = Script("", list(replies))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Head and body are two writes; the second would wait for the first one's acknowledgement, 40 ms.
        disable_nagle_algorithm = True

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            with script.lock:
                headers = {name.lower(): value for name, value in self.headers.items()}
                script.asked.append(Asked(self.command, self.path, headers, body))
                say = script.replies.pop(0) if len(script.replies) > 1 else script.replies[0]
                script.busy += 1
                script.busiest = max(script.busiest, script.busy)
            try:
                with suppress(ConnectionError):
                    self.send(say)
            finally:
                with script.lock:
                    script.busy -= 1

        do_GET = do_POST = do_PATCH = answer  # noqa: N815 (http.server asks for these names)

        def send(self, say: Say) -> None:
            time.sleep(say.silence)
            payload = say.body if isinstance(say.body, bytes) else json.dumps(say.body).encode()
            self.send_response(say.status)
            for name, value in {"Content-Type": say.kind, "Content-Length": len(payload), **say.headers}.items():
                self.send_header(name, str(value))
            self.end_headers()
            if say.torn:
                self.wfile.write(payload[: len(payload) // 2])
                self.wfile.flush()
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.close_connection = True
                os.close(self.connection.detach())
                return
            for byte in payload if say.drip else ():
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
                time.sleep(say.drip)
            if not say.drip:
                self.wfile.write(payload)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.block_on_close = False
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    script.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield script
    finally:
        server.shutdown()
        server.server_close()
