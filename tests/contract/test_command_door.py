"""The command door, through the functions framework."""

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from ratchet.domain.decision import command_key
from ratchet.domain.events import Command, Topic
from ratchet.domain.keys import AliasKey
from ratchet.runtime.command_door import receive_command
from ratchet.runtime.ids import SystemIds
from support.recording import FixedClock, LogLines, RecordingBus, captured, framework_app

CANARY = "canaryCANARYcanary"
HOLD = {"verb": "hold", "alias": "line@prod", "reason": f"because {CANARY}"}


@dataclass
class Door:
    log: LogLines
    bus: RecordingBus = field(default_factory=RecordingBus)
    clock: FixedClock = field(default_factory=FixedClock)
    app: Flask = field(init=False)

    def post(self, body: Any, **changes: Any) -> Any:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", **changes.pop("headers", {})}
        answer = self.app.test_client().open(
            changes.pop("path", "/v1/commands"), method=changes.pop("method", "POST"), data=content, headers=headers
        )
        assert CANARY not in answer.get_data(as_text=True) + self.log.text
        return answer

    @property
    def command(self) -> Command:
        (event,) = self.bus.published
        assert event.topic is Topic.COMMANDS
        assert isinstance(event.payload, Command)
        return event.payload


@pytest.fixture
def door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Door]:
    monkeypatch.delenv("K_SERVICE", raising=False)
    monkeypatch.setenv("USER", "ann")
    with captured("receive_command") as lines:
        made = Door(lines)
        made.app = framework_app(tmp_path, lambda r: receive_command(r, made.bus, made.clock, SystemIds()))
        yield made


def test_a_command_is_published_and_answered_with_its_decision(door: Door) -> None:
    answer = door.post({**HOLD, "id": "command-1"})
    assert answer.status_code == 202
    assert answer.json == {"id": "command-1", "decision": command_key(AliasKey("line", "prod"), "command-1")}
    assert (door.command.actor, door.command.actor_verified) == ("local:ann", False)
    assert door.command.expires_at - door.command.issued_at == timedelta(minutes=10)
    assert door.log.lines[0]["event"] == "command.accepted"


PROMOTE = {"verb": "promote", "alias": "line@prod", "reason": "r"}
ASKS = "0123456789abcdef" * 4
BAD = [
    {**HOLD, "verb": "explode"}, {**HOLD, "reason": " "}, {**HOLD, "reason": None}, {"verb": "hold", "alias": "a@b"},
    {**HOLD, "alias": "x"}, {**HOLD, "actor": CANARY}, {**HOLD, "force": "yes"}, {**HOLD, "id": "../../etc"}, PROMOTE,
    {**HOLD, "checkpoint": "x"}, {**HOLD, "alias": "*", "verb": "rollback"}, {**HOLD, "reason": "a\nb"},
    {**HOLD, "verb": "approve"}, {**HOLD, "verb": "reject", "decision": None}, {**HOLD, "decision": ASKS},
    *({**HOLD, "verb": "approve", "decision": bad} for bad in (ASKS[:-1], ASKS + "0", ASKS.upper(), "d-" + ASKS[:6])),
    *({**HOLD, "verb": "approve", "decision": bad} for bad in (ASKS + "\n", 7, [ASKS], "")),
    {**HOLD, "verb": "approve", "decision": ASKS, "alias": "*"},
    {**HOLD, "alias": "line@prod~other"}, {**HOLD, "verb": "rollback", "alias": "line@prod~other"},
    {**HOLD, "verb": "approve", "decision": ASKS, "alias": "line@prod~other"},
    {**HOLD, "verb": "release", "decision": ASKS}, {**PROMOTE, "checkpoint": "openai:a:-:b/c", "decision": ASKS},
    {**HOLD, "verb": "rollback", "decision": "d-" + ASKS[:6]},
    [], None, b"{", b'{"verb":"hold","verb":"hold"}', b"", {**PROMOTE, "checkpoint": "openai:a:-:b"},
]  # fmt: skip


@pytest.mark.parametrize("verb", ["approve", "reject"])
def test_a_vote_names_the_decision_that_asks(door: Door, verb: str) -> None:
    assert door.post({**HOLD, "verb": verb, "decision": ASKS}).status_code == 202
    assert (door.command.verb, door.command.decision) == (verb, ASKS)


@pytest.mark.parametrize("decision", [None, ASKS])
def test_a_roll_back_may_name_the_promotion_that_it_ends(door: Door, decision: str | None) -> None:
    assert door.post({**HOLD, "verb": "rollback", "decision": decision}).status_code == 202
    assert (door.command.verb, door.command.decision) == ("rollback", decision)


def test_a_promotion_needs_a_checkpoint_and_no_decision(door: Door) -> None:
    assert door.post({**PROMOTE, "checkpoint": "openai:a:-:b/c"}).status_code == 202
    assert (str(door.command.checkpoint), door.command.decision) == ("openai:a:-:b/c", None)


@pytest.mark.parametrize("body", BAD, ids=range(len(BAD)))
def test_what_is_no_command_is_refused(door: Door, body: Any) -> None:
    assert door.post(body).status_code == 400
    assert (door.log.lines[0]["event"], door.bus.published) == ("command.rejected", [])


@pytest.mark.parametrize(("size", "status"), [(4096, 202), (4097, 413)])
def test_a_command_is_at_most_four_kib(door: Door, size: int, status: int) -> None:
    body = json.dumps(HOLD).encode()
    assert door.post(body + b" " * (size - len(body))).status_code == status


@pytest.mark.parametrize(
    ("change", "status"),
    [({"method": "GET"}, 405), ({"path": "/"}, 404), ({"headers": {"Content-Type": "text/plain"}}, 415)],
)
def test_a_request_elsewhere_has_no_effect(door: Door, change: dict[str, Any], status: int) -> None:
    assert door.post(HOLD, **change).status_code == status
    assert not door.bus.published


def test_what_is_not_durable_is_not_accepted(door: Door) -> None:
    door.bus.down = True
    assert door.post(HOLD).status_code == 503


def bearer(**claims: Any) -> dict[str, str]:
    middle = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return {"Authorization": f"Bearer e30.{middle}.SIGNATURE_REMOVED"}


def test_in_the_cloud_the_actor_is_the_tokens(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("K_SERVICE", "receive-command")
    assert door.post(HOLD, headers=bearer(email="ann@example.com", email_verified=True)).status_code == 202
    assert (door.command.actor, door.command.actor_verified) == ("ann@example.com", True)


TOKENS = [{}, bearer(), bearer(email="a@example.com"), {"Authorization": "Bearer x"}, {"Authorization": "Basic a.b.c"}]


@pytest.mark.parametrize("headers", TOKENS, ids=range(len(TOKENS)))
def test_in_the_cloud_nobody_is_anonymous(door: Door, monkeypatch: pytest.MonkeyPatch, headers: dict[str, str]) -> None:
    monkeypatch.setenv("K_SERVICE", "receive-command")
    assert door.post(HOLD, headers=headers).status_code == 401
    assert not door.bus.published
