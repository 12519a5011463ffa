"""Keep what could not be handled, until a person replays it.

Trigger:   topic `dead-letters`, at least once.
Reads:     -
Writes:    `dead_letters`.
Publishes: -
"""

import functions_framework
from flask import Request
from flask.typing import ResponseReturnValue

from ratchet.runtime.wiring.park_dead_letter import serve


@functions_framework.http
def main(request: Request) -> ResponseReturnValue:
    return serve(request)
