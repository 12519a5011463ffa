"""Tell an app which model to call.

Trigger:   HTTP, apps (IAM).
Reads:     `aliases`.
Writes:    -
Publishes: -
"""

import functions_framework
from flask import Request
from flask.typing import ResponseReturnValue

from ratchet.runtime.wiring.resolve_alias import serve


@functions_framework.http
def main(request: Request) -> ResponseReturnValue:
    return serve(request)
