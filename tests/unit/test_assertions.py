"""Verdicts equal promptfoo's for the types that we support, and nothing makes the matcher run for ever."""

import hashlib
import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratchet.adapters.assertions import STEPS_LIMIT, BadPattern, grade, js_pattern, js_text
from ratchet.domain.records import CaseOutcome
from ratchet.domain.suite import Assertion, Case
from ratchet.ports import Answer, Finish


def answer(text: str, finish: Finish = Finish.STOP, latency_ms: int = 100, whole: str | None = None) -> Answer:
    sha = hashlib.sha256((text if whole is None else whole).encode("utf-8", "surrogatepass")).hexdigest()
    return Answer(0, text, finish, sha, latency_ms, 1, 1)


def assertion(type_: str, value: Any = None, threshold: float | None = None) -> Assertion:
    return Assertion(
        type=type_.removeprefix("not-"), negated=type_.startswith("not-"), value=value, threshold=threshold
    )


def case(*asserts: Assertion) -> Case:
    return Case(id="c-1", prompt="?", asserts=asserts)


def outcome(item: Assertion, text: str, **more: Any) -> CaseOutcome:
    return grade(case(item), answer(text, **more))[0]


PASS, FAIL, ERROR = CaseOutcome.PASS, CaseOutcome.FAIL, CaseOutcome.ERROR

VERDICTS: list[tuple[str, Any, str, CaseOutcome]] = [
    ("equals", "Refund", "Refund", PASS),
    ("equals", "Refund", "refund", FAIL),
    ("equals", "Refund", "Refund\n", FAIL),
    ("equals", "", "", PASS),
    ("equals", 1, "1", PASS),
    ("equals", 1.0, "1", PASS),
    ("equals", 1.5, "1.5", PASS),
    ("equals", 1e21, "1e+21", PASS),
    ("equals", 0.00001, "0.00001", PASS),
    ("equals", 1e-7, "1e-7", PASS),
    ("equals", -0.0, "0", PASS),
    ("equals", 4.6983600817228985e20, "469836008172289850000", PASS),
    ("equals", True, "true", PASS),
    ("equals", True, "True", FAIL),
    ("equals", {"a": 1, "b": [2]}, '{"b": [2.0], "a": 1}', PASS),
    ("equals", {"a": 1}, '{"a": true}', FAIL),
    ("equals", {"a": 1}, '{"a": 1, "b": 2}', FAIL),
    ("equals", {"a": 1}, "not json", FAIL),
    ("equals", {"a": None}, '{"a": null}', PASS),
    ("equals", [1, 2], "[2, 1]", FAIL),
    ("equals", [1, 2], "[1, 2]", PASS),
    ("equals", None, "null", PASS),
    ("equals", '{"a": 1}', '{"a":1}', FAIL),
    ("contains", "Ref", "a Refund", PASS),
    ("contains", "ref", "a Refund", FAIL),
    ("contains", 42, "it is 42.", PASS),
    ("contains", 1.0, "it is 1", PASS),
    ("icontains", "REF", "a refund", PASS),
    ("icontains", "STRASSE", "Straße", FAIL),
    ("regex", r"\d{3}", "call 112 now", PASS),
    ("regex", r"^\d{3}$", "112\n", FAIL),
    ("regex", r"^\d{3}$", "112", PASS),
    ("regex", r"^\d$", "٣", FAIL),
    ("regex", r"a\sb", "a\u00a0b", PASS),
    ("regex", r"a\Sb", "a\u00a0b", FAIL),
    ("regex", r"a[\s]b", "a\ufeffb", PASS),
    ("regex", r"a.b", "a\u2028b", FAIL),
    ("regex", r"a.b", "a\rb", FAIL),
    ("regex", r"^..$", "😀", PASS),
    ("regex", r"^.$", "😀", FAIL),
    ("regex", r"(?<year>\d{4})", "in 2026", PASS),
    ("regex", r"(?<=€)\d", "€5", PASS),
    ("regex", r"a$", "b\na", PASS),
    ("regex", r"[[]x", "[x", PASS),
    ("regex", r"\/", "a/b", PASS),
    ("regex", r"a[\S]b", "a\u00a0b", FAIL),
    ("regex", r"a[\s\S]b", "a\u00a0b", PASS),
    ("regex", r"\B", "", PASS),
    ("is-json", None, '{"a": 1}', PASS),
    ("is-json", None, "12", PASS),
    ("is-json", None, '"x"', PASS),
    ("is-json", None, "NaN", FAIL),
    ("is-json", None, "{a: 1}", FAIL),
    ("is-json", None, "```json\n{}\n```", FAIL),
    ("is-json", None, "", FAIL),
]


@pytest.mark.parametrize(("type_", "value", "text", "expected"), VERDICTS)
def test_a_verdict_equals_promptfoos(type_: str, value: Any, text: str, expected: CaseOutcome) -> None:
    assert outcome(assertion(type_, value), text) is expected


@pytest.mark.parametrize(("type_", "value", "text", "expected"), VERDICTS)
def test_not_turns_every_verdict_round(type_: str, value: Any, text: str, expected: CaseOutcome) -> None:
    assert outcome(assertion(f"not-{type_}", value), text) is (FAIL if expected is PASS else PASS)


@pytest.mark.parametrize(("latency_ms", "expected"), [(999, PASS), (1000, PASS), (1001, FAIL)])
def test_latency_may_be_as_long_as_its_threshold(latency_ms: int, expected: CaseOutcome) -> None:
    assert outcome(assertion("latency", threshold=1000), "x", latency_ms=latency_ms) is expected
    turned = FAIL if expected is PASS else PASS
    assert outcome(assertion("not-latency", threshold=1000), "x", latency_ms=latency_ms) is turned


@pytest.mark.parametrize("finish", [Finish.EMPTY, Finish.BLOCKED])
@pytest.mark.parametrize("type_", ["not-contains", "not-regex", "not-equals", "not-is-json"])
def test_an_answer_without_text_is_an_error_for_negated_assertions_too(finish: Finish, type_: str) -> None:
    assert outcome(assertion(type_, "secret"), "", finish=finish) is ERROR


def test_an_answer_cut_by_the_token_limit_is_judged_as_it_is() -> None:
    assert outcome(assertion("contains", "yes"), "yes, and", finish=Finish.LENGTH) is PASS


def test_a_case_without_assertions_is_no_pass() -> None:
    assert grade(case(), answer("x"))[0] is ERROR


def test_all_assertions_must_hold_and_the_reason_names_the_first_that_does_not_without_text_of_the_model() -> None:
    both = case(assertion("contains", "alpha"), assertion("not-contains", "beta"))
    assert grade(both, answer("alpha")) == (PASS, "")
    assert grade(both, answer("alpha beta sekret")) == (FAIL, "c-1: not-contains [1] does not hold")
    assert grade(both, answer("gamma")) == (FAIL, "c-1: contains [0] does not hold")


def test_an_answer_that_was_cut_at_16_kib_is_not_judged_by_its_text() -> None:
    text = "x" * 16384
    assert outcome(assertion("not-contains", "y"), text) is PASS
    assert outcome(assertion("not-contains", "y"), text, whole=text + "y") is ERROR
    assert outcome(assertion("not-contains", "y"), text + "x") is ERROR
    assert outcome(assertion("latency", threshold=1000), text, whole=text + "y") is PASS


def test_json_nested_beyond_the_parser_is_never_held_against_the_model() -> None:
    # How deep the parser goes is the interpreter's: 3.11 gives up here, 3.13 does not.
    assert outcome(assertion("is-json"), "[" * 8000 + "]" * 8000) in (PASS, ERROR)


@pytest.mark.parametrize(
    "pattern",
    [
        r"(a+)+b",
        r"(a|a)*b",
        r"(a|b|ab)*c",
        r"(\w+\s?)*$",
        r"a.*b.*c.*d",
        r"\d+\.\d+ x",
        r"(.*)(.*)(.*)x",
        r"(a?){40}a{40}",
        r"((a{1,9}){1,9}){1,9}b",
        r"(?=(a+)+b)",
        r"x\1",
        r"(a)\1",
        r"(?<n>a)\k<n>",
        r"(?P<n>a)",
        r"(?i)a",
        r"(?i:a)",
        r"(?>a)",
        r"a++b",
        r"(?#x)",
        r"[]a]",
        r"[^]",
        r"a{,5}",
        r"\p{L}",
        r"\Aa",
        r"a\Z",
        r"(?<=a+)b",
        r"x(?<=a)?",
        r"(?<=a){2}x",
        r"\B+",
        r"(",
        r"a**",
        "\\",
        "x" * 1001,
    ],
)
def test_a_pattern_that_may_hang_or_means_something_else_in_python_is_refused(pattern: str) -> None:
    with pytest.raises(BadPattern):
        js_pattern(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        "refund",
        "refund.*days",
        r"^refund.*in.*days",
        r"\d+\.\d+",
        r"\$\d{1,9}(\.\d{2})?",
        r"(?:yes|no)\b",
        r"(foo|bar){1,3}",
        "[a-z]+@[a-z]+",
        r"[\s\S]*end",
        "x" * 1000,
    ],
)
def test_an_ordinary_pattern_is_allowed(pattern: str) -> None:
    js_pattern(pattern)


def test_the_dearest_allowed_pattern_ends_within_a_few_seconds_on_the_longest_text() -> None:
    # 2^14 starts × 2^14 ways for the first repeat × 2 for the second come to half of the limit.
    assert STEPS_LIMIT >= (1 << 14) * (1 << 14) * 2
    started = time.process_time()
    assert outcome(assertion("regex", "a.*b?c"), "a" * 16384) is FAIL
    assert time.process_time() - started < 20


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=30), st.text(max_size=60))
def test_any_pattern_is_refused_or_judges_any_text(pattern: str, text: str) -> None:
    try:
        compiled = js_pattern(pattern)
    except BadPattern:
        return
    compiled.search(text)


@settings(max_examples=200, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    ).filter(lambda value: value is None or isinstance(value, list | dict))
)
def test_a_value_equals_its_own_json(value: Any) -> None:
    assert outcome(assertion("equals", value), json.dumps(value)) is PASS


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_the_text_of_a_number_reads_back_as_that_number(value: float) -> None:
    assert float(js_text(value)) == value
