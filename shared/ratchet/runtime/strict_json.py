"""JSON as strangers may send it: what two readers could understand differently is refused."""

import json
import math
import re
from typing import Any

MAX_DEPTH = 32

# A string without an end reaches to the end of the text: were each of its quotes tried in turn, the time would grow
# with the square of the length.
_STRING = re.compile(r'"(?:[^"\\]|\\.)*(?:"|\\?\Z)', re.DOTALL)


class NotJson(ValueError):
    """Not UTF-8, a BOM, broken, nested too deeply, a key twice, or a number that JSON does not have."""


def loads(body: bytes) -> Any:
    """Raises: NotJson."""
    try:
        text = body.decode()
    except UnicodeDecodeError as exc:
        raise NotJson("not UTF-8") from exc
    # Before parsing: the parser recurses, and its limit depends on the interpreter.
    if _depth(text) > MAX_DEPTH:
        raise NotJson("nested too deeply")
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_refuse, parse_float=_finite)
    except NotJson:
        raise
    # Also an integer of more digits than Python converts.
    except ValueError as exc:
        raise NotJson("not JSON") from exc


def _depth(text: str) -> int:
    depth = deepest = 0
    for sign in _STRING.sub("", text):
        if sign in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif sign in "]}":
            depth -= 1
    return deepest


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise NotJson("a key twice")
    return found


def _refuse(_: str) -> Any:
    raise NotJson("not a finite number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise NotJson("not a finite number")
    return number
