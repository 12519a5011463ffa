"""Rows 32-39 of the table of bad inputs, through the functions framework, with tokens of our own key set."""

import base64
import hmac
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from flask import Flask

from ratchet import deadline
from ratchet.adapters.sqlite import SqliteStore
from ratchet.application.park_dead_letter import park_dead_letter
from ratchet.domain.events import Command, DeadLetter, Event, PromotionDue, Topic, TuningJobHint, Verb
from ratchet.domain.keys import AliasKey, JobKey, Provider, digest
from ratchet.domain.limits import Limits
from ratchet.domain.messages import message_of
from ratchet.domain.outcomes import Deferred, Ignored, Outcome, Recorded
from ratchet.ports import Key, PermanentError, StoreUnavailable, StoreUncertain
from ratchet.runtime.ids import SystemIds
from ratchet.runtime.oidc import OidcVerifier
from ratchet.runtime.push import Authenticate, consume
from support.recording import FixedClock, LogLines, captured, framework_app

CANARY = "canaryCANARYcanary"
WIRE = Path(__file__).parents[1] / "wire"
AUDIENCE, EMAIL = "https://track.example.com", "push-tuning-jobs@example.iam.gserviceaccount.com"
JOB = JobKey(Provider.OPENAI, "acme", "-", "ftjob-1")
HINT = TuningJobHint(job=JOB, reason="test")


def key_pair() -> tuple[rsa.RSAPrivateKey, str]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key, key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()


KEY, PUBLIC = key_pair()
STRANGER, _ = key_pair()


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def token(header: dict[str, Any] | None = None, key: rsa.RSAPrivateKey = KEY, **claims: Any) -> str:
    now = int(time.time())
    head = {"alg": "RS256", "kid": "k1", "typ": "JWT", **(header or {})}
    body = {
        "iss": "https://accounts.google.com", "aud": AUDIENCE, "email": EMAIL, "email_verified": True,
        "iat": now, "exp": now + 3600, "sub": CANARY, **claims,
    }  # fmt: skip
    body = {name: value for name, value in body.items() if value is not None}
    signed = f"{b64(json.dumps(head).encode())}.{b64(json.dumps(body).encode())}"
    match head["alg"]:
        case "RS256":
            signature = key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        case "HS256":
            signature = hmac.digest(PUBLIC.encode(), signed.encode(), "sha256")
        case _:
            signature = b""
    return f"{signed}.{b64(signature)}"


@dataclass
class Door:
    log: LogLines
    topics: tuple[Topic, ...] = (Topic.TUNING_JOBS,)
    handle: Callable[[Any], Outcome] = lambda _: Recorded()
    authenticate: Authenticate | None = None
    park_fails: bool = False
    handled: list[Any] = field(default_factory=list)
    dead: list[DeadLetter] = field(default_factory=list)
    limits: Limits = field(default_factory=Limits)
    app: Flask = field(init=False)

    def park(self, letter: DeadLetter) -> None:
        if self.park_fails:
            raise StoreUnavailable
        self.dead.append(letter)

    def serve(self, request: Any) -> Any:
        def handle(payload: Any) -> Outcome:
            self.handled.append(payload)
            return self.handle(payload)

        return consume(
            request,
            handle,
            function="f",
            topics=self.topics,
            authenticate=lambda: self.authenticate,
            park=self.park,
            limits=lambda: self.limits,
        )

    def post(self, body: Any, headers: dict[str, str] | None = None, path: str = "/", method: str = "POST") -> Any:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", **(headers or {})}
        answer = self.app.test_client().open(path, method=method, data=content, headers=headers)
        assert CANARY not in answer.get_data(as_text=True) + str(answer.headers) + self.log.text
        settled = [line for line in self.log.lines if line["event"] in ("event.settled", "event.retried")]
        assert len(settled) == (0 if 400 <= answer.status_code < 500 else 1)
        return answer.status_code

    def last(self, *names: str) -> tuple[Any, ...]:
        return tuple(self.log.lines[-1].get(name) for name in names)


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    with captured("f") as lines:
        made = Door(lines)
        made.app = framework_app(tmp_path, made.serve)
        yield made


def push(payload: Any = HINT, topic: Topic = Topic.TUNING_JOBS, source: str = "reconcile", **attributes: str) -> Any:
    message = message_of(Event(topic=topic, id="e-1", source=source, payload=payload), datetime.now(UTC), None)
    return envelope(message.data, {**message.attributes, **attributes})


def envelope(data: bytes, attributes: dict[str, str] | None = None) -> Any:
    message = {"data": base64.b64encode(data).decode(), "attributes": attributes or {}, "messageId": "17"}
    return {"message": message, "subscription": f"projects/p/subscriptions/{CANARY}", "deliveryAttempt": 3}


def wire(name: str) -> Any:
    return json.loads((WIRE / f"{name}.json").read_text())


def test_a_message_is_handled_once_and_settled(door: Door) -> None:
    trace = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    assert door.post(push(traceparent=trace)) == 204
    assert door.handled == [HINT]
    assert door.last("event", "outcome", "code", "event_id", "delivery_attempt", "topic", "function") == (
        "event.settled", "recorded", "ok", "e-1", 3, "tuning-jobs", "f",
    )  # fmt: skip
    assert door.last("logging.googleapis.com/trace") == ("projects/example-project/traces/" + "a" * 32,)


BAD_BEARERS = [None, "", "Basic x", "Bearer", "Bearer a.b", f"Bearer {CANARY}", "Bearer a.b.c", "Bearer " + "x." * 9000]


@pytest.mark.parametrize("header", BAD_BEARERS, ids=[f"row32-{n}" for n in range(len(BAD_BEARERS))])
def test_a_push_without_a_token_is_refused(door: Door, header: str | None) -> None:
    door.authenticate = OidcVerifier(AUDIENCE, {EMAIL}, lambda _: {"k1": PUBLIC})
    assert door.post(push(), {"Authorization": header} if header is not None else {}) == 401
    assert door.last("event", "code") == ("push.rejected", "oidc_missing")
    assert (door.handled, door.dead) == ([], [])


NOW = int(time.time())
BAD_TOKENS: dict[str, tuple[str, str]] = {
    "row33-aud": (token(aud="https://evil.example.com"), "oidc_aud"),
    "row33-iss": (token(iss="https://evil.example.com"), "oidc_iss"),
    "row33-email": (token(email="evil@example.com"), "oidc_email"),
    "row33-unverified": (token(email_verified=False), "oidc_unverified"),
    "row33-unverified-text": (token(email_verified="true"), "oidc_unverified"),
    "row33-expired": (token(iat=NOW - 7200, exp=NOW - 60), "oidc_exp"),
    "row33-early": (token(iat=NOW + 600), "oidc_early"),
    "row33-nbf": (token(nbf=NOW + 600), "oidc_early"),
    "row33-none": (token({"alg": "none"}), "oidc_alg"),
    "row33-hs256": (token({"alg": "HS256"}), "oidc_alg"),
    "row33-kid": (token({"kid": "k2"}), "oidc_kid"),
    "row33-no-kid": (token({"kid": None}), "oidc_kid"),
    "row33-other-key": (token(key=STRANGER), "oidc_sig"),
    "row33-altered": (token()[:-8] + "AAAAAAAA", "oidc_sig"),
    "row33-no-exp": (token(exp=None), "oidc_form"),
    "row33-text-exp": (token(exp="9999999999"), "oidc_form"),
    "row34-other-function": (token(aud="https://enforce.example.com"), "oidc_aud"),
    "row34-two-audiences": (token(aud=[AUDIENCE]), "oidc_aud"),
}


@pytest.mark.parametrize(("bearer", "code"), BAD_TOKENS.values(), ids=BAD_TOKENS.keys())
def test_a_token_that_is_not_for_us_is_refused(door: Door, bearer: str, code: str) -> None:
    door.authenticate = OidcVerifier(AUDIENCE, {EMAIL}, lambda _: {"k1": PUBLIC})
    assert door.post(push(), {"Authorization": f"Bearer {bearer}"}) == 401
    assert door.last("event", "code") == ("push.rejected", code)
    assert (door.handled, door.dead) == ([], [])


def test_a_right_token_is_taken(door: Door) -> None:
    door.authenticate = OidcVerifier(AUDIENCE, {EMAIL}, lambda _: {"k1": PUBLIC})
    assert door.post(push(), {"Authorization": f"Bearer {token()}"}) == 204
    assert door.handled == [HINT]


NO_ID = {"message": {"data": "eA=="}}
NO_BASE64 = {"message": {"data": f"*{CANARY}", "messageId": "1"}}
NO_DATA = {"message": {"data": "", "messageId": "1"}}
BAD_ENVELOPES = [{}, [], {"message": []}, NO_ID, NO_BASE64, NO_DATA, b"{", b"", wire("pubsub_push_attributes_only")]


@pytest.mark.parametrize("body", BAD_ENVELOPES, ids=[f"row35-{n}" for n in range(len(BAD_ENVELOPES))])
def test_an_envelope_without_a_message_is_dead(door: Door, body: Any) -> None:
    assert door.post(body) == 204
    assert door.last("event", "outcome", "code") == ("event.settled", "dead", "bad_env")
    assert [letter.reason for letter in door.dead] == ["bad_env"]
    assert not door.handled


@pytest.mark.parametrize("name", ["messageId", "message_id"], ids=lambda n: f"row36-{n}")
def test_both_spellings_of_the_id_name_one_event(door: Door, name: str) -> None:
    entry = wire("pubsub_push_log_entry")
    message = entry["message"]
    entry["message"] = {"data": message["data"], name: "1234"}
    assert door.post(entry) == 204
    assert door.last("event_id", "outcome") == ("1234", "recorded")


@pytest.mark.parametrize("more", [{}, {"ce-type": "ratchet.NotYetKnown", "ce-source": "//ratchet/not_yet_known"}])
def test_a_newer_schema_waits_for_newer_code_row37(door: Door, more: dict[str, str]) -> None:
    assert door.post(push(schema_version="2", **more)) == 503
    assert door.last("event", "code") == ("event.retried", "schema_new")
    assert (door.handled, door.dead) == ([], [])


def test_an_old_message_is_a_hint_like_any_other_row38(door: Door) -> None:
    body = push(**{"ce-time": "2026-11-16T00:00:00.000000Z"})
    body["message"]["publishTime"] = "2026-11-16T00:00:00Z"
    assert door.post(body) == 204
    assert door.last("outcome") == ("recorded",)


NOW_AT = FixedClock().now()
COMMAND = Command(
    id="c-1", verb=Verb.HOLD, alias=AliasKey("line", "prod"), reason="r", actor="a", actor_verified=True,
    issued_at=NOW_AT, expires_at=NOW_AT,
)  # fmt: skip
FOREIGN = {
    "row39-source": (push(source="evil"), Topic.TUNING_JOBS),
    "row39-other-topics-source": (push(source="run_smoke_test"), Topic.TUNING_JOBS),
    "row39-no-source": (push(**{"ce-source": ""}), Topic.TUNING_JOBS),
    "row39-type": (push(**{"ce-type": f"ratchet.{CANARY}"}), Topic.TUNING_JOBS),
    "row39-command-elsewhere": (push(COMMAND, source="reconcile"), Topic.PROMOTIONS),
    "row39-command-from-its-door": (push(COMMAND, source="receive_command"), Topic.PROMOTIONS),
    "row39-replayed-command": (push(COMMAND, source="replay"), Topic.COMMANDS),
    "row39-log-entry-elsewhere": (wire("pubsub_push_log_entry"), Topic.PROMOTIONS),
    "row39-unmarked": (envelope(b'{"job":"x"}'), Topic.TUNING_JOBS),
}


@pytest.mark.parametrize(("body", "topic"), FOREIGN.values(), ids=FOREIGN.keys())
def test_what_may_not_be_published_there_is_dead(door: Door, body: Any, topic: Topic) -> None:
    door.topics = (Topic.PROMOTIONS, Topic.COMMANDS, Topic.TUNING_JOBS)
    assert door.post(body, path=f"/{topic}") == 204
    assert door.last("event", "outcome", "code") == ("event.settled", "dead", "source")
    assert ([letter.reason for letter in door.dead], door.handled) == (["source"], [])


def test_each_topic_of_a_function_has_its_path(door: Door) -> None:
    door.topics = (Topic.PROMOTIONS, Topic.COMMANDS)
    due = PromotionDue(alias=AliasKey("line", "prod"), job=None, reason="r")
    assert door.post(push(COMMAND, Topic.COMMANDS, "receive_command"), path="/commands") == 204
    door.log.clear()
    assert door.post(push(due, Topic.PROMOTIONS), path="/promotions") == 204
    assert door.handled == [COMMAND, due]
    door.log.clear()
    assert door.post(push(), path="/") == 404


UNTIL = datetime(2026, 11, 23, tzinfo=UTC) + timedelta(seconds=150)
OUTCOMES = [(Recorded(), "recorded"), (Ignored("terminal"), "ignored"), (Deferred(UNTIL), "deferred")]


@pytest.mark.parametrize(("outcome", "name"), OUTCOMES, ids=["recorded", "ignored", "deferred"])
def test_a_handled_message_is_acknowledged(door: Door, outcome: Outcome, name: str) -> None:
    door.handle = lambda _: outcome
    assert door.post(push()) == 204
    assert door.last("event", "outcome", "code") == ("event.settled", name, "ok")


def _raise(error: Exception) -> Callable[[Any], Outcome]:
    def handle(_: Any) -> Outcome:
        raise error

    return handle


ODD_ATTRIBUTES = {
    "half-a-pair": {"odd": "\ud800", "\udfff": "x"},
    "two-megabytes": {"odd": "x" * 2_000_000},
    "many": {f"odd-{n}": "é" * 1000 for n in range(400)},
    "reserved": {"__odd__": "x"},
    "nameless": {"": "x"},
    "long-name": {"x" * 1600: "x"},
}


@pytest.mark.parametrize("odd", ODD_ATTRIBUTES.values(), ids=ODD_ATTRIBUTES.keys())
def test_whatever_its_attributes_a_dead_letter_can_be_stored(door: Door, tmp_path: Path, odd: dict[str, str]) -> None:
    store = SqliteStore(tmp_path / "ratchet.db")
    door.handle = _raise(PermanentError("not_ours"))
    assert door.post(push(**odd)) == 204
    park_dead_letter(door.dead[0], store=store, clock=FixedClock(), ids=SystemIds())
    assert store.get(Key("dead_letters", digest("e-1"))) is not None


def test_what_can_never_work_is_parked_and_acknowledged(door: Door) -> None:
    door.handle = _raise(PermanentError("not_ours"))
    assert door.post(push()) == 204
    assert door.last("outcome", "code") == ("dead", "not_ours")
    (letter,) = door.dead
    assert (letter.event_id, letter.topic, letter.reason) == ("e-1", "tuning-jobs", "not_ours")
    assert json.loads(base64.b64decode(letter.data)) == {"job": str(JOB), "reason": "test", "triggered_by": None}


def test_a_dead_letter_that_cannot_be_kept_is_delivered_again(door: Door) -> None:
    door.park_fails, door.handle = True, _raise(PermanentError("not_ours"))
    assert door.post(push()) == 503
    assert door.last("event") == ("event.retried",)


def test_nothing_is_done_after_a_death_while_the_letter_cannot_be_kept(door: Door) -> None:
    done: list[int] = []
    door.handle = _raise(PermanentError("not_ours", lambda: done.append(len(door.dead))))
    door.park_fails = True
    assert (door.post(push()), done) == (503, [])


def test_what_is_done_after_a_death_is_done_when_the_letter_is_kept(door: Door) -> None:
    done: list[int] = []
    door.handle = _raise(PermanentError("not_ours", lambda: done.append(len(door.dead))))
    assert (door.post(push()), done) == (204, [1])


def test_who_cannot_say_that_it_has_died_gets_the_message_again(door: Door) -> None:
    def fail() -> None:
        raise StoreUncertain

    door.handle = _raise(PermanentError("not_ours", fail))
    assert door.post(push()) == 503
    assert door.last("event") == ("event.retried",)


def test_what_may_work_later_is_delivered_again(door: Door) -> None:
    door.handle = _raise(StoreUnavailable(CANARY))
    assert door.post(push()) == 503
    assert door.last("event", "code", "exception") == ("event.retried", "unavailable", ["StoreUnavailable"])


def test_who_is_out_of_time_stops_at_the_next_call_and_is_delivered_again(door: Door) -> None:
    def spend(_: object) -> Outcome:
        while True:
            deadline.left(1)

    door.limits, door.handle = Limits(slice=0.01, budget=0.02), spend
    assert door.post(push()) == 503
    assert door.last("event", "code", "exception") == ("event.retried", "unavailable", ["OutOfTime"])


def test_a_bug_is_delivered_again_and_says_only_where_it_is(door: Door) -> None:
    door.handle = _raise(KeyError(CANARY))
    assert door.post(push()) == 500
    assert [line["event"] for line in door.log.lines] == ["handler.crashed", "event.retried"]
    assert door.log.lines[0]["exception"] == ["KeyError"]
    assert door.log.lines[0]["at"][-1].startswith("test_push_door.py:")


def test_a_payload_of_the_wrong_shape_is_dead(door: Door) -> None:
    attributes = push()["message"]["attributes"]
    assert door.post(envelope(json.dumps({"job": CANARY}).encode(), attributes)) == 204
    assert door.last("outcome", "code") == ("dead", "bad_schema")


def entry(**changes: Any) -> Any:
    content = wire("audit_log_entry")
    content["protoPayload"] |= changes
    return envelope(json.dumps(content).encode())


def test_an_audit_log_entry_is_a_hint(door: Door) -> None:
    assert door.post(wire("pubsub_push_log_entry")) == 204
    (hint,) = door.handled
    assert str(hint.job) == "vertex:123456789012:us-central1:5555555555555555555"
    assert hint.triggered_by == "tuner@example-project.iam.gserviceaccount.com"


LONGEST = "a" * 308 + "@example.com"
JOB_NAME = "projects/123456789012/locations/us-central1/tuningJobs/5555555555555555555"
SERVICE = "google.cloud.aiplatform.v1.GenAiTuningService"


@pytest.mark.parametrize(
    ("changes", "trigger"),
    [
        ({"methodName": f"{SERVICE}.CreateTuningJob"}, "tuner@example-project.iam.gserviceaccount.com"),
        ({"methodName": f"{SERVICE}.CancelTuningJob", "resourceName": JOB_NAME}, None),
        ({"methodName": f"{SERVICE}.RebaseTunedModel"}, None),
        ({"methodName": f"{SERVICE}.CreateTuningJobs"}, None),
        ({"methodName": ["CreateTuningJob"]}, None),
        ({"authenticationInfo": {"principalEmail": LONGEST}}, LONGEST),
        ({"authenticationInfo": {"principalEmail": "a" + LONGEST}}, None),
        ({"authenticationInfo": {"principalEmail": "ana@example.com\n"}}, None),
        ({"authenticationInfo": {"principalEmail": "\ud800"}}, None),
        ({"authenticationInfo": {"principalEmail": ""}}, None),
        ({"authenticationInfo": {"principalEmail": 7}}, None),
        ({"authenticationInfo": {}}, None),
        ({"authenticationInfo": ["ana@example.com"]}, None),
        ({"authenticationInfo": None}, None),
    ],
)
def test_only_the_entry_of_a_creation_says_who_triggered_a_job(door: Door, changes: Any, trigger: str | None) -> None:
    assert door.post(entry(**changes)) == 204
    (hint,) = door.handled
    assert (hint.job.id, hint.triggered_by) == ("5555555555555555555", trigger)


@pytest.mark.parametrize("source", ["receive_webhook", "reconcile", "replay"])
def test_a_hint_of_our_own_that_says_who_triggered_the_job_is_dead(door: Door, source: str) -> None:
    hint = TuningJobHint(job=JOB, reason="test", triggered_by="ana@example.com")
    assert door.post(push(hint, Topic.TUNING_JOBS, source)) == 204
    assert ([letter.reason for letter in door.dead], door.handled) == (["source"], [])


READ = "google.cloud.aiplatform.v1.GenAiTuningService.GetTuningJob"
QUIET = [
    (entry(status={"code": 7, "message": CANARY}), "failed_call"),
    (entry(methodName=READ), "read"),
    (envelope(json.dumps(wire("audit_log_entry_update_model")).encode()), "model_update"),
    (entry(response={}), "no_job"),
]


@pytest.mark.parametrize(("body", "reason"), QUIET, ids=[reason for _, reason in QUIET])
def test_a_log_entry_without_news_is_ignored(door: Door, body: Any, reason: str) -> None:
    assert door.post(body) == 204
    assert (door.last("outcome", "reason"), door.handled) == (("ignored", reason), [])


def test_what_pubsub_gave_up_on_arrives_as_a_dead_letter(door: Door) -> None:
    door.topics = (Topic.DEAD_LETTERS,)
    assert door.post(push(CloudPubSubDeadLetterSourceDeliveryCount="30")) == 204
    (letter,) = door.handled
    assert (letter.event_id, letter.topic, letter.reason) == ("e-1", "tuning-jobs", "given_up")


@pytest.mark.parametrize("name", ["topic", "reason"])
def test_a_dead_letter_in_words_that_are_not_ours_is_itself_dead(door: Door, name: str) -> None:
    door.topics = (Topic.DEAD_LETTERS,)
    words = {"topic": "tuning-jobs", "reason": "bad_json"}
    body = push(DeadLetter(event_id="e", attributes={}, data="", **words), Topic.DEAD_LETTERS, "receive_webhook")
    said = json.loads(base64.b64decode(body["message"]["data"])) | {name: f"{CANARY} "}
    body["message"]["data"] = base64.b64encode(json.dumps(said).encode()).decode()
    assert door.post(body) == 204
    assert ([letter.reason for letter in door.dead], door.handled) == (["bad_schema"], [])


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"method": "GET"}, 405, "method"),
        ({"path": f"/{CANARY}"}, 404, "path"),
        ({"headers": {"Content-Type": "text/plain"}}, 415, "ctype"),
        ({"headers": {"Content-Encoding": "gzip"}}, 415, "encoding"),
    ],
)
def test_a_request_that_is_no_push_has_no_effect(door: Door, change: dict[str, Any], status: int, code: str) -> None:
    assert door.post(push(), **change) == status
    assert (door.last("code"), door.handled, door.dead) == ((code,), [], [])
