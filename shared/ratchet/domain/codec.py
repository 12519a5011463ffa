"""Between values and documents: the one place that knows how a record looks in a store or on the wire.

A document is what JSON can hold. Times are ISO 8601 in UTC with six digits, so that text order is time order in every
store; spans are seconds. Unknown fields are ignored and absent ones take their default, because two revisions of the
code overlap during every roll-out.
"""

import dataclasses
import json
import math
import types
import typing
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import cache
from typing import Any, TypeVar

Document = Mapping[str, Any]
T = TypeVar("T")


class Malformed(ValueError):
    """A document does not hold what its type says. The message names the place, never the content."""


def encode(value: Any) -> Any:
    """The document form of a record, an enum, a key, a time, or a collection of them."""
    match value:
        case Enum():
            return value.value
        case None | bool() | int() | float() | str():
            return value
        case datetime():
            return format_time(value)
        case timedelta():
            return value.total_seconds()
        case Mapping():
            return {str(key): encode(item) for key, item in value.items()}
        case tuple() | list():
            return [encode(item) for item in value]
        case frozenset():
            return sorted(encode(item) for item in value)  # a set has no order, and a document has one
    if hasattr(type(value), "parse"):
        return str(value)
    if dataclasses.is_dataclass(value):
        return {field.name: encode(getattr(value, field.name)) for field in dataclasses.fields(value)}
    raise TypeError(f"no document form for {type(value).__name__}")


def decode(kind: type[T], document: Any) -> T:
    """The value of type `kind` that a document holds.

    Raises:
        Malformed: a field is missing, or has another type than `kind` says.
    """
    return typing.cast(T, _decoder(typing.cast(Any, kind))(document, kind.__name__))


def canonical(value: Any) -> str:
    """The one JSON text of a value: what digests and the history chain are computed over."""
    return json.dumps(encode(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def format_time(moment: datetime) -> str:
    # Not strftime, which writes the year 1 as one digit.
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def parse_time(text: str) -> datetime:
    """Raises: ValueError: not a time, one without a zone, or one that is in no year of UTC."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time without a zone")
    try:
        return moment.astimezone(UTC)
    except OverflowError as exc:
        raise ValueError("a time before or after all years") from exc


_Decoder = Callable[[Any, str], Any]


@cache
def _decoder(kind: Any) -> _Decoder:
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        return _optional(kind)
    if origin is tuple:
        item = _decoder(typing.get_args(kind)[0])
        return lambda value, where: tuple(item(entry, where) for entry in _expect(list, value, where))
    if origin is not None and issubclass(origin, Mapping):
        item = _decoder(typing.get_args(kind)[1])
        return lambda value, where: {
            key: item(entry, f"{where}.*") for key, entry in _expect(dict, value, where).items()
        }
    if kind is Any:
        return lambda value, _: value
    if kind is float:
        return _float
    if kind in (str, int, bool):
        return lambda value, where: _expect(kind, value, where)
    if kind is datetime:
        return _parsed(parse_time)
    if kind is timedelta:
        return _span
    if issubclass(kind, Enum):
        return _parsed(kind)
    if hasattr(kind, "parse"):
        return _parsed(kind.parse)
    return _record(kind)


def _expect(kind: type, value: Any, where: str) -> Any:
    # `type` rather than isinstance: True is an int to Python, and is not one to us.
    if type(value) is not kind:
        raise Malformed(f"{where}: not a {kind.__name__}")
    return value


def _float(value: Any, where: str) -> float:
    try:
        number = float(value) if type(value) in (int, float) else math.nan
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise Malformed(f"{where}: not a finite number")
    return number


def _span(value: Any, where: str) -> timedelta:
    try:
        return timedelta(seconds=_float(value, where))
    except OverflowError as exc:
        raise Malformed(f"{where}: not a span of time") from exc


def _parsed(parse: Callable[[str], Any]) -> _Decoder:
    def read(value: Any, where: str) -> Any:
        try:
            return parse(_expect(str, value, where))
        except Malformed:
            raise
        except ValueError as exc:
            raise Malformed(f"{where}: {parse.__qualname__} refuses it") from exc

    return read


def _optional(kind: Any) -> _Decoder:
    (inner,) = (member for member in typing.get_args(kind) if member is not types.NoneType)
    read = _decoder(inner)
    return lambda value, where: None if value is None else read(value, where)


def _record(kind: Any) -> _Decoder:
    hints = typing.get_type_hints(kind)
    fields = [(field, _decoder(hints[field.name])) for field in dataclasses.fields(kind)]

    def read(document: Any, where: str) -> Any:
        _expect(dict, document, where)
        values = {}
        for field, item in fields:
            if field.name in document:
                values[field.name] = item(document[field.name], f"{where}.{field.name}")
            elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
                raise Malformed(f"{where}.{field.name}: missing")
        try:
            return kind(**values)
        except ValueError as exc:
            raise Malformed(f"{where}: {exc}") from exc

    return read
