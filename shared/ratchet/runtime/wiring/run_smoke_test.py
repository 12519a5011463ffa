"""Wire `run_smoke_test`."""

from flask import Request, Response

from ratchet.adapters.assertions.grade import grade
from ratchet.application.run_smoke_test import run_smoke_test
from ratchet.domain.events import SmokeTestDue, Topic
from ratchet.domain.outcomes import Outcome
from ratchet.runtime import connect
from ratchet.runtime.push import consume

FUNCTION = connect.prepare("run_smoke_test")


def serve(request: Request) -> Response:
    return consume(
        request,
        _handle,
        function=FUNCTION,
        topics=(Topic.SMOKE_TESTS,),
        authenticate=connect.authenticate,
        park=connect.park,
        limits=connect.limits,
    )


def _handle(due: SmokeTestDue) -> Outcome:
    return run_smoke_test(
        due,
        store=connect.store(),
        bus=connect.bus(),
        providers=connect.providers(),
        clock=connect.clock(),
        ids=connect.ids(),
        rules=connect.rules(),
        limits=connect.limits(),
        judge=grade,
        prices={model: price.price() for model, price in connect.settings().prices.items()},
    )
