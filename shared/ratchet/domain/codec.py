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
from functools import cache, partial
from typing import Any, TypeVar

Document = Mapping[str, Any]
T = TypeVar("T")


class Malformed(ValueError):
    """A document does not hold what its type says. The message names the place, never the content."""

    def __init__(self, what: str, *place: str) -> None:
        super().__init__(what)
        self._what = what
        self._place = place

    def __str__(self) -> str:
        return f"{'.'.join(self._place)}: {self._what}"

    def within(self, name: str) -> "Malformed":
        """The same, as seen from what holds it."""
        return Malformed(self._what, name, *self._place)


def encode(value: Any) -> Any:
    """The document form of a record, an enum, a key, a time, or a collection of them."""
    kind: type = type(value)
    return _encoder(kind)(value)


@cache
def _encoder(kind: type) -> Callable[[Any], Any]:
    if issubclass(kind, Enum):
        return lambda value: value.value
    if kind is types.NoneType or issubclass(kind, bool | int | float | str):
        return lambda value: value
    if issubclass(kind, datetime):
        return format_time
    if issubclass(kind, timedelta):
        return timedelta.total_seconds
    if issubclass(kind, Mapping):
        return lambda value: {str(key): encode(item) for key, item in value.items()}
    if issubclass(kind, tuple | list):
        return lambda value: [encode(item) for item in value]
    if issubclass(kind, frozenset):
        return lambda value: sorted(encode(item) for item in value)  # a set has no order, and a document has one
    if hasattr(kind, "parse"):
        return str
    if dataclasses.is_dataclass(kind):
        names = tuple(field.name for field in dataclasses.fields(kind))
        return lambda value: {name: encode(getattr(value, name)) for name in names}
    raise TypeError(f"no document form for {kind.__name__}")


def decode(kind: type[T], document: Any) -> T:
    """The value of type `kind` that a document holds.

    Raises:
        Malformed: a field is missing, or has another type than `kind` says.
    """
    try:
        return typing.cast(T, _decoder(typing.cast(Any, kind))(document))
    except Malformed as exc:
        raise exc.within(kind.__name__) from exc


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


_Decoder = Callable[[Any], Any]


@cache
def _decoder(kind: Any) -> _Decoder:
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        return _optional(kind)
    if origin is tuple:
        item = _decoder(typing.get_args(kind)[0])
        return lambda value: tuple(item(entry) for entry in _expect(list, value))
    if origin is not None and issubclass(origin, Mapping):
        return _mapping(_decoder(typing.get_args(kind)[1]))
    if kind is Any:
        return lambda value: value
    if kind is float:
        return _float
    if kind in (str, int, bool):
        return partial(_expect, kind)
    if kind is datetime:
        return _parsed(parse_time)
    if kind is timedelta:
        return _span
    if issubclass(kind, Enum):
        return _parsed(kind)
    if hasattr(kind, "parse"):
        return _parsed(kind.parse)
    return _record(kind)


def _expect(kind: type, value: Any) -> Any:
    # `type` rather than isinstance: True is an int to Python, and is not one to us.
    if type(value) is not kind:
        raise Malformed(f"not a {kind.__name__}")
    return value


def _float(value: Any) -> float:
    try:
        number = float(value) if type(value) in (int, float) else math.nan
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise Malformed("not a finite number")
    return number


def _span(value: Any) -> timedelta:
    try:
        return timedelta(seconds=_float(value))
    except OverflowError as exc:
        raise Malformed("not a span of time") from exc


def _parsed(parse: Callable[[str], Any]) -> _Decoder:
    def read(value: Any) -> Any:
        text = _expect(str, value)
        try:
            return parse(text)
        except ValueError as exc:
            raise Malformed(f"{parse.__qualname__} refuses it") from exc

    return read


def _optional(kind: Any) -> _Decoder:
    (inner,) = (member for member in typing.get_args(kind) if member is not types.NoneType)
    read = _decoder(inner)
    return lambda value: None if value is None else read(value)


def _mapping(item: _Decoder) -> _Decoder:
    def read(value: Any) -> Any:
        try:
            return {key: item(entry) for key, entry in _expect(dict, value).items()}
        except Malformed as exc:
            raise exc.within("*") from exc

    return read


def _record(kind: Any) -> _Decoder:
    hints = typing.get_type_hints(kind)
    fields = [(field.name, _decoder(hints[field.name]), _has_default(field)) for field in dataclasses.fields(kind)]

    def read(document: Any) -> Any:
        _expect(dict, document)
        values = {}
        for name, item, has_default in fields:
            if name in document:
                try:
                    values[name] = item(document[name])
                except Malformed as exc:
                    raise exc.within(name) from exc
            elif not has_default:
                raise Malformed("missing", name)
        try:
            return kind(**values)
        except ValueError as exc:
            raise Malformed(str(exc)) from exc

    return read


def _has_default(field: "dataclasses.Field[Any]") -> bool:
    return field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
