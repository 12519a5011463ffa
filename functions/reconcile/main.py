"""Wake whatever is due, visit what was selected under older rules, and discover jobs.

Trigger:   Cloud Scheduler, each minute.
Reads:     due documents; the digest of the policies; the providers' job lists.
Writes:    `next_look_at` and `looks`, nothing else.
Publishes: `tuning-jobs`, `smoke-tests`, `promotions`.
"""

import functions_framework
from flask import Request
from flask.typing import ResponseReturnValue

from ratchet.runtime.wiring.reconcile import serve


@functions_framework.http
def main(request: Request) -> ResponseReturnValue:
    return serve(request)
