"""Take what an operator asks for, with the actor that the platform has verified.

Trigger:   HTTP, operators (IAM).
Reads:     -
Writes:    -
Publishes: `commands`.
"""

import functions_framework
from flask import Request
from flask.typing import ResponseReturnValue

from ratchet.runtime.wiring.receive_command import serve


@functions_framework.http
def main(request: Request) -> ResponseReturnValue:
    return serve(request)
