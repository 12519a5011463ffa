"""Whatever a model says is data: every assertion type comes to a verdict on it, soon, and in little memory."""

import hashlib
import json
import resource
import sys
import time
from typing import Any

import pytest

from ratchet.adapters.assertions.facts import FACTS
from ratchet.adapters.assertions.grade import KINDS, TEXT_LIMIT, grade
from ratchet.adapters.assertions.tool_calls import VALID_CALLS
from ratchet.domain.records import CaseOutcome
from ratchet.domain.suite import Assertion, Case
from ratchet.ports import Answer, Finish

_LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
HOSTILE = {
    "letters": "a" * TEXT_LIMIT,
    "words": "a " * (TEXT_LIMIT // 2),
    "different words": " ".join(map(str, range(3300))),
    "digits": "9" * TEXT_LIMIT,
    "an exponent": "1e" + "9" * 400,
    "control characters": "".join(map(chr, range(32))) * 500,
    "bidi": "\u202eright\u2066\u2069\u200f" * 900,
    "combining": "e" + "\u0301" * 8000,
    "expanding": "\u0130\ufb03\u1e9e" * 1800,
    "newlines": "\r\n\u2028\u2029" * 2000,
    "arrays": "[" * TEXT_LIMIT,
    "closed arrays": "[" * 8000 + "]" * 8000,
    "objects": '{"a":' * 3000 + "1" + "}" * 3000,
    "many braces": "{" * 8000 + "}" * 8000,
    "broken objects": '{"a":1' * 2700,
    "one key often": "{" + ",".join(['"a":1'] * 2700) + "}",
    "tags": "<a>" * 5400,
    "closed tags": "<a>" * 2300 + "</a>" * 2300,
    "broken tags": "<a <b " * 2700,
    "attributes": "<a " + " ".join(f'x{n}="1"' for n in range(1500)) + "/>",
    "comments": "<!--" * 4000,
    "laughs": f"<!DOCTYPE a [<!ENTITY l0 'ha'>{_LAUGHS}]><a>&l9;</a>",
    "a long entity": f"<!DOCTYPE a [<!ENTITY l '{'x' * 5000}'>]><a>{'&l;' * 3000}</a>",
    "a file as entity": "<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><a>&x;</a>",
    "a script": "<script>alert(1)</script>" * 600,
    "escapes": "\\u0000\\ud800" * 1300,
    "backtracking": "a" * 16_000 + "!",
    "tool calls": '[{"function": {"name": "a", "arguments": "{}"}}]' * 300,
    "a number that is none": "[NaN]",
    "deep arguments": json.dumps([{"function": {"name": "a", "arguments": "[" * 16_000}}]),
    "matching arguments": json.dumps([{"function": {"name": "a", "arguments": json.dumps("a" * 16_000 + "!")}}]),
    "apologies": "I am sorry, as an AI I cannot " * 540,
}
LONG = " ".join(f"word{n}" for n in range(1500))
VALUES: dict[str, list[Any]] = {
    "bleu": [LONG, [LONG, "a a a a"]],
    "contains": ["b"],
    "contains-all": [["b", "c"]],
    "contains-any": [["b", "c"]],
    "contains-html": [None],
    "contains-json": [None, {"type": "object", "required": ["b"]}, {"pattern": "(a+)+$"}],
    "contains-xml": [None, "a.b.c"],
    "cost": [None],
    "equals": ["b", {"a": 1}, [[]]],
    "finish-reason": ["stop"],
    "gleu": [LONG, "a"],
    "icontains": ["\u0130"],
    "icontains-all": [["b"]],
    "icontains-any": [["b"]],
    "is-html": [None],
    "is-json": [
        None,
        {"type": "array", "items": {"type": "array"}},
        {"$defs": {"x": {"items": {"$ref": "#/$defs/x"}}}},
    ],
    "is-refusal": [None],
    "is-xml": [None, "a.b"],
    "is-valid-openai-tools-call": [{}, {"a": {"pattern": "(a+)+$"}}],
    "latency": [None],
    "levenshtein": [LONG, "a" * TEXT_LIMIT],
    "perplexity": [None],
    "perplexity-score": [None],
    "regex": ["(a+)+$", "(a|aa)*b", "([a-z]+)*!$", r"(\w+\s?)*$", "(x*)*y"],
    "rouge-n": [LONG, "a a a"],
    "starts-with": ["b"],
    "tool-call-f1": ["a,b"],
    "word-count": [3, {"min": 1, "max": 9}],
}


def test_every_type_is_tried() -> None:
    assert VALUES.keys() == KINDS.keys()


@pytest.mark.parametrize("kind", sorted(VALUES))
def test_a_hostile_answer_is_judged_soon_and_in_little_memory(kind: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name, said in HOSTILE.items():
        text = said.encode("utf-8", "replace")[:TEXT_LIMIT].decode("utf-8", "ignore")
        sha256, called = hashlib.sha256(text.encode()).hexdigest(), kind == VALID_CALLS
        answer = Answer(0, text, Finish.STOP, sha256, 10, 1, 1, usd=0.1, called=called, logprob=-1e9)
        for value in VALUES[kind]:
            threshold = 1.0 if kind in FACTS else None
            item = Assertion(type=kind, negated=False, value=value, threshold=threshold)
            began = time.process_time()
            found = grade(Case(id="c", prompt="p", asserts=(item,)), answer)
            took = time.process_time() - began
            assert found.outcome in (CaseOutcome.PASS, CaseOutcome.FAIL, CaseOutcome.ERROR)
            assert took < 1, f"{kind} took {took:.2f} s on {name}"
            assert len(found.reason) < 100
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < (100_000_000 if sys.platform == "darwin" else 100_000), f"{kind} needed {grown} more"


def test_no_entity_of_an_answer_is_resolved() -> None:
    for name in ("laughs", "a long entity", "a file as entity"):
        text = HOSTILE[name][:TEXT_LIMIT]
        answer = Answer(0, text, Finish.STOP, hashlib.sha256(text.encode()).hexdigest(), 10, 1, 1)
        item = Assertion(type="contains-xml", negated=False, value="a.root", threshold=None)
        assert grade(Case(id="c", prompt="p", asserts=(item,)), answer).outcome is not CaseOutcome.PASS
