"""Decide what an alias serves, by policy or by command, and carry it out.

Trigger:   topics `promotions` and `commands`, at least once, in any order.
Reads:     policies, the alias, the job, its candidates and their evidence.
Writes:    `aliases`, `models`, `decisions`, `history`, `checkpoints` (what is open), `rules`; the provider's default.
Publishes: `decisions`.
"""

import functions_framework
from flask import Request
from flask.typing import ResponseReturnValue

from ratchet.runtime.wiring.enforce_promotion import serve


@functions_framework.http
def main(request: Request) -> ResponseReturnValue:
    return serve(request)
