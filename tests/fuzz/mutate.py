"""From a valid input to a strange one: bytes are changed anywhere, and values where there is JSON."""

import json
import re
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from fuzz.target import CANARY

ODD: Sequence[Any] = (
    None, True, False, 0, -1, 1.5, 1e308, 2**63, 10**400,
    "", ".", "..", "../x", "__x__", "-", "*", "\x00", "\ud800", "é",
    "٣", "a" * 300, "x/y", "a\nb", "=cmd()", CANARY, [], {}, [[]], [None], "NaN", "1", "0001-01-01T00:00:00+23:59",
    "9999-12-31T23:59:59-23:59", "2026-01-01", "2026-01-01T00:00:00Z", "https://169.254.169.254/", "${x}", "{{x}}",
)  # fmt: skip
TOKENS: Sequence[bytes] = (
    b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"\n", b"\r\n", b"\t", b"\x00", b"\xff", b"\xc3", b"\xef\xbb\xbf",
    b"NaN", b"-Infinity", b"1e999", b"9" * 5000, b"[" * 40, b'{"a":' * 40, b'"' + b'\\"' * 200, b"&a ", b"*a",
    b"!!bool ", b"!!timestamp ", b"<<: ", b"---\n", b"? ", b"- ", b"%", b"%00", b"%2F", b"//", b"@", b"+", b" ",
    b"0x", b"_", b".", b"(a+)+", b"(?P<x>", b"\\1", b"{0,9999}", b"[^", b"|", b"$", CANARY.encode(),
)  # fmt: skip

_JSON = re.compile(rb"[{\[]")


def mutate(data: bytes, chance: Random) -> bytes:
    """One to four changes."""
    for _ in range(chance.randint(1, 4)):
        data = chance.choice((_bytes, _values, _values))(data, chance)
    return data


def _bytes(data: bytes, chance: Random) -> bytes:
    start = chance.randint(0, len(data))
    end = min(len(data), start + chance.choice((0, 1, 1, 2, 8, 40)))
    change: Callable[[bytes], bytes] = chance.choice(
        (
            lambda _: b"",
            lambda _: chance.choice(TOKENS),
            lambda part: part + part,
            lambda part: part + chance.choice(TOKENS),
            lambda part: bytes(byte ^ 1 << chance.randint(0, 7) for byte in part),
            lambda part: part.swapcase(),
        )
    )
    return data[:start] + change(data[start:end]) + data[end:]


def _values(data: bytes, chance: Random) -> bytes:
    found = _JSON.search(data)
    try:
        content = json.loads(data[found.start() :]) if found else None
    except (ValueError, RecursionError):
        return _bytes(data, chance)
    if not found or not content:
        return _bytes(data, chance)
    place, key = chance.choice(_places(content))
    match chance.randint(0, 5):
        case 0 if isinstance(place, dict):
            del place[key]
        case 1 if isinstance(place, dict):
            place[chance.choice([str(odd) for odd in ODD])] = place.pop(key)
        case 2 if isinstance(place, list):
            place.append(place[key])
        case 3:
            other, name = chance.choice(_places(content))
            place[key] = json.loads(json.dumps(other[name]))
        case _:
            place[key] = chance.choice(ODD)
    return data[: found.start()] + json.dumps(content).encode()


def _places(content: Any) -> list[tuple[Any, Any]]:
    keys = list(content) if isinstance(content, dict) else range(len(content)) if isinstance(content, list) else ()
    return [(content, key) for key in keys] + [place for key in keys for place in _places(content[key])]
