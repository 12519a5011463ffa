"""Wire `record_checkpoint`."""

from flask import Request, Response

from ratchet.application.record_checkpoint import record_checkpoint
from ratchet.domain.events import CheckpointSeen, Topic
from ratchet.domain.outcomes import Outcome
from ratchet.runtime import connect
from ratchet.runtime.push import consume

FUNCTION = connect.prepare("record_checkpoint")


def serve(request: Request) -> Response:
    return consume(
        request,
        _handle,
        function=FUNCTION,
        topics=(Topic.CHECKPOINTS,),
        authenticate=connect.authenticate,
        park=connect.park,
        limits=connect.limits,
    )


def _handle(seen: CheckpointSeen) -> Outcome:
    return record_checkpoint(
        seen,
        store=connect.store(),
        bus=connect.bus(),
        clock=connect.clock(),
        ids=connect.ids(),
        rules=connect.rules(),
        since=connect.since(),
    )
