"""Rows 1-27, 30 and 31 of the table of bad inputs, through the functions framework."""

import base64
import gzip
import hmac
import io
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from werkzeug.serving import make_server

from ratchet.domain.events import DeadLetter, Topic, TuningJobHint
from ratchet.runtime.settings import OpenAIAccount
from ratchet.runtime.webhook import MAX_BODY, receive
from ratchet.runtime.webhook_secrets import WebhookSecrets
from ratchet.runtime.webhook_signature import Secrets
from support.recording import FixedClock, LogLines, RecordingBus, captured, framework_app

CANARY = "canaryCANARYcanary"
PATH = "/webhooks/openai"
NEW, OLD, FOREIGN = b"n" * 32, b"o" * 32, b"f" * 32
KIND = "fine_tuning.job.succeeded"
GOOD: dict[str, Any] = {"object": "event", "id": f"evt_{CANARY}", "type": KIND, "data": {"id": "ftjob-1"}}


@dataclass
class Door:
    app: Flask
    log: LogLines
    bus: RecordingBus = field(default_factory=RecordingBus)
    clock: FixedClock = field(default_factory=FixedClock)
    secrets: Secrets = field(default_factory=lambda: {"acme": (NEW, OLD)})

    def send(self, body: bytes, headers: dict[str, Any] | None = None, method: str = "POST", path: str = PATH) -> Any:
        headers = {"Content-Type": "application/json", "X-Extra": CANARY, **(headers or {})}
        # The test client takes what follows two slashes for a host; a server does not.
        as_sent = {"PATH_INFO": path, "REQUEST_URI": path, "RAW_URI": path} if path.startswith("//") else {}
        client = self.app.test_client()
        return client.open(path, method=method, data=body, headers=headers, environ_overrides=as_sent)

    def signed(self, content: Any, key: bytes = NEW, **changes: Any) -> Any:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        return self.send(changes.pop("sent", body), self.headers(body, key, **changes))

    def headers(self, body: bytes, key: bytes = NEW, ident: str = "wh_1", age: int = 0) -> dict[str, Any]:
        stamp = str(int(self.clock.at.timestamp()) - age)
        return {"webhook-id": ident, "webhook-timestamp": stamp, "webhook-signature": sign(key, ident, stamp, body)}

    def refused(self, answer: Any, status: int, code: str) -> None:
        assert (answer.status_code, self.log.codes, self.bus.published) == (status, [code], [])
        self.no_echo(answer)

    def taken(self, answer: Any, code: str, topic: Topic | None) -> None:
        assert (answer.status_code, self.log.codes) == (202, [code])
        assert [event.topic for event in self.bus.published] == ([topic] if topic else [])
        assert self.log.lines[0]["event"] == "webhook.accepted"
        self.no_echo(answer)

    def no_echo(self, answer: Any) -> None:
        assert CANARY not in answer.get_data(as_text=True) + str(answer.headers) + self.log.text


def sign(key: bytes, ident: str, stamp: str, body: bytes) -> str:
    return "v1," + base64.b64encode(hmac.digest(key, f"{ident}.{stamp}.".encode() + body, "sha256")).decode()


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    with captured("receive_webhook") as lines:
        made = Door(framework_app(tmp_path, lambda r: receive(r, lambda _: made.secrets, made.bus, made.clock)), lines)
        yield made


BODY = json.dumps(GOOD).encode()


@pytest.mark.parametrize("method", ["GET", "PUT", "HEAD", "OPTIONS"], ids=lambda m: f"row1-{m}")
def test_only_post_is_a_delivery(door: Door, method: str) -> None:
    door.refused(door.send(BODY, door.headers(BODY), method=method), 405, "method")


@pytest.mark.parametrize(
    "path",
    ["/", f"/{CANARY}", f"{PATH}/", "/webhooks/%2Fopenai", "/webhooks%2Fopenai", f"/{PATH}", "/webhooks//openai", "//"],
    ids=lambda p: f"row2-{p}",
)
def test_only_the_agreed_path_is_a_door(door: Door, path: str) -> None:
    door.refused(door.send(BODY, door.headers(BODY), path=path), 404, "path")


@pytest.mark.parametrize("ctype", ["", "text/plain", f"application/{CANARY}"], ids=lambda c: f"row3-{c}")
def test_only_json_is_taken(door: Door, ctype: str) -> None:
    door.refused(door.send(BODY, door.headers(BODY) | {"Content-Type": ctype}), 415, "ctype")


@pytest.mark.parametrize("size", [MAX_BODY + 1, MAX_BODY], ids=["row4-over", "row4-at-the-limit"])
def test_an_announced_length_over_the_cap_is_not_read(door: Door, size: int) -> None:
    body = BODY + b" " * (size - len(BODY))
    answer = door.signed(body)
    if size > MAX_BODY:
        door.refused(answer, 413, "size")
    else:
        door.taken(answer, "ok", Topic.TUNING_JOBS)


class Endless(io.RawIOBase):
    """A chunked body without an end, which counts what is read of it."""

    read_bytes = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        # Not quite endless, so that a door without a cap fails the test and not the machine.
        if self.read_bytes > 16 * MAX_BODY:
            return 0
        self.read_bytes += len(buffer)
        buffer[:] = b"x" * len(buffer)
        return len(buffer)


def test_a_chunked_body_is_read_up_to_the_cap_row5(door: Door) -> None:
    source = Endless()
    answer = door.app.test_client().post(
        PATH,
        headers={"Content-Type": "application/json", "Transfer-Encoding": "chunked"},
        environ_overrides={"wsgi.input": source, "wsgi.input_terminated": True},
    )
    door.refused(answer, 413, "size")
    assert source.read_bytes == MAX_BODY + 1


@pytest.mark.parametrize(("path", "length"), [("/x", None), (PATH, MAX_BODY + 1)], ids=["row2-unread", "row4-unread"])
def test_a_refused_body_is_not_read_by_anybody(door: Door, path: str, length: int | None) -> None:
    source = Endless()
    environ: dict[str, Any] = {"wsgi.input": source, "wsgi.input_terminated": True}
    if length is not None:
        environ["CONTENT_LENGTH"] = str(length)
    door.app.test_client().post(path, headers={"Content-Type": "application/json"}, environ_overrides=environ)
    assert source.read_bytes == 0


@pytest.mark.parametrize("encoding", ["gzip", "deflate"], ids=lambda e: f"row6-{e}")
def test_a_compressed_body_is_refused(door: Door, encoding: str) -> None:
    body = gzip.compress(BODY)
    door.refused(door.send(body, door.headers(body) | {"Content-Encoding": encoding}), 415, "encoding")


@pytest.mark.parametrize("name", ["id", "timestamp", "signature"], ids=lambda n: f"row7-{n}")
def test_each_of_the_three_headers_is_needed(door: Door, name: str) -> None:
    headers = door.headers(BODY)
    del headers[f"webhook-{name}"]
    door.refused(door.send(BODY, headers), 401, "sig_missing")


@pytest.mark.parametrize("name", ["id", "timestamp", "signature"], ids=lambda n: f"row8-{n}")
def test_a_header_sent_twice_is_refused(door: Door, name: str) -> None:
    head = {"Host": "localhost", "Content-Type": "application/json", "Content-Length": len(BODY), **door.headers(BODY)}
    twice = [*head.items(), (f"webhook-{name}", head[f"webhook-{name}"]), ("Connection", "close")]
    request = f"POST {PATH} HTTP/1.1\r\n" + "".join(f"{key}: {value}\r\n" for key, value in twice) + "\r\n"
    server = make_server("127.0.0.1", 0, door.app)
    thread = threading.Thread(target=server.handle_request)
    thread.start()
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=5) as connection:
        connection.sendall(request.encode() + BODY)
        status = connection.makefile("rb").readline()
    thread.join(5)
    server.server_close()
    assert b" 401 " in status
    assert [line["code"] for line in door.log.lines if "code" in line] == ["sig_dup"]
    assert not door.bus.published


IDS = ["", "x" * 129, "a.b", "a b", "a\x00b", "é", f"{CANARY}/"]


@pytest.mark.parametrize("ident", IDS, ids=[f"row9-{n}" for n in range(len(IDS))])
def test_an_id_has_one_form(door: Door, ident: str) -> None:
    door.refused(door.send(BODY, door.headers(BODY) | {"webhook-id": ident}), 401, "id_form")


STAMPS = ["x17", "+1", "1_7", "1.0", "-1", "9" * 5000, "", "017", "٣".encode().decode("latin-1"), CANARY]


@pytest.mark.parametrize("stamp", STAMPS, ids=[f"row10-{n}" for n in range(len(STAMPS))])
def test_a_timestamp_has_one_form(door: Door, stamp: str) -> None:
    door.refused(door.send(BODY, door.headers(BODY) | {"webhook-timestamp": stamp}), 401, "ts_form")


@pytest.mark.parametrize("age", [301, -301, 299, -299, 300], ids=lambda a: f"row11-{a}")
def test_a_delivery_is_at_most_five_minutes_from_now(door: Door, age: int) -> None:
    answer = door.signed(BODY, age=age)
    if abs(age) > 300:
        door.refused(answer, 401, "ts_age")
    else:
        door.taken(answer, "ok", Topic.TUNING_JOBS)


FORMS = ["v1,é", "v1,****", "v1,QUJD", "v1," + "A" * 43, "v1,", f"v1,{CANARY}"]
VERSIONS = ["A" * 43 + "=", "v1a," + "A" * 43 + "=", "v2," + "A" * 43 + "=", CANARY, ""]
MANY = [" ".join(["v1," + "A" * 43 + "="] * 11), "v1," + "A" * 4094]


@pytest.mark.parametrize(
    ("signature", "code"),
    [(s, "sig_form") for s in FORMS] + [(s, "sig_version") for s in VERSIONS] + [(s, "sig_many") for s in MANY],
    ids=[f"row12-{n}" for n in range(len(FORMS))]
    + [f"row13-{n}" for n in range(len(VERSIONS))]
    + [f"row14-{n}" for n in range(len(MANY))],
)
def test_a_signature_has_one_form(door: Door, signature: str, code: str) -> None:
    door.refused(door.send(BODY, door.headers(BODY) | {"webhook-signature": signature}), 401, code)


@pytest.mark.parametrize("first", ["v1," + "A" * 43 + "=", "v2,x"], ids=lambda s: f"row15-{s[:4]}")
def test_one_good_signature_is_enough(door: Door, first: str) -> None:
    headers = door.headers(BODY)
    headers["webhook-signature"] = f"{first} {headers['webhook-signature']}"
    door.taken(door.send(BODY, headers), "ok", Topic.TUNING_JOBS)


@pytest.mark.parametrize(
    "sent", [BODY[:-1] + b" ", json.dumps(GOOD, indent=1).encode(), b""], ids=["row16-byte", "row16-form", "row16-none"]
)
def test_the_signature_is_over_the_raw_bytes(door: Door, sent: bytes) -> None:
    door.refused(door.signed(BODY, sent=sent), 401, "sig_bad")


def test_the_previous_secret_counts_while_it_is_configured_row17(door: Door) -> None:
    door.taken(door.signed(BODY, OLD), "ok_old", Topic.TUNING_JOBS)


def test_the_previous_secret_is_dead_after_the_overlap_row17(door: Door) -> None:
    door.secrets = {"acme": (NEW,)}
    door.refused(door.signed(BODY, OLD), 401, "sig_bad")


def test_the_secret_says_whose_job_it_is(door: Door) -> None:
    door.secrets = {"acme": (NEW,), "other": (FOREIGN,)}
    door.signed(BODY, FOREIGN)
    (event,) = door.bus.published
    assert isinstance(event.payload, TuningJobHint)
    assert str(event.payload.job) == "openai:other:-:ftjob-1"


BAD_SECRETS = ["", "whsec_", "whsec_***", "whsec_" + base64.b64encode(b"x" * 23).decode()]


@pytest.mark.parametrize("secret", BAD_SECRETS, ids=[f"row18-{n}" for n in range(4)])
def test_without_a_usable_secret_nothing_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    monkeypatch.setenv("HOOK", secret)
    secrets = WebhookSecrets([OpenAIAccount(account="acme", webhook_secrets_env="HOOK")])
    with captured("receive_webhook") as lines:
        bus, clock = RecordingBus(), FixedClock()
        door = Door(framework_app(tmp_path, lambda r: receive(r, secrets, bus, clock)), lines, bus)
        door.refused(door.signed(BODY), 503, "secret_bad")
        assert lines.lines[0]["event"] == "configuration.refused"


def test_a_delivery_that_comes_twice_names_one_event_row19(door: Door) -> None:
    assert [door.signed(BODY).status_code, door.signed(BODY, age=20).status_code] == [202, 202]
    assert len({event.id for event in door.bus.published}) == 1


def test_the_same_id_with_another_body_is_another_hint_row20(door: Door) -> None:
    door.signed(GOOD)
    door.signed(GOOD | {"data": {"id": "ftjob-2"}})
    assert len({event.id for event in door.bus.published}) == 2
    assert door.log.codes == ["ok", "ok"]


DEAD = {
    "row21-empty": (b"", "bad_json"),
    "row21-utf8": (b'{"a":"\xff"}', "bad_json"),
    "row21-bom": (b"\xef\xbb\xbf" + BODY, "bad_json"),
    "row21-broken": (BODY[:-1], "bad_json"),
    "row22-list": (b"[]", "bad_shape"),
    "row22-null": (b"null", "bad_shape"),
    "row22-text": (f'"{CANARY}"'.encode(), "bad_shape"),
    "row22-number": (b"1", "bad_shape"),
    "row23-twice": (BODY[:-1] + b',"type":"x"}', "bad_json"),
    "row23-nan": (b'{"a":NaN}', "bad_json"),
    "row23-infinity": (b'{"a":-Infinity}', "bad_json"),
    "row23-overflow": (b'{"a":1e999}', "bad_json"),
    "row23-deep": (b"[" * 33 + b"]" * 33, "bad_json"),
    "row23-very-deep": (b"[" * 60_000, "bad_json"),
    "row23-digits": (b"9" * 6000, "bad_json"),
    "row24-no-data": (json.dumps({"type": KIND}).encode(), "bad_schema"),
    "row24-data": (json.dumps({"type": KIND, "data": CANARY}).encode(), "bad_schema"),
    "row24-no-id": (json.dumps({"type": KIND, "data": {}}).encode(), "bad_schema"),
    "row24-id": (json.dumps({"type": KIND, "data": {"id": 7}}).encode(), "bad_schema"),
    "row24-type": (json.dumps({"type": [CANARY]}).encode(), "bad_schema"),
    **{
        f"row27-{n}": (json.dumps({"type": KIND, "data": {"id": ident}}).encode(), "id_form")
        for n, ident in enumerate(
            ["../x", f"https://{CANARY}", "x" * 10_000, "ftjob-\r\nA: b", "ftjob-", "ftjob-a\n", "\ud800"]
        )
    },
}


@pytest.mark.parametrize(("body", "code"), DEAD.values(), ids=DEAD.keys())
def test_what_is_authentic_and_bad_is_kept_as_a_dead_letter(door: Door, body: bytes, code: str) -> None:
    door.taken(door.signed(body), code, Topic.DEAD_LETTERS)
    letter = door.bus.published[0].payload
    assert isinstance(letter, DeadLetter)
    assert (base64.b64decode(letter.data), letter.reason) == (body, code)


def test_nesting_up_to_the_limit_is_read(door: Door) -> None:
    door.taken(door.signed(b"[" * 32 + b"]" * 32), "bad_shape", Topic.DEAD_LETTERS)


def test_a_type_that_is_not_ours_is_ignored_row25(door: Door) -> None:
    door.taken(door.signed(GOOD | {"type": f"response.{CANARY}"}), "type_unknown", None)


EXTRA = [{"x": CANARY}] + [{"created_at": moment} for moment in (0, 4102444800, 1.5, CANARY)]


@pytest.mark.parametrize("extra", EXTRA, ids=["row26"] + [f"row30-{n}" for n in range(4)])
def test_what_we_do_not_need_is_dropped(door: Door, extra: dict[str, Any]) -> None:
    door.taken(door.signed(GOOD | extra), "ok", Topic.TUNING_JOBS)
    (event,) = door.bus.published
    assert event.data == {"job": "openai:acme:-:ftjob-1", "reason": f"webhook {KIND}", "triggered_by": None}


@pytest.mark.parametrize("body", [BODY, b"[]"], ids=["row31-hint", "row31-dead"])
def test_what_is_not_durable_is_not_accepted(door: Door, body: bytes) -> None:
    door.bus.down = True
    answer = door.signed(body)
    door.refused(answer, 503, "publish")
    assert int(answer.headers["Retry-After"]) > 0


def test_a_bug_answers_without_a_word_of_the_input(door: Door) -> None:
    door.secrets = None  # type: ignore[assignment]
    answer = door.signed(BODY)
    assert (answer.status_code, door.log.lines[0]["event"]) == (500, "handler.crashed")
    door.no_echo(answer)
