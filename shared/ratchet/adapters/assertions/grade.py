"""Verdicts on a model's answer, equal to promptfoo's for the assertion types that we support.

What differs, on purpose: an answer without usable text is an error, never a pass (promptfoo lets `not-contains` pass on
it), and a reason never holds text of the model.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import replace

from ratchet.adapters.assertions.documents import DOCUMENTS
from ratchet.adapters.assertions.facts import FACTS, unknown
from ratchet.adapters.assertions.kinds import Kind
from ratchet.adapters.assertions.likeness import LIKENESS
from ratchet.adapters.assertions.markup import MARKUP
from ratchet.adapters.assertions.texts import TEXTS
from ratchet.adapters.assertions.tool_calls import TOOL_CALLS
from ratchet.domain.grading import Grade, Part, weighed
from ratchet.domain.records import CaseOutcome
from ratchet.domain.suite import Assertion, Case
from ratchet.ports import Answer, Finish

TEXT_LIMIT = 16 * 1024
KINDS: Mapping[str, Kind] = {**TEXTS, **LIKENESS, **DOCUMENTS, **MARKUP, **TOOL_CALLS, **FACTS}


def grade(case: Case, answer: Answer) -> Grade:
    """What all of a case's assertions come to. The reason names what failed by type, place and case."""
    if answer.finish in (Finish.EMPTY, Finish.BLOCKED):
        return _error(case, f"the answer is {answer.finish}")
    missing = next(filter(None, (unknown(each.type, answer) for each in _all(case.asserts))), "")
    if missing:
        return _error(case, missing)
    if _cut(answer) and any(each.type not in FACTS for each in _all(case.asserts)):
        return _error(case, "the answer is longer than 16 KiB")
    try:
        parts = [_part(assertion, answer, f"[{n}]") for n, assertion in enumerate(case.asserts)]
    except RecursionError:
        return _error(case, "it cannot be judged, the answer is nested too deep")
    return weighed(case, parts)


def _part(assertion: Assertion, answer: Answer, place: str) -> Part:
    if assertion.of:
        parts = [_part(each, answer, f"{place}[{n}]") for n, each in enumerate(assertion.of)]
        return Part.of_set(assertion, parts, place)
    kind = KINDS[assertion.type]
    limited = replace(assertion, threshold=kind.threshold) if assertion.threshold is None else assertion
    found = kind.judge(limited, answer)
    passed = found.holds is not assertion.negated
    score = float(passed) if found.score is None else found.score
    if assertion.negated and found.score is not None and found.turned:
        score = 1 - score
    return Part.of_one(assertion, passed, score, place)


def _all(asserts: tuple[Assertion, ...]) -> list[Assertion]:
    return [each for assertion in asserts for each in (assertion.of or (assertion,))]


def _error(case: Case, why: str) -> Grade:
    return Grade(CaseOutcome.ERROR if case.judged else CaseOutcome.UNJUDGED, f"{case.id}: {why}", 0.0)


def _cut(answer: Answer) -> bool:
    raw = answer.text.encode("utf-8", "surrogatepass")
    return len(raw) > TEXT_LIMIT - 4 and (len(raw) > TEXT_LIMIT or hashlib.sha256(raw).hexdigest() != answer.sha256)
