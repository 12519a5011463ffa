"""Wire `enforce_promotion`."""

from flask import Request, Response

from ratchet.application.enforce_promotion import enforce_promotion
from ratchet.application.hands import Hands
from ratchet.application.obey_command import obey_command
from ratchet.domain.events import Command, PromotionDue, Topic
from ratchet.domain.outcomes import Outcome
from ratchet.runtime import connect
from ratchet.runtime.push import consume

FUNCTION = connect.prepare("enforce_promotion")


def serve(request: Request) -> Response:
    return consume(
        request,
        _handle,
        function=FUNCTION,
        topics=(Topic.PROMOTIONS, Topic.COMMANDS),
        authenticate=connect.authenticate,
        park=connect.park,
        limits=connect.limits,
    )


def _handle(message: PromotionDue | Command) -> Outcome:
    hands = Hands(
        owner=connect.ids().fresh(),
        store=connect.store(),
        bus=connect.bus(),
        providers=connect.providers(),
        clock=connect.clock(),
        ids=connect.ids(),
        limits=connect.limits(),
        rules=connect.rules(),
        release=connect.settings().release,
    )
    if isinstance(message, Command):
        return obey_command(message, hands)
    return enforce_promotion(message, hands)
