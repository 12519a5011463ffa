"""A small HTTP server that takes pushes, keeps them, and answers as a test says."""

import base64
import json
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


def until(true: Callable[[], bool], what: str, seconds: float = 30) -> None:
    """Poll until it is true; fail when it does not come to pass."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"waited {seconds} s for: {what}"
        time.sleep(0.01)


@dataclass(frozen=True, slots=True)
class Push:
    path: str
    body: Any

    @property
    def attributes(self) -> Mapping[str, str]:
        return self.body["message"]["attributes"]  # type: ignore[no-any-return]

    @property
    def data(self) -> Any:
        return json.loads(base64.b64decode(self.body["message"]["data"]))

    @property
    def id(self) -> str:
        return self.attributes["ce-id"]

    @property
    def attempt(self) -> int:
        return self.body["deliveryAttempt"]  # type: ignore[no-any-return]


class Receiver:
    """Answers 204 unless told otherwise.

    `answer` gives a path its statuses in turn, the last for ever, or one message of it, which goes before.
    """

    def __init__(self) -> None:
        self.pushes: list[Push] = []
        self.most_at_once: Counter[str] = Counter()
        self.port = 0
        self._answers: dict[str | tuple[str, str], list[int | Callable[[], int]]] = defaultdict(lambda: [204])
        self._lock = threading.Lock()
        self._open: Counter[str] = Counter()
        self.start()

    def start(self) -> None:
        """Listen, after a stop on the same port."""
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(receiver.take(self.path, body))
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False
            request_queue_size = 64

            def handle_error(self, *_: object) -> None:
                """The other side is gone: a time-out that a test meant."""

        self._server = Server(("127.0.0.1", self.port), Handler)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def answer(self, path: str, *answers: int | Callable[[], int], id_: str | None = None) -> None:
        self._answers[path if id_ is None else (path, id_)] = list(answers)

    def at(self, path: str) -> list[Push]:
        return [push for push in self.pushes if push.path == path]

    def _key(self, path: str, body: Any) -> str | tuple[str, str]:
        message = (path, body.get("message", {}).get("attributes", {}).get("ce-id", ""))
        return message if message in self._answers else path

    def take(self, path: str, body: Any) -> int:
        with self._lock:
            self.pushes.append(Push(path, body))
            self._open[path] += 1
            self.most_at_once[path] = max(self.most_at_once[path], self._open[path])
            answers = self._answers[self._key(path, body)]
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
        try:
            return answer if isinstance(answer, int) else answer()
        finally:
            with self._lock:
                self._open[path] -= 1
