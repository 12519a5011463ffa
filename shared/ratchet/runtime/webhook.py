"""The door for OpenAI's webhooks: verified bytes become a hint, or a dead letter, before the sender is answered.

Method, path, lengths, form, age, signature, JSON, schema, publish: in this order, so that strangers cost little.
"""

import base64
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass

from flask import Request, Response

from ratchet import log
from ratchet.domain.events import DeadLetter, Event, Topic, TuningJobHint
from ratchet.domain.keys import JobKey, Provider, digest
from ratchet.ports import Bus, BusUnavailable, Clock, PermanentError
from ratchet.runtime import strict_json
from ratchet.runtime.http import CutOff, TooLarge, answer, is_encoded, is_json, raw_path, read_body, set_body_aside
from ratchet.runtime.ids import new_traceparent
from ratchet.runtime.logging import describe
from ratchet.runtime.settings import SettingsError
from ratchet.runtime.webhook_signature import Rejection, Secrets, Unverified, Verified, verify

FUNCTION = "receive_webhook"
TOPIC_OF_DEAD = "webhooks-openai"
"""No topic: where a dead letter says that it came in by this door."""
MAX_BODY = 64 * 1024
KNOWN = frozenset({"fine_tuning.job.succeeded", "fine_tuning.job.failed", "fine_tuning.job.cancelled"})

_JOB = re.compile(r"ftjob-[A-Za-z0-9_-]{1,120}")


@dataclass(frozen=True, slots=True)
class _Dead:
    code: str


@dataclass(frozen=True, slots=True)
class _Foreign:
    """An event of a type that is not ours."""


def receive(
    request: Request,
    secrets: Callable[[bool], Secrets],
    bus: Bus,
    clock: Clock,
    path: str = "/webhooks/openai",
) -> Response:
    """Answer one delivery. `secrets(True)` asks for keys read anew, because none of those at hand fits."""
    with log.bind(new_traceparent(), function=FUNCTION):
        try:
            return _receive(request, secrets, bus, clock, path)
        except SettingsError:
            log.emit(log.Event.CONFIGURATION_REFUSED, code="secret_bad")
            return answer(503)
        except BusUnavailable:
            return _reject(503, "publish")
        # The outermost wrapper: what nobody foresaw is answered without a word of what was sent.
        except Exception as exc:  # noqa: BLE001
            log.emit(log.Event.HANDLER_CRASHED, code="unexpected", **describe(exc))
            return answer(500)


def _receive(request: Request, secrets: Callable[[bool], Secrets], bus: Bus, clock: Clock, path: str) -> Response:
    set_body_aside(request)
    if request.method != "POST":
        return _reject(405, "method")
    if raw_path(request) != path:
        return _reject(404, "path")
    if not is_json(request):
        return _reject(415, "ctype")
    if is_encoded(request):
        return _reject(415, "encoding")
    try:
        unverified = Unverified(read_body(request, MAX_BODY))
    except TooLarge:
        return _reject(413, "size")
    except CutOff:
        return _reject(400, "cut_off")
    headers = {name.lower(): value for name, value in request.headers.items()}
    verdict = verify(headers, unverified, secrets(False), clock.now())
    if verdict == Rejection("sig_bad"):
        verdict = verify(headers, unverified, secrets(True), clock.now())
    if isinstance(verdict, Rejection):
        return _reject(401, verdict.code)
    return _publish(verdict, bus)


def _publish(verified: Verified, bus: Bus) -> Response:
    content = _read(verified.body, verified.account)
    if isinstance(content, _Foreign):
        log.emit(log.Event.WEBHOOK_ACCEPTED, code="type_unknown", account=verified.account, outcome="ignored")
        return answer(202)
    event = _dead_letter(verified, content) if isinstance(content, _Dead) else _hint(content)
    bus.publish(event)
    good = "ok_old" if verified.secret_index else "ok"
    code = content.code if isinstance(content, _Dead) else good
    log.emit(log.Event.WEBHOOK_ACCEPTED, code=code, account=verified.account, event_id=event.id, topic=event.topic)
    return answer(202)


def read_again(body: bytes, account: str) -> Event:
    """What a verified body that died here says to the code of today.

    Raises:
        PermanentError: it still cannot be read, or is nothing to us (`type_unknown`).
    """
    content = _read(body, account)
    if isinstance(content, TuningJobHint):
        return _hint(content)
    raise PermanentError(content.code if isinstance(content, _Dead) else "type_unknown")


def _read(body: bytes, account: str) -> TuningJobHint | _Dead | _Foreign:
    try:
        content = strict_json.loads(body)
    except strict_json.NotJson:
        return _Dead("bad_json")
    if not isinstance(content, dict):
        return _Dead("bad_shape")
    kind, data = content.get("type"), content.get("data")
    if not isinstance(kind, str):
        return _Dead("bad_schema")
    if kind not in KNOWN:
        return _Foreign()
    ident = data.get("id") if isinstance(data, dict) else None
    if not isinstance(ident, str):
        return _Dead("bad_schema")
    if not _JOB.fullmatch(ident):
        return _Dead("id_form")
    return TuningJobHint(job=JobKey(Provider.OPENAI, account, "-", ident), reason=f"webhook {kind}")


def _hint(hint: TuningJobHint) -> Event:
    ident = "webhook-" + digest(hint.job.account, hint.job.id, hint.reason)
    return Event(topic=Topic.TUNING_JOBS, id=ident, source=FUNCTION, payload=hint)


def _dead_letter(verified: Verified, dead: _Dead) -> Event:
    ident = "webhook-" + digest(verified.account, hashlib.sha256(verified.body).hexdigest())
    letter = DeadLetter(
        event_id=ident,
        topic=TOPIC_OF_DEAD,
        attributes={"account": verified.account},
        data=base64.b64encode(verified.body).decode(),
        reason=dead.code,
    )
    return Event(topic=Topic.DEAD_LETTERS, id=ident, source=FUNCTION, payload=letter)


def _reject(status: int, code: str) -> Response:
    log.emit(log.Event.WEBHOOK_REJECTED, code=code, status=status)
    return answer(status)
