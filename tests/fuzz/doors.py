"""The doors: whatever is sent, an answer of the table, no echo of it, and no effect of what was not let in."""

import base64
import hmac
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from flask import Flask

from fuzz.machine import SECRETS, Machine, machine
from fuzz.requests import Got, Sent, parse, request, send
from fuzz.target import CANARY, Check, Target, timed
from ratchet.domain.codec import encode
from ratchet.domain.events import (
    CheckpointSeen,
    Command,
    DeadLetter,
    Event,
    PromotionDue,
    SmokeTestDue,
    Topic,
    TuningJobHint,
    Verb,
)
from ratchet.domain.keys import AliasKey, CheckpointKey, JobKey, Provider
from ratchet.domain.limits import Limits
from ratchet.domain.outcomes import Recorded
from ratchet.domain.records import JobState, Measure, Purpose
from ratchet.domain.topology import SUBSCRIBERS
from ratchet.runtime import connect
from ratchet.runtime.oidc import OidcVerifier
from ratchet.runtime.push import consume
from support.recording import FixedClock, LogLines, captured, framework_app

WIRE = Path(__file__).parents[1] / "wire"
NOW = FixedClock().now()
JOB = JobKey(Provider.VERTEX, "123456789012", "us-central1", "8812")
OPENAI_JOB = JobKey(Provider.OPENAI, "proj_a1", "-", "ftjob-small0001")
CHECKPOINT = CheckpointKey(JOB, "2")
ALIAS = AliasKey("support-router", "prod")

REFUSED = frozenset({400, 401, 404, 405, 409, 413, 415})
LATER = frozenset({"schema_new"})
"""The only reasons for a 503 while store, bus and providers are well."""

PAYLOADS: Sequence[Event] = [
    Event(topic=topic, id="e-1", source=source, payload=payload)
    for topic, source, payload in (
        (Topic.TUNING_JOBS, "reconcile", TuningJobHint(job=JOB, reason=CANARY)),
        (Topic.TUNING_JOBS, "receive_webhook", TuningJobHint(job=OPENAI_JOB, reason=CANARY)),
        (
            Topic.CHECKPOINTS,
            "track_tuning_job",
            CheckpointSeen(
                checkpoint=CHECKPOINT, step=200, epoch=2, model=None, base_model="gemini-2.5-flash",
                target="projects/123456789012/locations/us-central1/endpoints/9002",
                metrics={"train_loss": Measure(0.5, "checkpoint")}, labels={"ratchet-line": "support-router"},
                job_state=JobState.SUCCEEDED, job_created_at=NOW, seen_at=NOW,
            ),
        ),
        (Topic.SMOKE_TESTS, "record_checkpoint", SmokeTestDue(checkpoint=CHECKPOINT, suite="x", purpose=Purpose.GATE)),
        (Topic.SMOKE_TESTS, "reconcile", SmokeTestDue(checkpoint=CHECKPOINT, suite="-", purpose=Purpose.PROBE)),
        (Topic.PROMOTIONS, "reconcile", PromotionDue(alias=ALIAS, job=JOB, reason=CANARY)),
        (
            Topic.COMMANDS,
            "receive_command",
            Command(
                id="command-1", verb=Verb.HOLD, alias=ALIAS, reason=CANARY, actor="ann", actor_verified=True,
                issued_at=NOW, expires_at=NOW, checkpoint=CHECKPOINT,
            ),
        ),
        (
            Topic.DEAD_LETTERS,
            "receive_webhook",
            DeadLetter(event_id="e-1", topic="checkpoints", attributes={"a": "b"}, data="eA==", reason="bad_json"),
        ),
    )
]  # fmt: skip


def pushed(event: Event) -> bytes:
    attributes = {
        "_ce-id": event.id, "_ce-source": f"//ratchet/{event.source}", "_ce-type": event.type, "_schema-version": "1",
        "_traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01",
    }  # fmt: skip
    return request(f"POST /{event.topic}", encode(event.payload), **attributes)


def envelopes() -> list[bytes]:
    names = ("pubsub_push_log_entry", "pubsub_push_attributes_only")
    return [request("POST /", (WIRE / f"{name}.json").read_bytes()) for name in names]


class _Door:
    """One function behind its application, and what every answer of it must keep to."""

    def __init__(self, machine: Machine, function: str, log: LogLines) -> None:
        self._machine = machine
        self._app = machine.app(function)
        self._function = function
        self._log = log

    def check(self, data: bytes) -> None:
        sent = parse(data)
        before = self._machine.writes()
        self._log.clear()
        body, extra, signed = self._body(sent)
        got = send(self._app, sent, body, extra)
        keeps_silent(got, self._log)
        self._fits(got, sent)
        if got.status in REFUSED or (self._function == "receive_webhook" and not signed):
            assert self._machine.writes() == before, f"an effect of what was answered {got.status}"
            assert got.status != 202, "nobody signed it"

    def _body(self, sent: Sent) -> tuple[bytes, Mapping[str, str], bool]:
        if self._function != "receive_webhook":
            return sent.wrapped, {}, False
        key = {**SECRETS, "forged": b"f" * 32}.get(sent.attributes.get("sign", ""))
        if key is None:
            return sent.body, {}, False
        ident, stamp = "wh_1", str(int(connect.clock().now().timestamp()))
        given = base64.b64encode(hmac.digest(key, f"{ident}.{stamp}.".encode() + sent.body, "sha256")).decode()
        headers = {"webhook-id": ident, "webhook-timestamp": stamp, "webhook-signature": f"v1,{given}"}
        return sent.body, headers, key in SECRETS.values()

    def _fits(self, got: Got, sent: Sent) -> None:
        codes = {str(code) for code in self._log.codes}
        assert got.status in REFUSED | {200, 202, 204, 304} or (got.status == 503 and codes & LATER), (
            f"{sent.method} answered {got.status} with {self._log.text[:2000]}"
        )


def keeps_silent(got: Got, log: LogLines) -> None:
    assert CANARY not in got.text, "the answer holds the input"
    assert CANARY not in log.text, "the log holds the input"


@contextmanager
def alone() -> Iterator[LogLines]:
    """Our log lines, and nobody else's handler."""
    root = logging.getLogger()
    with captured("fuzz") as lines:
        before, root.handlers[:] = root.handlers[:], root.handlers[-1:]
        try:
            yield lines
        finally:
            root.handlers[:] = before


@contextmanager
def opened(function: str) -> Iterator[Check]:
    with machine() as made:
        made.app(function)
        with alone() as log, timed(_Door(made, function, log).check) as check:
            yield check


def door(function: str, seeds: Sequence[bytes]) -> Target:
    return Target(function, seeds, partial(opened, function))


def _webhooks() -> list[bytes]:
    good = json.loads((WIRE / "openai_webhook_succeeded.json").read_text()) | {"extra": CANARY}
    vector = json.loads((WIRE / "openai_webhook_signed_vector.json").read_text())["request"]
    line = "POST /webhooks/openai"
    signed = [request(line, {**good, "type": kind}, _sign=key) for kind in _KINDS for key in (*SECRETS, "forged")]
    return [*signed, request(line, vector["raw_body"].encode(), **vector["headers"])]


_KINDS = ("fine_tuning.job.succeeded", "response.completed")
_COMMANDS = [
    {"verb": "hold", "alias": "support-router@prod", "reason": CANARY},
    {"verb": "approve", "alias": "support-router@prod", "reason": "r", "decision": "0123456789abcdef" * 4},
    {"verb": "promote", "alias": "support-router@prod", "reason": "r", "checkpoint": str(CHECKPOINT), "force": True,
     "id": "command-1"},
]  # fmt: skip
_ALIASES = ["GET /v1/aliases/support-router@prod", "HEAD /v1/aliases/faq%40prod?serial=0", "GET /v1/aliases/*?serial=9"]


class _Authentication:
    """A push door that checks tokens, with a key of our own: nothing is handled but under the claims we signed."""

    def __init__(self, app: Flask, log: LogLines, handled: list[Any]) -> None:
        self._app, self._log, self._handled = app, log, handled

    def check(self, data: bytes) -> None:
        sent = parse(data)
        self._handled.clear()
        self._log.clear()
        got = send(self._app, sent, sent.wrapped, {})
        keeps_silent(got, self._log)
        assert got.status in REFUSED | {204} or set(self._log.codes) & LATER, f"answered {got.status}"
        headers = {name.lower(): text for name, text in sent.headers.items()}
        token = headers.get("authorization", "").partition(" ")[2]
        if token.rpartition(".")[0] != _TOKEN.rpartition(".")[0]:
            assert not self._handled, "handled without our token"
            assert got.status in REFUSED, f"answered {got.status} without our token"


_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
_PUBLIC = _KEY.public_key().public_bytes(
    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
).decode()  # fmt: skip
_AUDIENCE, _EMAIL = "https://track.example.com", "push@example.iam.gserviceaccount.com"


def _part(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _token() -> str:
    claims = {
        "iss": "https://accounts.google.com", "aud": _AUDIENCE, "email": _EMAIL, "email_verified": True,
        "iat": 1_000_000, "exp": 1_003_600, "sub": CANARY,
    }  # fmt: skip
    head = {"alg": "RS256", "kid": "k1", "typ": "JWT"}
    signed = f"{_part(json.dumps(head).encode())}.{_part(json.dumps(claims).encode())}"
    return f"{signed}.{_part(_KEY.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


_TOKEN = _token()


@contextmanager
def _authenticated() -> Iterator[Check]:
    verifier = OidcVerifier(_AUDIENCE, {_EMAIL}, lambda _: {"k1": _PUBLIC}, lambda: 1_001_000.0)
    handled: list[Any] = []

    def handle(payload: Any) -> Recorded:
        handled.append(payload)
        return Recorded()

    def serve(incoming: Any) -> Any:
        topics = (Topic.TUNING_JOBS,)
        return consume(
            incoming,
            handle,
            function="f",
            topics=topics,
            authenticate=lambda: verifier,
            park=handled.append,
            limits=Limits,
        )

    with TemporaryDirectory() as folder:
        app = framework_app(Path(folder), serve)
        with alone() as log, timed(_Authentication(app, log, handled).check) as check:
            yield check


def _with_token(seed: bytes) -> bytes:
    return seed.replace(b"\n", f"\nAuthorization: Bearer {_TOKEN}\n".encode(), 1)


_SOURCES: Mapping[str, Callable[[], list[bytes]]] = {"track_tuning_job": envelopes}
_FUNCTIONS = sorted({function for function in SUBSCRIBERS.values() if function})
DOORS: Sequence[Target] = [
    door("receive_webhook", _webhooks()),
    door("receive_command", [request("POST /v1/commands", command) for command in _COMMANDS]),
    *(
        door(
            function,
            [pushed(event) for event in PAYLOADS if SUBSCRIBERS.get(event.topic) == function]
            + _SOURCES.get(function, list)(),
        )
        for function in _FUNCTIONS
    ),
    door("reconcile", [request("POST /"), request("GET /")]),
    door("resolve_alias", [request(line, If_None_Match='"1"') for line in _ALIASES]),
    Target("push_authentication", [_with_token(pushed(PAYLOADS[0])), *envelopes()], _authenticated),
]
