"""What every HTTP door shares: constant answers, bodies read up to a cap, and the path as it was sent."""

import io
from collections.abc import Mapping

from flask import Request, Response
from werkzeug.exceptions import BadRequest

RETRY_AFTER_SECONDS = 10

_ASIDE = "ratchet.body"

_BODIES: Mapping[int, bytes] = {
    202: b'{"status":"accepted"}\n',
    400: b'{"error":"bad request"}\n',
    401: b'{"error":"not authenticated"}\n',
    404: b'{"error":"not found"}\n',
    405: b'{"error":"method not allowed"}\n',
    409: b'{"error":"an older state"}\n',
    413: b'{"error":"too large"}\n',
    415: b'{"error":"unsupported media type"}\n',
    500: b'{"error":"internal error"}\n',
    503: b'{"error":"try again later"}\n',
}
"""Nothing of a request is ever in an answer, so that no door can be used as a mirror."""


class TooLarge(Exception):
    """The body is larger than the door takes."""


class CutOff(Exception):
    """The sender went away before the body was complete."""


def answer(status: int, *, allow: str = "POST") -> Response:
    """The one answer that has this status."""
    if status == 204:
        return Response(status=204)
    response = Response(_BODIES[status], status, content_type="application/json")
    if status == 503:
        response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    if status == 405:
        response.headers["Allow"] = allow
    return response


def set_body_aside(request: Request) -> None:
    """Keep the body from everybody but `read_body`.

    After each answer the functions framework reads all that is left of a body into memory (its `read_request`),
    whatever the door refused.
    """
    request.environ[_ASIDE] = request.stream
    request.stream = io.BytesIO()


def read_body(request: Request, cap: int) -> bytes:
    """The raw body, which was set aside before; not a byte of it is read when its announced length is over the cap.

    Raises: TooLarge, CutOff.
    """
    if request.content_length is not None and request.content_length > cap:
        raise TooLarge
    stream = request.environ[_ASIDE]
    body = bytearray()
    try:
        while len(body) <= cap and (chunk := stream.read(cap + 1 - len(body))):
            body += chunk
    except (BadRequest, OSError) as exc:
        raise CutOff from exc
    if len(body) > cap:
        raise TooLarge
    return bytes(body)


def raw_path(request: Request) -> str:
    """The path without decoding: `%2F` is not a slash here, whatever the server made of it."""
    raw: str = request.environ.get("RAW_URI") or request.environ.get("REQUEST_URI") or request.path
    return raw.partition("?")[0]


def is_json(request: Request) -> bool:
    return request.mimetype == "application/json"


def is_encoded(request: Request) -> bool:
    return request.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity")
