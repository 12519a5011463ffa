"""Look at a tuning job, and say of each of its checkpoints what is new.

Trigger:   topic `tuning-jobs`, at least once, in any order: hints, and the raw entries of the audit-log sink.
Reads:     provider: the job and its checkpoints; this job's documents; the digest of the policies.
Writes:    `jobs`.
Publishes: `checkpoints`, one per new or changed checkpoint; `promotions`, when the job has ended.
"""

import functions_framework
from flask import Request
from flask.typing import ResponseReturnValue

from ratchet.runtime.wiring.track_tuning_job import serve


@functions_framework.http
def main(request: Request) -> ResponseReturnValue:
    return serve(request)
