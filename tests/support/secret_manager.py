"""As much of Google's Secret Manager as `ratchet webhook` needs, over HTTP, and the credentials of a made-up person.

Their token comes from this server, too, so that google-auth does all that it does. Of another universe than Google's
they are because it asks Google at once about those of Google's.
"""

import base64
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

SECRET = "projects/acme-ml/secrets/openai-webhook"
TOKEN = "ya29.made-up"
_PATH = re.compile(r"/v1/(projects/[^/]+/secrets/[^/:]+)(:addVersion|:testIamPermissions|/versions/latest:access)")


@dataclass
class SecretManager:
    """`answers` gives, by what is asked for, another status and body; `before` is set when `addVersion` then hangs."""

    url: str
    credentials: Path
    versions: list[str] = field(default_factory=list)
    permissions: list[str] = field(default_factory=lambda: ["secretmanager.versions.add"])
    answers: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    before: threading.Event | None = None
    asked: list[str] = field(default_factory=list)

    def reply(self, verb: str, body: Any) -> tuple[int, Any]:
        latest = f"{SECRET}/versions/{len(self.versions)}"
        match verb:
            case ":testIamPermissions":
                return 200, {"permissions": [each for each in body["permissions"] if each in self.permissions]}
            case ":addVersion":
                self.versions.append(base64.b64decode(body["payload"]["data"]).decode())
                return 200, {"name": f"{SECRET}/versions/{len(self.versions)}", "state": "ENABLED"}
        if not self.versions:
            return 404, {"error": {"code": 404, "status": "NOT_FOUND"}}
        data = base64.b64encode(self.versions[-1].encode()).decode()
        return 200, {"name": latest, "payload": {"data": data}}

    @property
    def environment(self) -> dict[str, str]:
        return {
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER": self.url + "/",
            "GOOGLE_APPLICATION_CREDENTIALS": str(self.credentials),
        }


@contextmanager
def secret_manager(folder: Path) -> Iterator[SecretManager]:
    made = SecretManager("", folder / "credentials.json")
    released = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def answer(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            if self.path == "/token":
                return self.send(200, json.dumps({"access_token": TOKEN, "expires_in": 3600}).encode())
            found = _PATH.fullmatch(self.path)
            if found is None or found[1] != SECRET or self.headers.get("Authorization") != f"Bearer {TOKEN}":
                return self.send(404, b'{"error": {"code": 404}}')
            made.asked.append(found[2])
            if made.before is not None and found[2] == ":addVersion":
                made.before.set()
                released.wait(60)
                return None
            if found[2] in made.answers:
                return self.send(*made.answers[found[2]])
            status, body = made.reply(found[2], json.loads(content) if content else None)
            return self.send(status, json.dumps(body).encode())

        do_GET = do_POST = answer  # noqa: N815 (http.server asks for these names)

        def send(self, status: int, payload: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.block_on_close = False
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    made.url = f"http://127.0.0.1:{server.server_address[1]}"
    made.credentials.write_text(json.dumps(_person(made.url)))
    try:
        yield made
    finally:
        released.set()
        server.shutdown()
        server.server_close()


def _person(url: str) -> dict[str, str]:
    return {
        "type": "external_account_authorized_user",
        "audience": "//iam.made-up.example/locations/global/workforcePools/p/providers/p",
        "client_id": "made-up",
        "client_secret": "made-up",
        "refresh_token": "made-up",
        "token_url": url + "/token",
        "universe_domain": "made-up.example",
    }
