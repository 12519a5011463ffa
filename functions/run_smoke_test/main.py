"""Run a suite on a checkpoint's own endpoint, as evidence.

Trigger:   topic `smoke-tests`, at least once, in any order.
Reads:     the suite, the checkpoint; calls the endpoint.
Writes:    `smoke_runs`, `case_results`, `checkpoints` (what is open), `rules`.
Publishes: `promotions`, when the last suite is done; `smoke-tests`, when a slice of time is spent.
"""

import functions_framework
from flask import Request
from flask.typing import ResponseReturnValue

from ratchet.runtime.wiring.run_smoke_test import serve


@functions_framework.http
def main(request: Request) -> ResponseReturnValue:
    return serve(request)
