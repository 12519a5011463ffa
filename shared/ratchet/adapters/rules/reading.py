"""From a document to values: what pydantic found, said so that a person can mend it, and how spans are written."""

import json
import re
import typing
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from ratchet.adapters.yaml_files import Document, Finding, Where, did_you_mean, shown

NAME = r"^[a-z0-9][a-z0-9-]{0,62}$"
SPAN = r"^(?=[0-9]{1,6}[smhd]$)0*[1-9][0-9]*[smhd]$"
_SPAN = re.compile(r"([0-9]{1,6})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_LONGEST = timedelta(days=365)


class RuleErrors(Exception):
    """The files do not make rules. `findings` says all that is to be mended."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        super().__init__("\n".join(map(str, findings)))
        self.findings = tuple(findings)


class Model(BaseModel):
    """A part of a file. Its docstring and its fields' descriptions are what an editor shows.

    `LATER` of a whole file: keys that people may expect, and that are refused until they do something.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, alias_generator=to_camel)
    LATER: ClassVar[frozenset[str]] = frozenset()


M = TypeVar("M", bound=Model)


def validated(kind: type[M], document: Document, findings: list[Finding]) -> M | None:
    """The document as a model; None when it does not fit, and the findings say why."""
    try:
        return kind.model_validate(document.data)
    except ValidationError as exc:
        findings.extend(_translated(error, kind, document) for error in exc.errors(include_url=False))
    except RecursionError:
        findings.append(document.finding((), "the values are nested too deep", "make it flatter"))
    return None


def stored(text: str) -> Document:
    """What a canonical text holds. Raises: RuleErrors: it is no text of ours."""
    document = Document("<stored>", None, {})
    bad = RuleErrors([document.finding((), "the stored text is not JSON of ours", "load the files again")])
    try:
        data = json.loads(text)
        # Python also reads NaN, and half a surrogate pair, which has no bytes to make a digest of.
        json.dumps(data, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as exc:
        raise bad from exc
    if not isinstance(data, dict):
        raise bad
    return Document("<stored>", data, {})


def text_digest(text: str) -> str:
    """The name of a canonical text, and of what it is the text of."""
    return sha256(text.encode()).hexdigest()


def json_schema(kind: type[Model]) -> dict[str, Any]:
    """What an editor completes and checks such a file by."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **kind.model_json_schema(schema_generator=_Schema),
    }


class _Schema(GenerateJsonSchema):
    """As people write it: a key that has no value is left out, so it is never null."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        written = super().default_schema(schema)
        # A part's default is the defaults of its keys, and an empty list is no value to suggest.
        if isinstance(written.get("default"), dict) or written.get("default") in (None, []):
            written = {key: value for key, value in written.items() if key != "default"}
        return written

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002
        # `Maxwait` tells nobody more than `maxWait` does.
        return False


@dataclass
class Reader:
    """From a validated file to a value, collecting what is wrong on the way."""

    document: Document
    findings: list[Finding]

    def bad(self, where: Where, what: str, mend: str) -> None:
        self.findings.append(self.document.finding(where, what, mend))

    def span(self, where: Where, text: str) -> timedelta:
        match = _SPAN.fullmatch(text)
        found = timedelta(**{_UNITS[match[2]]: int(match[1])}) if match else timedelta(0)
        if not timedelta(0) < found <= _LONGEST:
            mend = "write a number and s, m, h or d, such as 24h; at most 365d"
            self.bad(where, f"{shown(text)!r} is not a time span", mend)
        return found

    def once(self, where: Where, what: str, words: Iterable[str], key: str | None = None) -> None:
        """Whatever is in a list twice: one of them does nothing, or both were meant to differ."""
        seen: set[str] = set()
        for n, word in enumerate(words):
            if word in seen:
                place: Where = (*where, n) if key is None else (*where, n, key)
                self.bad(place, f"the {what} `{shown(word)}` is there twice", "keep one of them")
            seen.add(word)


def _translated(error: Any, kind: type[Model], document: Document) -> Finding:
    where: Where = error["loc"]
    # A dict key adds a part of pydantic's own to the place; the nearest line is still right.
    name = next((part for part in reversed(where) if isinstance(part, str)), "the file")
    match error["type"]:
        case "extra_forbidden":
            known = _keys_at(kind, where[:-1])
            # A test's metadata is promptfoo's place for anything; ours reads its tags alone.
            if name in kind.LATER or (where[-2:-1] == ("metadata",) and len(where) > 2):
                return document.finding(where, f"`{shown(name)}` is not supported yet", "leave it out")
            mend = did_you_mean(name, known, f"use one of: {', '.join(sorted(known))}")
            return document.finding(where, f"unknown key `{shown(name)}`", mend)
        case "missing":
            return document.finding(where[:-1], f"`{name}` is missing", "add it")
        case "literal_error":
            return _wrong_word(error, name, where, document)
        case "string_pattern_mismatch":
            mend = "use letters, digits and dashes, lower case for names"
            return document.finding(where, f"`{name}` is {shown(error['input'])!r}", mend)
        case "too_short" | "too_long":
            wanted = "write exactly one prompt" if name == "prompts" else "write at least one"
            return document.finding(where, f"`{name}` has {error['ctx']['actual_length']} entries", wanted)
        case "model_type" | "dict_type":
            return document.finding(where, f"`{name}` is not a mapping", "write key: value below it, or {key: value}")
        case "list_type":
            return document.finding(where, f"`{name}` is not a list", "write [...], or one `- ` for each below it")
        case "string_type":
            return document.finding(where, f"`{name}` is not a text", "put it in quotes")
    message = str(error["msg"]).replace("Input should be", "it should be")
    return document.finding(where, f"`{name}` does not fit", message)


def _wrong_word(error: Any, name: str, where: Where, document: Document) -> Finding:
    known = re.findall(r"'([^']+)'", error["ctx"]["expected"])
    word = str(error["input"])
    mend = did_you_mean(word, known, f"use {' or '.join(known)}")
    return document.finding(where, f"`{name}` is {shown(word)!r}", mend)


def _keys_at(kind: type[Model], where: Where) -> set[str]:
    model: Any = kind
    for part in where:
        if isinstance(part, int):
            continue
        found = next((info for info in model.model_fields.values() if info.alias == part), None)
        if found is None:
            return set()
        model = _model_in(found.annotation) or model
    return {str(info.alias) for info in model.model_fields.values()}


def _model_in(annotation: Any) -> type[Model] | None:
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return annotation
    return next(filter(None, map(_model_in, typing.get_args(annotation))), None)
