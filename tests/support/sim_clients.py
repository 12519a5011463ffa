"""Run a simulator for one test, with the bare SDKs pointed at it and a clock that only the test moves."""

from __future__ import annotations

import json
import queue
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml
from google import genai
from google.genai.types import HttpOptions
from google.oauth2.credentials import Credentials
from openai import OpenAI

import ratchet_sim
from ratchet_sim.scenario import Scenario, parse
from ratchet_sim.server import Sim, serve

SMALL = Path(ratchet_sim.__path__[0], "scenarios", "small.yaml")
WIRE = Path(__file__).parent.parent / "wire"
KEY, SECRET = "sk-sim-a1", "whsec_c2ltdWxhdGVkLXNlY3JldC1mb3ItdGVzdHMtb25seQ=="
PLACE = "projects/123456789012/locations/us-central1"
VERTEX_JOB, VERTEX_MODEL = f"{PLACE}/tuningJobs/8812", f"{PLACE}/models/7777@1"
OPENAI_JOB = "ftjob-small0001"
TARGETS = {
    100: "ft:gpt-4.1-mini-2025-04-14:acme:support-router:SmAll001:ckpt-step-100",
    200: "ft:gpt-4.1-mini-2025-04-14:acme:support-router:SmAll002:ckpt-step-200",
    300: "ft:gpt-4.1-mini-2025-04-14:acme:support-router:SmAll003",
}


def endpoint(number: int) -> str:
    return f"{PLACE}/endpoints/{number}"


def small(change: Callable[[Any], None] = lambda spec: None, *, factor: float = 0, faults: Any = ()) -> Scenario:
    """The small scenario, standing still unless told otherwise, with faults and changes of the test's own."""
    tree = yaml.safe_load(SMALL.read_text())
    tree["spec"]["clock"]["factor"] = factor
    tree["spec"]["faults"] = list(faults)
    change(tree["spec"])
    return parse(yaml.safe_dump(tree, sort_keys=False))


def openai_client(base_url: str, key: str = KEY, timeout: float = 10, secret: str | None = None) -> OpenAI:
    return OpenAI(base_url=base_url, api_key=key, max_retries=0, timeout=timeout, webhook_secret=secret)


def vertex_client(
    base_url: str, project: str = "acme-ml", timeout_ms: int = 10_000, version: str = "v1"
) -> genai.Client:
    return genai.Client(
        vertexai=True,
        project=project,
        location="us-central1",
        credentials=Credentials(token="fake"),
        http_options=HttpOptions(base_url=base_url, timeout=timeout_ms, api_version=version),
    )


@dataclass(frozen=True)
class Providers:
    sim: Sim
    vertex: genai.Client
    openai: OpenAI

    def default(self) -> str | None:
        return self.vertex.models.get(model=VERTEX_MODEL).default_checkpoint_id

    def set_default(self, checkpoint: str) -> str | None:
        return self.vertex.models.update(
            model=VERTEX_MODEL, config={"default_checkpoint_id": checkpoint}
        ).default_checkpoint_id

    def ask_vertex(self, number: int, text: str = "Where is my refund?") -> str | None:
        return self.vertex.models.generate_content(model=endpoint(number), contents=text).text

    def ask_openai(self, step: int, text: str = "Where is my refund?") -> str | None:
        reply = self.openai.chat.completions.create(model=TARGETS[step], messages=[{"role": "user", "content": text}])
        return reply.choices[0].message.content


@contextmanager
def providers(scenario: Scenario, state: Path, minutes: float = 0) -> Iterator[Providers]:
    with serve(scenario, state) as sim:
        sim.advance(minutes * 60)
        yield Providers(sim, vertex_client(sim.vertex_url), openai_client(sim.openai_url))


def raw(method: str, url: str, body: Any = None, token: str = KEY) -> tuple[int, Any]:
    """Status and JSON as they are on the wire, without an SDK's opinion of them."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(url, data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, json.load(refusal)


def sample(name: str) -> Any:
    return json.loads((WIRE / f"{name}.json").read_text())


# What people or the training run put there: their keys are not the provider's.
FREE = ("labels", "metadata", "metrics")


def differences(actual: Any, expected: Any, at: str = "$") -> list[str]:
    """Where keys or JSON types differ; a list's items must each be like one of the sample's items."""
    if type(actual) is not type(expected):
        return [f"{at}: {json.dumps(actual)[:80]} where the sample has {json.dumps(expected)[:80]}"]
    if isinstance(expected, dict):
        found = [f"{at}: keys {sorted(set(actual) ^ set(expected))}"] if set(actual) != set(expected) else []
        shared = [key for key in expected if key in actual and key not in FREE]
        return found + [d for key in shared for d in differences(actual[key], expected[key], f"{at}.{key}")]
    if isinstance(expected, list) and expected:
        each = [min((differences(item, like, f"{at}[]") for like in expected), key=len) for item in actual]
        return [d for item in each for d in item]
    return []


@dataclass(frozen=True)
class Received:
    headers: dict[str, str]
    body: bytes


class Receiver:
    """A webhook endpoint that answers with the given statuses in turn, then with the last for ever."""

    def __init__(self, *answers: int) -> None:
        self.inbox: queue.Queue[Received] = queue.Queue()
        self._answers = list(answers or (200,))
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                answers = receiver._answers
                self.send_response(answers.pop(0) if len(answers) > 1 else answers[0])
                self.send_header("Content-Length", "0")
                self.end_headers()
                receiver.inbox.put(Received(dict(self.headers), body))

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/openai"

    def take(self) -> Received:
        return self.inbox.get(timeout=20)

    def __enter__(self) -> Receiver:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def until(true: Callable[[], bool]) -> None:
    """Poll until something that another thread does has happened."""
    pause = threading.Event()
    for _ in range(1000):
        if true():
            return
        pause.wait(0.02)
    raise AssertionError("it never became true")
