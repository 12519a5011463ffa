"""What every store can hold, and what an interrupted commit turned out to be.

The rules are Firestore's, for every store: a document that the embedded store took must never fail in the cloud.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Any

ENVELOPE = frozenset({"version", "op_id", "looks", "ttl"})
"""What an adapter stores beside a document's own fields."""
EXPIRY = "expires_at"
"""Whatever has this field is deleted soon after that time; who must not show it any longer looks at the time."""

MAX_WRITES = 20
MAX_NAME_BYTES = 1_500
MAX_FIELD_BYTES = 1_048_487
MAX_DOCUMENT_BYTES = 1_048_576
MAX_BATCH_BYTES = 8 * MAX_DOCUMENT_BYTES  # A request may hold 10 MiB, with what the wire format adds.
MAX_DEPTH = 20

_RESERVED = re.compile(r"__.*__", re.DOTALL)


class Unstorable(ValueError):
    """No store can hold it. The message says which rule it breaks, never what it holds."""


class Standing(Enum):
    """What the documents of a batch say about an attempt whose reply did not come."""

    OURS = "ours"
    UNCHANGED = "unchanged"
    CHANGED = "changed"


def standing(op_id: str, documents: Iterable[tuple[int | None, int | None, str | None]]) -> Standing:
    """Compare each document's expected version, found version (None: absent) and found op id."""
    seen = list(documents)
    if any(found_op_id == op_id for _, _, found_op_id in seen):
        return Standing.OURS
    if all(expected == found for expected, found, _ in seen):
        return Standing.UNCHANGED
    return Standing.CHANGED


def check_batch(writes: Sequence[tuple[str, str, Mapping[str, Any] | None]], op_id: str) -> None:
    """Check a batch of (collection, id, whole document if the write carries one).

    Raises:
        Unstorable: a store would refuse it, or hold something else.
    """
    if len(writes) > MAX_WRITES:
        raise Unstorable("too many writes in a batch")
    if len({(collection, name) for collection, name, _ in writes}) < len(writes):
        raise Unstorable("two writes to one document")
    size = 0
    for collection, name, data in writes:
        check_place(collection, name)
        if data is not None:
            size += _document_size(collection, name, data, op_id)
    if size > MAX_BATCH_BYTES:
        raise Unstorable("a batch that is too large")


def check_place(collection: str, name: str) -> None:
    """Raises: Unstorable: not a place that a document can have."""
    for part in (collection, name):
        if part in ("", ".", "..") or "/" in part or _RESERVED.fullmatch(part):
            raise Unstorable("an id that is empty or reserved")
        if _utf8(part) > MAX_NAME_BYTES:
            raise Unstorable("an id that is too long")


def check_values(values: Iterable[Any]) -> None:
    """Raises: Unstorable: no document can hold this value, so no query can ask for it."""
    for value in values:
        _size(value, MAX_DEPTH)


def _document_size(collection: str, name: str, data: Mapping[str, Any], op_id: str) -> int:
    if not data.keys().isdisjoint(ENVELOPE):
        raise Unstorable("a field name that the store keeps for itself")
    envelope = {"version": 1, "op_id": op_id, "looks": 0}
    # Firestore counts the document's path, with 16 bytes for its root.
    size = 16 + _utf8(collection) + 1 + _utf8(name) + 1 + _size({**data, **envelope}, 1)
    if size > MAX_DOCUMENT_BYTES:
        raise Unstorable("a document that is too large")
    return size


def _size(value: Any, depth: int, path: int = 0) -> int:
    """The bytes that Firestore counts for a value whose dotted path from the document takes `path` bytes.

    Exact types only: a subclass would come back as something else.
    """
    if depth > MAX_DEPTH + 1:
        raise Unstorable("nested too deeply")
    kind = type(value)
    if value is None or kind is bool:
        return 1
    if kind is int:
        if not -(2**63) <= value < 2**63:
            raise Unstorable("an integer beyond 64 bits")
        return 8
    if kind is float:
        if value - value != 0.0:
            raise Unstorable("not a finite number")
        return 8
    if kind is str:
        return _bounded(_utf8(value) + 1)
    if kind is list:
        if any(type(item) is list for item in value):
            raise Unstorable("a list inside a list")
        return _bounded(sum(_size(item, depth + 1, path) for item in value))
    if kind is dict:
        size = 32
        for name, item in value.items():
            length = _field_name(name, path)
            size += length + 1 + _size(item, depth + 1, path + length + 1)
        return size if depth == 1 else _bounded(size)
    raise Unstorable("a value that is not JSON")


def _bounded(size: int) -> int:
    if size > MAX_FIELD_BYTES:
        raise Unstorable("a field that is too large")
    return size


def _field_name(name: Any, path: int) -> int:
    if type(name) is not str or not name or _RESERVED.fullmatch(name):
        raise Unstorable("a field name that is empty, reserved or no text")
    length = _utf8(name)
    if path + length > MAX_NAME_BYTES:
        raise Unstorable("a field name that is too long, with those around it")
    return length


def _utf8(text: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError as exc:
        raise Unstorable("a lone surrogate") from exc
