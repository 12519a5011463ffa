"""Wire `park_dead_letter`."""

from flask import Request, Response

from ratchet.application.park_dead_letter import park_dead_letter
from ratchet.domain.events import DeadLetter, Topic
from ratchet.domain.outcomes import Outcome
from ratchet.runtime import connect
from ratchet.runtime.push import consume

FUNCTION = connect.prepare("park_dead_letter")


def serve(request: Request) -> Response:
    return consume(
        request,
        _handle,
        function=FUNCTION,
        topics=(Topic.DEAD_LETTERS,),
        authenticate=connect.authenticate,
        park=connect.park,
        limits=connect.limits,
    )


def _handle(letter: DeadLetter) -> Outcome:
    return park_dead_letter(letter, store=connect.store(), clock=connect.clock(), ids=connect.ids())
