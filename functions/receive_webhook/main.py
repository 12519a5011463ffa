"""Take the webhooks that OpenAI sends when a job ends, and turn each into a hint.

Trigger:   HTTP, public; every delivery is signed, and refused with one constant answer if it is not.
Reads:     webhook secrets (mounted files).
Writes:    -
Publishes: `tuning-jobs`; `dead-letters`, what is authentic and can never be read.
"""

import functions_framework
from flask import Request
from flask.typing import ResponseReturnValue

from ratchet.runtime.wiring.receive_webhook import serve


@functions_framework.http
def main(request: Request) -> ResponseReturnValue:
    return serve(request)
