"""Verdicts on a model's answer, equal to promptfoo's for the assertion types that we support.

What differs, on purpose: an answer without usable text is an error, never a pass (promptfoo lets `not-contains` pass on
it), and a reason never holds text of the model.
"""

import hashlib
import json
import math
import re
import warnings
from array import array
from collections.abc import Callable
from decimal import Decimal
from functools import lru_cache
from re import _constants as sre  # type: ignore[attr-defined]
from re import _parser as sre_parser  # type: ignore[attr-defined]
from typing import Any

from ratchet.domain.records import CaseOutcome
from ratchet.domain.suite import Assertion, Case
from ratchet.ports import Answer, Finish

TEXT_LIMIT = 16 * 1024
STEPS_LIMIT = 1 << 30
PATTERN_LIMIT = 1000

# What `\s` and `.` mean in JavaScript beyond what they mean in Python with re.ASCII.
_SPACES = "\\s\\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000\\ufeff"
_NOT_SPACES = (
    "\\x00-\\x08\\x0e-\\x1f\\x21-\\x9f\\xa1-\\u167f\\u1681-\\u1fff\\u200b-\\u2027\\u202a-\\u202e\\u2030-\\u205e"
    "\\u2060-\\u2fff\\u3001-\\ufefe\\uff00-\\uffff"
)
_NOT_LINE_END = "[^\\n\\r\\u2028\\u2029]"


class BadPattern(ValueError):
    """The pattern is not JavaScript's, would mean something else in Python, or may run too long."""


def grade(case: Case, answer: Answer) -> tuple[CaseOutcome, str]:
    """All assertions must hold. The reason names the first that does not by type, place and case."""
    if answer.finish in (Finish.EMPTY, Finish.BLOCKED):
        return CaseOutcome.ERROR, f"{case.id}: the answer is {answer.finish}"
    if not case.asserts:
        return CaseOutcome.ERROR, f"{case.id}: no assertions"
    if _cut(answer) and any(assertion.type != "latency" for assertion in case.asserts):
        return CaseOutcome.ERROR, f"{case.id}: the answer is longer than 16 KiB"
    for n, assertion in enumerate(case.asserts):
        name = f"not-{assertion.type}" if assertion.negated else assertion.type
        try:
            held = _HOLDS[assertion.type](assertion, answer)
        except RecursionError:
            return CaseOutcome.ERROR, f"{case.id}: {name} [{n}] cannot be judged, the answer is nested too deep"
        if held is assertion.negated:
            return CaseOutcome.FAIL, f"{case.id}: {name} [{n}] does not hold"
    return CaseOutcome.PASS, ""


def js_text(value: Any) -> str:
    """The text that JavaScript makes of a YAML scalar: `1.0` is "1"."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    if isinstance(value, float):
        return _js_number(value)
    return str(value)


@lru_cache(maxsize=512)
def js_pattern(source: str) -> re.Pattern[str]:
    """JavaScript's `new RegExp(source)` as a Python pattern over UTF-16 units.

    Python's matcher cannot be given a time limit, so a pattern that may take more than `STEPS_LIMIT` steps on a text
    of 16 KiB is refused: that is what nested and repeated quantifiers do.

    Raises:
        BadPattern: its message says what to change.
    """
    if len(source) > PATTERN_LIMIT:
        raise BadPattern("it is longer than 1000 characters")
    translated = _translate(_units(source))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = sre_parser.parse(translated, re.ASCII)
            pattern = re.compile(translated, re.ASCII)
    except (re.error, OverflowError, RecursionError) as exc:
        raise BadPattern("it is not a regular expression that JavaScript and Python both know") from exc
    if _steps(tree) > STEPS_LIMIT:
        raise BadPattern("it may run too long: nested or repeated quantifiers; bound them, such as {1,20}")
    return pattern


def _cut(answer: Answer) -> bool:
    raw = answer.text.encode("utf-8", "surrogatepass")
    return len(raw) > TEXT_LIMIT - 4 and (len(raw) > TEXT_LIMIT or hashlib.sha256(raw).hexdigest() != answer.sha256)


def _js_number(value: float) -> str:
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


def _equals(assertion: Assertion, answer: Answer) -> bool:
    if assertion.value is None or isinstance(assertion.value, dict | list):
        try:
            return _same(assertion.value, _json(answer.text))
        except ValueError:
            return False
    return js_text(assertion.value) == answer.text


def _contains(assertion: Assertion, answer: Answer) -> bool:
    return js_text(assertion.value) in answer.text


def _icontains(assertion: Assertion, answer: Answer) -> bool:
    return js_text(assertion.value).lower() in answer.text.lower()


def _regex(assertion: Assertion, answer: Answer) -> bool:
    return js_pattern(assertion.value).search(_units(answer.text)) is not None


def _is_json(assertion: Assertion, answer: Answer) -> bool:  # noqa: ARG001
    try:
        _json(answer.text)
    except ValueError:
        return False
    return True


def _latency(assertion: Assertion, answer: Answer) -> bool:
    return assertion.threshold is not None and answer.latency_ms <= assertion.threshold


_HOLDS: dict[str, Callable[[Assertion, Answer], bool]] = {
    "equals": _equals,
    "contains": _contains,
    "icontains": _icontains,
    "regex": _regex,
    "is-json": _is_json,
    "latency": _latency,
}
SUPPORTED = frozenset(_HOLDS)


def _json(text: str) -> Any:
    # All numbers are doubles to JavaScript; NaN and Infinity are not JSON.
    return json.loads(text, parse_int=float, parse_constant=_no_constant)


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def _same(wanted: Any, found: Any) -> bool:
    match wanted, found:
        case (bool() | None, _) | (_, bool() | None):
            return wanted is found
        case (int() | float(), float()):
            return float(wanted) == found
        case (str(), str()):
            return wanted == found
        case (list(), list()):
            return len(wanted) == len(found) and all(map(_same, wanted, found))
        case (dict(), dict()):
            return wanted.keys() == found.keys() and all(_same(wanted[key], found[key]) for key in wanted)
    return False


def _units(text: str) -> str:
    """The text as JavaScript sees it: one character per UTF-16 unit."""
    if all(char <= "\uffff" for char in text):
        return text
    return "".join(map(chr, array("H", text.encode("utf-16-le", "surrogatepass"))))


def _translate(source: str) -> str:
    out: list[str] = []
    n = 0
    in_class = False
    while n < len(source):
        char = source[n]
        step = 1
        if char == "\\":
            step = 2
            out.append(_escape(source[n + 1 : n + 2], in_class))
        elif in_class:
            in_class = char != "]"
            # A bare `[`, `&` or `~` in a class is only a letter; escaped, Python does not warn of its future.
            out.append("\\" + char if char in "[&~|" else char)
        elif char == "[":
            in_class = True
            if re.match(r"\[\^?\]", source[n:]):
                raise BadPattern("an empty class `[]` or `[^]` means something else in Python; write [\\s\\S]")
            if source[n + 1 : n + 2] == "^":
                step = 2
            out.append(source[n : n + step])
        elif char == "$":
            out.append("\\Z")
        elif char == ".":
            out.append(_NOT_LINE_END)
        elif source.startswith("(?", n):
            group = re.match(r"\(\?(:|=|!|<=|<!|<(?=[A-Za-z_]))", source[n:])
            if group is None:
                raise BadPattern("`(?` with flags is not JavaScript; use [Rr] for both cases, or icontains")
            step = group.end()
            out.append("(?P<" if group[1] == "<" else group[0])
        elif re.match(r"\{,\d+\}", source[n:]):
            raise BadPattern("`{,n}` is no quantifier in JavaScript; write {0,n}")
        else:
            out.append(char)
        n += step
    return "".join(out)


def _escape(char: str, in_class: bool) -> str:
    if char == "s":
        return _SPACES if in_class else f"[{_SPACES}]"
    if char == "S":
        return _NOT_SPACES if in_class else f"[^{_SPACES}]"
    if char == "B" and not in_class:
        # Python before 3.14 finds no `\B` in an empty text.
        return r"(?!\b)"
    if char == "" or (char.isalnum() and char not in "dDwWbBfnrtvxu0"):
        raise BadPattern(f"the escape \\{char} differs between JavaScript and Python; leave it out")
    return "\\" + char


def _steps(tree: Any) -> float:
    """At most how many ways the matcher may try on a text of 16 KiB, over all places where it may start."""
    items = list(tree)
    ways = _ways(items)
    starts = 1 if items and items[0] == (sre.AT, sre.AT_BEGINNING) else TEXT_LIMIT
    # Nothing after the last item can fail, so a plain repeat there is never taken back.
    if items and items[-1][0] in (sre.MAX_REPEAT, sre.MIN_REPEAT) and _ways(items[-1][1][2]) == 1:
        ways = _ways(items[:-1])
    return starts * ways


def _ways(items: Any) -> float:
    ways = 1.0
    for op, value in items:
        ways = min(ways * _ways_of(op, value), float(1 << 62))
    return ways


def _ways_of(op: Any, value: Any) -> float:
    if op in (sre.MAX_REPEAT, sre.MIN_REPEAT):
        low, high, body = value
        if body[0][0] in (sre.ASSERT, sre.ASSERT_NOT):
            raise BadPattern("it repeats a look-around; leave the quantifier out")
        high = min(int(high), TEXT_LIMIT)
        inner = _ways(body)
        if inner == 1:
            return float(max(high - int(low) + 1, 1))
        # By its logarithm: a repeated repeat would exceed every float.
        if high > 62 or max(high, 1) * math.log2(inner) > 62:
            return float(1 << 62)
        return float(inner ** max(high, 1) * (high - int(low) + 1))
    if op is sre.SUBPATTERN:
        return _ways(value[-1])
    if op is sre.BRANCH:
        return sum(_ways(branch) for branch in value[1])
    if op in (sre.ASSERT, sre.ASSERT_NOT):
        return _ways(value[1])
    if op in (sre.LITERAL, sre.NOT_LITERAL, sre.ANY, sre.IN, sre.AT, sre.CATEGORY, sre.RANGE):
        return 1.0
    # Possessive quantifiers and atomic groups are Python's own; a back-reference to an unset group differs.
    raise BadPattern("it uses back-references or quantifiers that differ between JavaScript and Python")
