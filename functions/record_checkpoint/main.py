"""Record a checkpoint that a job exports, and say which suites must run on it.

Trigger:   topic `checkpoints`, at least once, in any order.
Reads:     policies.
Writes:    `checkpoints`.
Publishes: `smoke-tests`, one per suite that a policy names.
"""

import functions_framework
from flask import Request
from flask.typing import ResponseReturnValue

from ratchet.runtime.wiring.record_checkpoint import serve


@functions_framework.http
def main(request: Request) -> ResponseReturnValue:
    return serve(request)
