"""Assertions on the JSON in an answer."""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import yaml

from ratchet.adapters.assertions.javascript import parsed
from ratchet.adapters.assertions.kinds import Found, Kind, Unfit
from ratchet.domain.codec import canonical
from ratchet.domain.suite import Assertion
from ratchet.ports import Answer

if TYPE_CHECKING:
    from jsonschema_rs import Draft7Validator

_DRAFTS = ("http://json-schema.org/draft-07/schema", "http://json-schema.org/draft-07/schema#")


def _is_json(assertion: Assertion, answer: Answer) -> Found:
    try:
        value = parsed(answer.text)
    except ValueError:
        return Found(False)
    return Found(not assertion.value or valid(assertion.value, value))


def _contains_json(assertion: Assertion, answer: Answer) -> Found:
    return Found(any(not assertion.value or valid(assertion.value, value) for value in _objects(answer.text)))


def _objects(text: str) -> Iterator[Any]:
    """The outermost JSON objects in a text; one whose end is missing is taken as if it had it, as promptfoo does."""
    ends, missing = _pairs(text)
    n = text.find("{", 0, -1)
    while n >= 0:
        end = ends.get(n)
        whole = text[n:end] if end else text[n:] + "}" * missing[n]
        try:
            yield parsed(whole)
        except (ValueError, RecursionError):
            n = text.find("{", n + 1, -1)
        else:
            n = text.find("{", end, -1) if end else -1


def _pairs(text: str) -> tuple[dict[int, int], dict[int, int]]:
    """Where each brace's pair ends; and of those that lack one, how many are missing from there on."""
    ends, is_open = {}, []
    for n, char in enumerate(text):
        if char == "{":
            is_open.append(n)
        elif char == "}" and is_open:
            ends[is_open.pop()] = n + 1
    return ends, {n: len(is_open) - k for k, n in enumerate(is_open)}


def valid(schema: Any, value: Any) -> bool:
    """`schema`: a JSON Schema that fits, as a mapping or as YAML."""
    return bool(_validator(canonical(_mapping(schema))).is_valid(value))


@lru_cache(maxsize=128)
def _validator(schema: str) -> "Draft7Validator":
    # Only suites with a schema need it, and every function that reads suites would wait for it.
    import jsonschema_rs

    # A pattern of the schema meets a text of the model: its time must be linear, too.
    linear = jsonschema_rs.RegexOptions()
    return jsonschema_rs.Draft7Validator(schema, validate_formats=True, pattern_options=linear)


def _mapping(schema: Any) -> Any:
    """A schema may be written as a text in YAML, as promptfoo has it."""
    return yaml.safe_load(schema) if isinstance(schema, str) else schema


def schema_fits(value: Any) -> None:
    """Raises: Unfit."""
    try:
        schema = _mapping(value)
    except yaml.YAMLError as exc:
        raise Unfit("has a JSON Schema that is not YAML; mend it") from exc
    if not isinstance(schema, dict):
        raise Unfit("needs a JSON Schema; write a mapping, or leave the value out")
    if schema.get("$schema", _DRAFTS[0]) not in _DRAFTS:
        raise Unfit("has a JSON Schema of another draft than 7; leave out $schema")
    if any("://" in reference for reference in _references(schema)):
        raise Unfit("has a JSON Schema that refers to another one; write it here")
    try:
        _validator(canonical(schema))
    except ValueError as exc:
        raise Unfit("has a JSON Schema that is none; mend it") from exc


def _optional_schema_fits(value: Any) -> None:
    if value is not None:
        schema_fits(value)


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _references(item)


DOCUMENTS: Mapping[str, Kind] = {
    "is-json": Kind(judge=_is_json, fits=_optional_schema_fits),
    "contains-json": Kind(judge=_contains_json, fits=_optional_schema_fits),
}
