"""Verdicts equal promptfoo's for the types that we support, and nothing makes the matcher run for ever."""

import hashlib
import json
import time
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratchet.adapters.assertions.grade import KINDS, grade
from ratchet.adapters.assertions.javascript import text_of
from ratchet.adapters.assertions.kinds import Unfit
from ratchet.adapters.assertions.patterns import BadPattern, pattern
from ratchet.domain.grading import Grade
from ratchet.domain.records import CaseOutcome
from ratchet.domain.suite import Assertion, Case
from ratchet.ports import Answer, Finish


def answer(text: str, finish: Finish = Finish.STOP, latency_ms: int = 100, whole: str | None = None) -> Answer:
    sha = hashlib.sha256((text if whole is None else whole).encode("utf-8", "surrogatepass")).hexdigest()
    return Answer(0, text, finish, sha, latency_ms, 1, 1)


def assertion(type_: str, value: Any = None, threshold: float | None = None, **more: Any) -> Assertion:
    base = type_.removeprefix("not-")
    return Assertion(type=base, negated=type_ != base, value=value, threshold=threshold, **more)


def case(*asserts: Assertion, threshold: float | None = None) -> Case:
    return Case(id="c-1", prompt="?", asserts=asserts, threshold=threshold)


def outcome(item: Assertion, text: str, **more: Any) -> CaseOutcome:
    return grade(case(item), answer(text, **more)).outcome


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
    ("is-json", {"type": "object", "required": ["a"]}, '{"a": 1}', PASS),
    ("is-json", {"type": "object", "required": ["a"]}, "{}", FAIL),
    ("is-json", "required: [a]", "{}", FAIL),
    ("contains-json", None, "so: {}", PASS),
    ("contains-json", None, "so: [1]", FAIL),
    ("contains-json", {"required": ["a"]}, 'no {"b": 1} but {"a": {"b": 2}}', PASS),
    ("contains-json", {"required": ["b"]}, '{"a": {"b": 2}}', FAIL),
    ("contains-json", {"required": ["a"]}, 'cut: {"a": {"b": 2', PASS),
    ("contains-all", ["a", 1], "1 a", PASS),
    ("contains-all", 'a, "b, c"', "a b, c", PASS),
    ("contains-all", 'a, "b, c"', "a b c", FAIL),
    ("contains-any", ["x", "y"], "xyz", PASS),
    ("icontains-all", ["A", "ß"], "a ß", PASS),
    ("icontains-any", "Q, W", "w", PASS),
    ("starts-with", "ab", "abc", PASS),
    ("starts-with", "ab", " abc", FAIL),
    ("levenshtein", "kitten", "sitting", PASS),
    ("levenshtein", "kitten", "dog and cat", FAIL),
    ("word-count", 3, "a b  c", PASS),
    ("word-count", {"max": 2}, "a b  c", FAIL),
    ("word-count", {"min": 0, "max": 3}, " ", PASS),
    ("is-refusal", None, "I’m sorry, no", PASS),
    ("is-refusal", None, "Of course", FAIL),
    ("finish-reason", "STOP", "x", PASS),
    ("finish-reason", "length", "x", FAIL),
    ("is-xml", None, "<a><b/></a>", PASS),
    ("is-xml", "a.b.1", "<a><b/><b/></a>", PASS),
    ("is-xml", ["a.b.1"], "<a><b/></a>", FAIL),
    ("is-xml", None, "<!DOCTYPE a [<!ENTITY e 'x'>]><a/>", FAIL),
    ("contains-xml", {"requiredElements": ["a.b"]}, "so: <a><b>1</b></a>", PASS),
    ("contains-xml", None, "1 < 2 > 0", FAIL),
    ("is-html", None, "<p>x</p>", PASS),
    ("is-html", None, "<p>x</p> tail", FAIL),
    ("contains-html", None, "see <b>x</b> &amp; y", PASS),
    ("contains-html", None, "a < b", FAIL),
    ("tool-call-f1", ["search"], '[{"function": {"name": "search"}}]', PASS),
    ("tool-call-f1", "search, book", '{"tool_calls": [{"name": "search"}]}', FAIL),
    ("rouge-n", "the cat sat", "the cat sat", PASS),
    ("bleu", ["nothing like", "the cat sat on it"], "the cat sat on it", PASS),
    ("gleu", "the cat sat", "a dog ran", FAIL),
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


@pytest.mark.parametrize(
    ("type_", "known", "why"),
    [
        ("cost", {"usd": 0.01}, "its cost is not known: prices in ratchet.yaml lack the base model"),
        ("perplexity", {"logprob": -0.1}, "the provider told no log-probabilities"),
        ("not-perplexity-score", {"logprob": -9.0}, "the provider told no log-probabilities"),
    ],
)
def test_what_is_not_known_of_an_answer_is_an_error_and_never_a_pass(type_: str, known: Any, why: str) -> None:
    judged = case(
        assertion("contains", "x"), assertion(type_, threshold=2.0 if type_ != "not-perplexity-score" else 0.5)
    )
    assert grade(judged, answer("x")) == Grade(ERROR, f"c-1: {why}", 0.0)
    assert grade(judged, replace(answer("x"), **known)).outcome is PASS


@pytest.mark.parametrize("finish", [Finish.EMPTY, Finish.BLOCKED])
@pytest.mark.parametrize("type_", ["not-contains", "not-regex", "not-equals", "not-is-json"])
def test_an_answer_without_text_is_an_error_for_negated_assertions_too(finish: Finish, type_: str) -> None:
    assert outcome(assertion(type_, "secret"), "", finish=finish) is ERROR


def test_an_answer_cut_by_the_token_limit_is_judged_as_it_is() -> None:
    assert outcome(assertion("contains", "yes"), "yes, and", finish=Finish.LENGTH) is PASS


@pytest.mark.parametrize(
    "never_fails",
    [
        case(),
        case(assertion("contains", "a"), threshold=0.0),
        case(assertion("contains", "a", weight=0.0)),
        case(Assertion(type="assert-set", negated=False, value=None, threshold=0.0, of=(assertion("contains", "a"),))),
        case(
            Assertion(
                type="assert-set", negated=False, value=None, threshold=None, of=(assertion("equals", "a", weight=0.0),)
            )
        ),
    ],
)
def test_a_case_that_nothing_could_fail_is_no_pass(never_fails: Case) -> None:
    assert grade(never_fails, answer("x")).outcome is CaseOutcome.UNJUDGED
    assert grade(never_fails, answer("", finish=Finish.EMPTY)).outcome is CaseOutcome.UNJUDGED


def test_all_assertions_must_hold_and_the_reason_names_the_first_that_does_not_without_text_of_the_model() -> None:
    both = case(assertion("contains", "alpha"), assertion("not-contains", "beta"))
    assert grade(both, answer("alpha")) == Grade(PASS)
    assert grade(both, answer("alpha beta sekret")) == Grade(FAIL, "c-1: not-contains [1] does not hold", 0.5)
    assert grade(both, answer("gamma")) == Grade(FAIL, "c-1: contains [0] does not hold", 0.5)


def test_with_a_threshold_the_weighted_score_decides_alone() -> None:
    asserts = (assertion("contains", "a", weight=3.0), assertion("contains", "b"))
    assert grade(case(*asserts, threshold=0.75), answer("a")) == Grade(PASS, "", 0.75)
    assert grade(case(*asserts, threshold=0.8), answer("a")) == Grade(FAIL, "c-1: the score 0.75 is below 0.8", 0.75)


def test_what_weighs_nothing_is_measured_and_never_fails() -> None:
    measured = assertion("rouge-n", "the cat", weight=0.0, metric="likeness")
    held = grade(case(assertion("contains", "dog", metric="facts"), measured), answer("dog"))
    assert held == Grade(PASS, "", 1.0, {"facts": 1.0, "likeness": 0.0})


def test_a_set_counts_as_one_and_may_let_some_of_its_own_fail() -> None:
    parts = (assertion("contains", "a", metric="m"), assertion("contains", "b", metric="m"))
    half = Assertion(type="assert-set", negated=False, value=None, threshold=0.5, weight=2.0, metric="set", of=parts)
    found = grade(case(half, assertion("contains", "c")), answer("a c"))
    assert (found.outcome, found.score) == (PASS, pytest.approx(2 / 3))
    assert found.metrics == {"m": 0.5, "set": 0.5}
    every = Assertion(type="assert-set", negated=False, value=None, threshold=None, of=parts)
    assert grade(case(every), answer("a")).reason == "c-1: assert-set [0]: contains [0][1] does not hold"


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
    "source",
    [
        r"(?=a)b", r"(?!a)b", r"(?<=a)b", r"(?<!a)b", r"x\1", r"(a)\1", r"(?<n>a)\k<n>", r"(?P<n>a)", r"(?i)a",
        r"(?i:a)", r"(?>a)", r"a++b", r"(?#x)", r"[]a]", r"\p{L}", r"\Aa", r"a\Z", r"\01", r"\cA", r"\x4", r"a{1001}",
        "(", r"a**", "\\", "x" * 1001,
    ],
)  # fmt: skip
def test_a_pattern_that_only_one_of_javascript_and_re2_knows_is_refused(source: str) -> None:
    with pytest.raises(BadPattern, match="; "):
        pattern(source)


@pytest.mark.parametrize(
    "source",
    [r"(a+)+$", r"(a|a)*b", r"(\w+\s?)*$", r"a.*b.*c.*d", r"(.*)(.*)(.*)x", r"(a?){40}a{40}b", r"^(([a-z])+.)+[A-Z]$"],
)
def test_no_pattern_takes_long_on_the_longest_answer(source: str) -> None:
    started = time.process_time()
    outcome(assertion("regex", source), "a" * 16383 + "!")
    assert time.process_time() - started < 2


@pytest.mark.parametrize("type_", sorted({*KINDS} - {"latency"}))
@pytest.mark.parametrize(
    "text",
    ["{" * 16384, '{"a":' * 3276, "[" * 16384, "a " * 8192, "." * 16384, "' " * 8192, '"' * 16384, "``" * 8192,
     "<a>" * 5461, "<!--" * 4096, "<a b='" * 2730, "<a></a>" * 2340, "<!DOCTYPE a [" * 1260, "&a;" * 5461,
     "\x00\u202e<b>" * 2000, "\ud800" * 5000, "😀" * 4096, " " * 16384, "(can't)" * 2340],
    ids=range(19),
)  # fmt: skip
def test_a_hostile_answer_is_judged_in_bounded_time(type_: str, text: str) -> None:
    values = {"contains-json": {"required": ["b"]}, "is-json": {"type": "array"}, "word-count": 3, "is-refusal": None}
    value = values.get(type_, "stop" if type_ == "finish-reason" else "a " * 2000)
    value = "(a|b)+c" if type_ == "regex" else value
    started = time.process_time()
    value = ["a"] if type_ == "tool-call-f1" else value
    assert outcome(assertion(type_, value), text) in (PASS, FAIL, ERROR)
    assert time.process_time() - started < 5


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        ("contains", ""), ("contains", True), ("contains-all", []), ("contains-any", ""), ("contains-any", '"a'),
        ("contains-any", '"a" b'), ("contains-all", [["a"]]), ("starts-with", 1), ("regex", "("), ("levenshtein", 1),
        ("word-count", "many"), ("word-count", {}), ("word-count", {"min": 2, "max": 1}), ("word-count", True),
        ("is-refusal", "x"), ("finish-reason", "content_filter"), ("latency", 5), ("bleu", []), ("gleu", [1]),
        ("is-xml", " "), ("is-xml", {"elements": []}), ("contains-xml", 3), ("is-html", "p"), ("tool-call-f1", []),
        ("tool-call-f1", 3), ("rouge-n", ["a"]), ("is-json", 3), ("is-json", {"type": "nope"}), ("is-json", "{a"),
        ("is-json", ["x"]),
        ("is-json", {"$schema": "https://json-schema.org/draft/2020-12/schema"}),
        ("contains-json", {"properties": {"a": {"$ref": "https://example.com/x"}}}),
    ],
)  # fmt: skip
def test_a_value_that_a_type_cannot_use_is_refused_with_its_mend(type_: str, value: Any) -> None:
    with pytest.raises(Unfit, match="; "):
        KINDS[type_].fits(value)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=30), st.text(max_size=60))
def test_any_pattern_is_refused_or_judges_any_text(source: str, text: str) -> None:
    try:
        compiled = pattern(source)
    except BadPattern:
        return
    compiled.found_in(text)


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
    assert float(text_of(value)) == value
