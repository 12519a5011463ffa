"""What JavaScript makes of a value or a text, where it differs from Python: promptfoo's verdicts rest on it."""

import json
import re
from array import array
from decimal import Decimal
from typing import Any

# ECMAScript's WhiteSpace and LineTerminator: what `\s` matches, `trim` strips and `split(/\s+/)` splits at.
SPACES = "\t\n\v\f\r \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff"
_SPACE = re.compile(f"[{SPACES}]+")


def text_of(value: Any) -> str:
    """`String(value)` of a YAML scalar: `1.0` is "1"."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    if isinstance(value, float):
        return _number(value)
    return str(value)


def trimmed(text: str) -> str:
    start = _SPACE.match(text)
    text = text[start.end() :] if start else text
    # Not by a pattern that ends in `$`: it would try at each of many spaces.
    end = len(text)
    while end and _SPACE.match(text, end - 1):
        end -= 1
    return text[:end]


def words(text: str) -> list[str]:
    """`text.split(/\\s+/)`: an empty text has one empty word."""
    return _SPACE.split(text)


def units(text: str) -> str:
    """The text as JavaScript sees it: one character per UTF-16 unit."""
    if all(char <= "\uffff" for char in text):
        return text
    return "".join(map(chr, array("H", text.encode("utf-16-le", "surrogatepass"))))


def parsed(text: str) -> Any:
    """`JSON.parse(text)`: all numbers are doubles, and NaN and Infinity are none.

    Raises:
        ValueError: it is not JSON.
        RecursionError: it is nested too deep.
    """
    return json.loads(text, parse_int=float, parse_constant=_no_constant)


def same(wanted: Any, found: Any) -> bool:
    """Deep equality of a YAML value with a parsed JSON value."""
    match wanted, found:
        case (bool() | None, _) | (_, bool() | None):
            return wanted is found
        case (int() | float(), float()):
            return float(wanted) == found
        case (str(), str()):
            return wanted == found
        case (list(), list()):
            return len(wanted) == len(found) and all(map(same, wanted, found))
        case (dict(), dict()):
            return wanted.keys() == found.keys() and all(same(wanted[key], found[key]) for key in wanted)
    return False


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def _number(value: float) -> str:
    if value == 0:
        return "0"
    # Both languages find the same shortest digits; they differ in when they turn to an exponent.
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    text = "".join(map(str, digits))
    point = len(text) + int(exponent)
    if len(text) <= point <= 21:
        text += "0" * (point - len(text))
    elif 0 < point <= 21:
        text = f"{text[:point]}.{text[point:]}"
    elif -6 < point <= 0:
        text = f"0.{'0' * -point}{text}"
    else:
        fraction = f".{text[1:]}" if len(text) > 1 else ""
        text = f"{text[0]}{fraction}e{'+' if point > 0 else '-'}{abs(point - 1)}"
    return "-" + text if sign else text
