"""The door for pushed messages: what arrives is checked, handled once, and answered so that the right side retries.

Acknowledged (204) is whatever is recorded, to be ignored, deferred to a timer, or parked as dead. Everything else is
delivered again.
"""

from collections.abc import Callable, Sequence
from typing import Any, assert_never

from flask import Request, Response

from ratchet import deadline, log
from ratchet.domain.codec import format_time
from ratchet.domain.events import DeadLetter, Topic
from ratchet.domain.limits import Limits
from ratchet.domain.outcomes import Deferred, Ignored, Outcome, Recorded
from ratchet.ports import PermanentError, RetryableError
from ratchet.runtime.envelope import Push, SchemaNewer, read, unwrap
from ratchet.runtime.http import CutOff, TooLarge, answer, is_encoded, is_json, read_body, set_body_aside
from ratchet.runtime.ids import continued, new_traceparent
from ratchet.runtime.logging import describe
from ratchet.runtime.oidc import Unauthenticated

MAX_BODY = 15 * 1024 * 1024  # Pub/Sub's 10 MiB in base64. One refused here could not even be parked.

Authenticate = Callable[[str | None], None]


def consume(
    request: Request,
    handle: Callable[[Any], Outcome],
    *,
    function: str,
    topics: Sequence[Topic],
    authenticate: Callable[[], Authenticate | None],
    park: Callable[[DeadLetter], object],
    limits: Callable[[], Limits],
) -> Response:
    """Answer one push.

    `handle` gets the payload of the topic. The path names the topic (`/commands`); a function of one topic also takes
    `/`. `authenticate` gives the check of the Authorization header, or None where push authentication is off. It,
    `park` and `limits` connect at the first use.
    """
    with log.bind(new_traceparent(), function=function):
        try:
            received = _receive(request, topics, authenticate)
        except Exception as exc:  # noqa: BLE001  (the outermost wrapper: a bug answers 500 without a word of the input)
            log.emit(log.Event.HANDLER_CRASHED, code="unexpected", **describe(exc))
            return answer(500)
    if isinstance(received, Response):
        return received
    push, topic = received
    facts: dict[str, Any] = {"function": function, "topic": topic, "event_id": push.event_id}
    if push.attempt is not None:
        facts["delivery_attempt"] = push.attempt
    with log.bind(continued(push.attributes.get("traceparent")), **facts), deadline.within(limits().budget):
        return settle(push, topic, handle, park)


def _receive(
    request: Request, topics: Sequence[Topic], authenticate: Callable[[], Authenticate | None]
) -> tuple[Push, Topic] | Response:
    set_body_aside(request)
    if request.method != "POST":
        return _reject(405, "method")
    topic = _topic(request.path, topics)
    if topic is None:
        return _reject(404, "path")
    check = authenticate()
    if check is not None:
        try:
            check(request.headers.get("Authorization"))
        except Unauthenticated as exc:
            return _reject(401, exc.code)
    if not is_json(request):
        return _reject(415, "ctype")
    if is_encoded(request):
        return _reject(415, "encoding")
    try:
        return unwrap(read_body(request, MAX_BODY)), topic
    except TooLarge:
        return _reject(413, "size")
    except CutOff:
        return _reject(400, "cut_off")


def _topic(path: str, topics: Sequence[Topic]) -> Topic | None:
    if path == "/" and len(topics) == 1:
        return topics[0]
    return next((topic for topic in topics if path == f"/{topic}"), None)


def settle(
    push: Push, topic: Topic, handle: Callable[[Any], Outcome], park: Callable[[DeadLetter], object]
) -> Response:
    """Handle a message that was let in, and say whether it is to be delivered again."""
    try:
        try:
            content = read(push, topic)
            _report(content if isinstance(content, Ignored) else handle(content))
        except PermanentError as exc:
            park(push.dead(topic, exc.code))
            if exc.afterwards is not None:
                exc.afterwards()
            log.emit(log.Event.SETTLED, outcome="dead", code=exc.code)
    except SchemaNewer:
        return _retry(503, "schema_new")
    except RetryableError as exc:
        return _retry(503, "unavailable", **describe(exc))
    except Exception as exc:  # noqa: BLE001  (the outermost wrapper: a bug answers 500 without a word of the input)
        log.emit(log.Event.HANDLER_CRASHED, code="unexpected", **describe(exc))
        return _retry(500, "unexpected")
    return answer(204)


def _report(outcome: Outcome) -> None:
    match outcome:
        case Recorded():
            log.emit(log.Event.SETTLED, outcome="recorded", code="ok")
        case Ignored(reason):
            log.emit(log.Event.SETTLED, outcome="ignored", code="ok", reason=reason)
        case Deferred(until):
            log.emit(log.Event.SETTLED, outcome="deferred", code="ok", until=format_time(until))
        case _:
            assert_never(outcome)


def _retry(status: int, code: str, **facts: Any) -> Response:
    log.emit(log.Event.RETRIED, code=code, status=status, **facts)
    return answer(status)


def _reject(status: int, code: str) -> Response:
    log.emit(log.Event.PUSH_REJECTED, code=code, status=status)
    return answer(status)
