"""The door for people's commands: who asks, what for and why, published once and answered with its decision's key."""

import os
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from flask import Request, Response, jsonify

from ratchet import log
from ratchet.domain.decision import command_key
from ratchet.domain.events import Command, Event, Topic, Verb
from ratchet.domain.keys import ALL_ALIASES, AliasKey, CheckpointKey
from ratchet.ports import Bus, BusUnavailable, Clock, Ids
from ratchet.runtime import strict_json
from ratchet.runtime.actor import local_actor
from ratchet.runtime.http import CutOff, TooLarge, answer, is_encoded, is_json, raw_path, read_body, set_body_aside
from ratchet.runtime.ids import new_traceparent
from ratchet.runtime.logging import describe
from ratchet.runtime.oidc import Unauthenticated, claims_of_verified

FUNCTION = "receive_command"
PATH = "/v1/commands"
MAX_BODY = 4096
LIFETIME = timedelta(minutes=10)

_FIELDS = frozenset({"verb", "alias", "reason", "checkpoint", "decision", "force", "id"})
_VOTES = (Verb.APPROVE, Verb.REJECT)
_DIGEST = re.compile(r"[0-9a-f]{64}")


def receive_command(request: Request, bus: Bus, clock: Clock, ids: Ids) -> Response:
    """Answer one command: 202 once it is durable."""
    with log.bind(new_traceparent(), function=FUNCTION):
        try:
            return _receive(request, bus, clock, ids)
        except BusUnavailable:
            return _reject(503, "publish")
        except Exception as exc:  # noqa: BLE001  (the outermost wrapper: a bug answers 500 without a word of the input)
            log.emit(log.Event.HANDLER_CRASHED, code="unexpected", **describe(exc))
            return answer(500)


def _receive(request: Request, bus: Bus, clock: Clock, ids: Ids) -> Response:
    set_body_aside(request)
    if request.method != "POST":
        return _reject(405, "method")
    if raw_path(request) != PATH:
        return _reject(404, "path")
    if not is_json(request) or is_encoded(request):
        return _reject(415, "ctype")
    try:
        actor, verified = _actor(request)
        command = _command(strict_json.loads(read_body(request, MAX_BODY)), actor, verified, clock, ids)
    except Unauthenticated as exc:
        return _reject(401, exc.code)
    except TooLarge:
        return _reject(413, "size")
    except strict_json.NotJson:
        return _reject(400, "bad_json")
    except (CutOff, ValueError):
        return _reject(400, "bad_command")
    bus.publish(Event(topic=Topic.COMMANDS, id=f"command-{command.id}", source=FUNCTION, payload=command))
    log.emit(
        log.Event.COMMAND_ACCEPTED, code="ok", event_id=f"command-{command.id}", verb=command.verb,
        alias=str(command.alias), actor_verified=verified,
    )  # fmt: skip
    response = jsonify(id=command.id, decision=command_key(command.alias, command.id))
    response.status_code = 202
    return response


def _actor(request: Request) -> tuple[str, bool]:
    if not os.environ.get("K_SERVICE"):
        return local_actor(), False
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        raise Unauthenticated("oidc_missing")
    claims = claims_of_verified(token)
    email = claims.get("email")
    if not isinstance(email, str) or not 3 <= len(email) <= 254 or claims.get("email_verified") is not True:
        raise Unauthenticated("oidc_email")
    return email, True


def _command(body: Any, actor: str, verified: bool, clock: Clock, ids: Ids) -> Command:
    """Raises: ValueError: not a command."""
    if not isinstance(body, dict) or not body.keys() <= _FIELDS:
        raise ValueError("not a command")
    force = body.get("force", False)
    reason = _text(body, "reason").strip()
    if not reason or len(reason) > 500 or not reason.isprintable() or type(force) is not bool:
        raise ValueError("no reason")
    verb, alias = Verb(_text(body, "verb")), AliasKey.parse(_text(body, "alias"))
    checkpoint = CheckpointKey.parse(_text(body, "checkpoint")) if body.get("checkpoint") is not None else None
    if (verb is Verb.PROMOTE) is not (checkpoint is not None):
        raise ValueError("a checkpoint is what a promotion has, and nothing else")
    decision = _text(body, "decision") if body.get("decision") is not None else None
    if (verb in _VOTES) is not (decision is not None) and verb is not Verb.ROLL_BACK:
        raise ValueError("a vote has the decision that asks, a roll-back perhaps the one that it ends, no other any")
    if decision is not None and not _DIGEST.fullmatch(decision):
        raise ValueError("not a decision")
    if alias == ALL_ALIASES and verb not in (Verb.HOLD, Verb.RELEASE):
        raise ValueError("all aliases can be held and released, no more")
    if alias != alias.served:
        raise ValueError("a shadow serves nothing")
    now = clock.now()
    return Command(
        id=_id(body, ids), verb=verb, alias=alias, reason=reason, actor=actor, actor_verified=verified,
        issued_at=now, expires_at=now + LIFETIME, checkpoint=checkpoint, decision=decision, force=force,
    )  # fmt: skip


def _id(body: Mapping[str, Any], ids: Ids) -> str:
    given = _text(body, "id") if body.get("id") is not None else ids.fresh()
    if not (given.isascii() and 8 <= len(given) <= 64 and given.replace("-", "").isalnum()):
        raise ValueError("not an id")
    return given


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str):
        raise ValueError("not a text")
    return value


def _reject(status: int, code: str) -> Response:
    log.emit(log.Event.COMMAND_REJECTED, code=code, status=status)
    return answer(status)
