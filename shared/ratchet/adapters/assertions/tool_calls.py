"""Which tools an answer calls, in the JSON of OpenAI, Anthropic or Google, or named plainly; and whether it may."""

from collections.abc import Iterator, Mapping
from typing import Any

from ratchet.adapters.assertions.documents import valid
from ratchet.adapters.assertions.javascript import parsed, text_of, trimmed
from ratchet.adapters.assertions.kinds import Found, Kind, Unfit, limit, no_value
from ratchet.domain.suite import Assertion
from ratchet.ports import Answer


def _f1(assertion: Assertion, answer: Answer) -> Found:
    """The harmonic mean of precision and recall of the tools' names."""
    expected, called = set(_names(assertion.value)), set(_said(answer.text))
    score = 2 * len(expected & called) / (len(expected) + len(called))
    return Found(score >= limit(assertion), score, turned=False)


def _names(value: Any) -> list[str]:
    return [trimmed(name) for name in value.split(",")] if isinstance(value, str) else list(map(text_of, value))


def _said(text: str) -> Iterator[str]:
    """Of an answer that is JSON as a whole, or else line by line."""
    try:
        value = parsed(text)
    except (ValueError, RecursionError):
        for line in map(trimmed, text.split("\n")):
            if line.startswith(("{", "[")):
                try:
                    yield from _called(parsed(line))
                except (ValueError, RecursionError):
                    continue
    else:
        yield from _called(value)


def _called(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield from _said(value)
        case list():
            for item in value:
                yield from _one(item)
        case {"tool_calls": list(calls)}:
            for call in calls:
                if isinstance(call, dict):
                    yield from _text(call.get("name"))
                    yield from _name_in(call.get("function"))
        case {"type": "tool_use", "name": str(name)}:
            yield name
        case {"functionCall": dict() | list() as call}:
            yield from _name_in(call)
        case {"toolCall": dict(call)}:
            for item in call["functionCalls"] if isinstance(call.get("functionCalls"), list) else ():
                yield from _name_in(item)


def _one(item: Any) -> Iterator[str]:
    match item:
        case {"type": "tool_use", "name": str(name)}:
            yield name
        case {"functionCall": dict() | list() as call}:
            yield from _name_in(call)
        case {"function": dict() | list() as function}:
            yield from _name_in(function)
        case {"name": str(name)}:
            yield name


def _name_in(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from _text(value.get("name"))


def _text(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value


def _tools_fit(value: Any) -> None:
    if isinstance(value, str):
        return
    if not isinstance(value, list) or not value or any(isinstance(item, list | dict) for item in value):
        raise Unfit("needs the tools' names; write a list of them, or a text with commas")


def _all_valid(assertion: Assertion, answer: Answer) -> Found:
    """Whether it calls tools, each one that was offered, with arguments that fit. The value is what was offered: each
    tool's JSON Schema, by its name.
    """
    try:
        said = parsed(answer.text) if answer.called else None
    except ValueError:
        return Found(False)  # Python reads and writes a NaN, which is no JSON.
    match said:
        case [*made] | {"tool_calls": [*made]}:
            return Found(bool(made) and all(_fits(assertion.value, call) for call in made))
    return Found(False)


def _fits(offered: Mapping[str, Any], call: Any) -> bool:
    match call:
        case {"function": {"name": str(name), "arguments": str(arguments)}} if name in offered:
            try:
                return valid(offered[name], parsed(arguments))
            except ValueError:
                return False
    return False


VALID_CALLS = "is-valid-openai-tools-call"
TOOL_CALLS: Mapping[str, Kind] = {
    "tool-call-f1": Kind(judge=_f1, fits=_tools_fit, threshold=1, at_most=1),
    VALID_CALLS: Kind(judge=_all_valid, fits=no_value),
}
