"""Wire `resolve_alias`."""

from flask import Request, Response

from ratchet.runtime import connect
from ratchet.runtime.alias_door import serve_alias

FUNCTION = connect.prepare("resolve_alias")


def serve(request: Request) -> Response:
    return serve_alias(request, connect.store())
