"""The door for the scheduler: a tick carries nothing but the right to ask."""

from collections.abc import Callable

from flask import Request, Response

from ratchet import deadline, log
from ratchet.domain.limits import Limits
from ratchet.domain.outcomes import Outcome
from ratchet.ports import RetryableError
from ratchet.runtime.http import answer, set_body_aside
from ratchet.runtime.ids import new_traceparent
from ratchet.runtime.logging import describe
from ratchet.runtime.oidc import Unauthenticated
from ratchet.runtime.push import Authenticate


def tick(
    request: Request,
    handle: Callable[[], Outcome],
    *,
    function: str,
    authenticate: Callable[[], Authenticate | None],
    limits: Callable[[], Limits],
) -> Response:
    """Answer one tick: 204 when the round is done; what is left of it is the next tick's."""
    with log.bind(new_traceparent(), function=function):
        set_body_aside(request)
        if request.method != "POST":
            return answer(405)
        try:
            check = authenticate()
            if check is not None:
                check(request.headers.get("Authorization"))
            with deadline.within(limits().budget):
                handle()
        except Unauthenticated as exc:
            log.emit(log.Event.PUSH_REJECTED, code=exc.code, status=401)
            return answer(401)
        except RetryableError as exc:
            log.emit(log.Event.RETRIED, code="unavailable", status=503, **describe(exc))
            return answer(503)
        except Exception as exc:  # noqa: BLE001  (the outermost wrapper, as in `push`)
            log.emit(log.Event.HANDLER_CRASHED, code="unexpected", **describe(exc))
            return answer(500)
        return answer(204)
