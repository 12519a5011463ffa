"""Wire `receive_webhook`."""

from functools import cache

from flask import Request, Response

from ratchet.runtime import connect
from ratchet.runtime.webhook import receive
from ratchet.runtime.webhook_secrets import WebhookSecrets, with_secrets

FUNCTION = connect.prepare("receive_webhook")


def serve(request: Request) -> Response:
    return receive(request, _secrets(), connect.bus(), connect.clock())


@cache
def _secrets() -> WebhookSecrets:
    return WebhookSecrets(with_secrets(connect.settings()))
