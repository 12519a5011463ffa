"""Wire `reconcile`."""

from flask import Request, Response

from ratchet.application.reconcile import reconcile
from ratchet.domain.outcomes import Outcome
from ratchet.runtime import connect
from ratchet.runtime.schedule import tick

FUNCTION = connect.prepare("reconcile")


def serve(request: Request) -> Response:
    return tick(request, _handle, function=FUNCTION, authenticate=connect.authenticate, limits=connect.limits)


def _handle() -> Outcome:
    return reconcile(
        store=connect.store(),
        bus=connect.bus(),
        providers=connect.providers(),
        clock=connect.clock(),
        ids=connect.ids(),
        rules_digest=connect.rules().digest,
        since=connect.since(),
        limits=connect.limits(),
        canary=connect.settings().canary,
    )
