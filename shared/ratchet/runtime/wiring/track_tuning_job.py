"""Wire `track_tuning_job`."""

from dataclasses import replace

from flask import Request, Response

from ratchet.application.track_tuning_job import track_tuning_job
from ratchet.domain.events import Topic, TuningJobHint
from ratchet.domain.outcomes import Outcome
from ratchet.runtime import connect
from ratchet.runtime.push import consume

FUNCTION = connect.prepare("track_tuning_job")


def serve(request: Request) -> Response:
    return consume(
        request,
        _handle,
        function=FUNCTION,
        topics=(Topic.TUNING_JOBS,),
        authenticate=connect.authenticate,
        park=connect.park,
        limits=connect.limits,
    )


def _handle(hint: TuningJobHint) -> Outcome:
    providers = connect.providers()
    return track_tuning_job(
        replace(hint, job=providers.canonical(hint.job)),
        store=connect.store(),
        bus=connect.bus(),
        providers=providers,
        clock=connect.clock(),
        ids=connect.ids(),
        rules_digest=connect.rules().digest,
    )
