"""The door that apps ask which model to call: `GET /v1/aliases/LINE@ALIAS[?serial=N]`.

The entity tag is the alias's serial, which only rises. A caller that has seen a higher one than ours looks at a store
that was restored to an older state: it gets 409 and no model.
"""

import json
import re
from dataclasses import asdict

from flask import Request, Response

from ratchet import log
from ratchet.application.resolve_alias import resolve_alias
from ratchet.domain.keys import ALL_ALIASES, AliasKey
from ratchet.ports import RetryableError, Store
from ratchet.runtime.http import answer, raw_path, set_body_aside
from ratchet.runtime.ids import new_traceparent
from ratchet.runtime.logging import describe

FUNCTION = "resolve_alias"
PREFIX = "/v1/aliases/"
_SERIAL = re.compile(r"[0-9]{1,18}")
_CACHE = "max-age=30, stale-if-error=86400"


def serve_alias(request: Request, store: Store) -> Response:
    """200, 304 with a matching `If-None-Match`, 400 a bad name, 404 nothing serves, 409 the caller has seen more."""
    with log.bind(new_traceparent(), function=FUNCTION):
        set_body_aside(request)
        try:
            return _serve(request, store)
        except Exception as exc:  # noqa: BLE001  (the outermost wrapper: a bug answers 500 without a word of the input)
            log.emit(log.Event.HANDLER_CRASHED, code="unexpected", **describe(exc))
            return answer(500)


def _serve(request: Request, store: Store) -> Response:
    if request.method not in ("GET", "HEAD"):
        return answer(405, allow="GET")
    path = raw_path(request)
    if not path.startswith(PREFIX):
        return answer(404)
    try:
        key = AliasKey.parse(path.removeprefix(PREFIX).replace("%40", "@"))
        seen = _serial(request.args.get("serial", "0"))
    except ValueError:
        return answer(400)
    if key == ALL_ALIASES:
        return answer(400)
    try:
        resolved = resolve_alias(key, store=store)
    except RetryableError as exc:
        log.emit(log.Event.ALIAS_UNREAD, code="unavailable", alias=str(key), **describe(exc))
        return answer(503)
    serial = resolved.serial if resolved else 0
    if seen > serial:
        log.emit(log.Event.ALIAS_REGRESSED, code="alias_regress", alias=str(key), serial=serial, seen=seen)
        return answer(409)
    if resolved is None:
        return answer(404)
    headers = {"ETag": f'"{serial}"', "Cache-Control": _CACHE}
    if str(serial) in request.if_none_match:
        return Response(status=304, headers=headers)
    return Response(json.dumps(asdict(resolved)) + "\n", 200, headers, content_type="application/json")


def _serial(text: str) -> int:
    """Raises: ValueError: not written as we write serials. `int` would take spaces, signs and thousands of digits."""
    if not _SERIAL.fullmatch(text):
        raise ValueError("not a serial")
    return int(text)
