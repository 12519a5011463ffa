"""What the assertions of a case come to together."""

import pytest

from ratchet.domain.grading import Grade, Part, weighed
from ratchet.domain.records import CaseOutcome
from ratchet.domain.suite import Assertion, Case

PASS, FAIL = CaseOutcome.PASS, CaseOutcome.FAIL


def said(weight: float = 1.0, metric: str = "", *, negated: bool = False) -> Assertion:
    return Assertion(type="contains", negated=negated, value="x", threshold=None, weight=weight, metric=metric)


def one(passed: bool, weight: float = 1.0, metric: str = "", score: float | None = None, place: str = "[0]") -> Part:
    return Part.of_one(said(weight, metric), passed, float(passed) if score is None else score, place)


def set_of(*parts: Part, threshold: float | None = None, weight: float = 1.0, metric: str = "") -> Part:
    made = Assertion(
        type="assert-set", negated=False, value=None, threshold=threshold, weight=weight, metric=metric, of=(said(),)
    )
    return Part.of_set(made, parts, "[3]")


def case(threshold: float | None = None) -> Case:
    return Case(id="c", prompt="p", asserts=(said(),), threshold=threshold)


def test_all_must_pass_and_the_reason_is_the_first_that_does_not() -> None:
    assert weighed(case(), [one(True), one(True)]) == Grade(PASS, "", 1.0)
    found = weighed(case(), [one(True), one(False, place="[1]"), one(False, place="[2]")])
    assert found == Grade(FAIL, "c: contains [1] does not hold", pytest.approx(1 / 3))
    negated = Part.of_one(said(negated=True), False, 0.0, "[0]")
    assert weighed(case(), [negated]).reason == "c: not-contains [0] does not hold"


def test_a_score_is_weighed_and_a_weight_of_zero_only_measures() -> None:
    assert weighed(case(), [one(True, 3.0), one(False, 1.0)]).score == 0.75
    assert weighed(case(), [one(True, 2.0, score=0.5), one(True, 2.0, score=1.0)]).score == 0.75
    assert weighed(case(), [one(False, 0.0), one(True)]) == Grade(PASS, "", 1.0)
    assert weighed(case(), [one(False, 0.0)]) == Grade(PASS, "", 0.0)


@pytest.mark.parametrize(("threshold", "outcome"), [(0.74, PASS), (0.75, PASS), (0.76, FAIL)])
def test_a_threshold_counts_the_score_alone(threshold: float, outcome: CaseOutcome) -> None:
    found = weighed(case(threshold), [one(True, 3.0), one(False, 1.0)])
    assert (found.outcome, found.score) == (outcome, 0.75)
    assert found.reason == ("" if outcome is PASS else "c: the score 0.75 is below 0.76")


def test_a_threshold_fails_what_passes_with_too_low_a_score() -> None:
    assert weighed(case(0.8), [one(True, score=0.79)]).outcome is FAIL


def test_a_metric_is_the_weighted_mean_of_those_that_bear_its_name() -> None:
    parts = [one(True, 3.0, "tone"), one(False, 1.0, "tone"), one(True, 2.0, "facts", score=0.5), one(True)]
    assert weighed(case(0.01), parts).metrics == {"facts": 0.5, "tone": 0.75}
    assert list(weighed(case(0.01), parts).metrics) == ["facts", "tone"]
    assert weighed(case(), [one(False, 0.0, "tone")]).metrics == {"tone": 0.0}


def test_a_set_has_its_own_mean_and_weighs_as_one() -> None:
    half = set_of(one(True), one(False), threshold=0.5, weight=3.0)
    assert (half.passed, half.score, half.weight) == (True, 0.5, 3.0)
    assert weighed(case(), [half, one(True, 1.0)]).score == 0.625
    every = set_of(one(True), one(False, place="[3][1]"))
    assert (every.passed, every.score) == (False, 0.5)
    assert every.reason == "assert-set [3]: contains [3][1] does not hold"
    assert weighed(case(), [every]).outcome is FAIL
    # As in promptfoo, a set that fails fails its case whatever it weighs.
    assert weighed(case(), [set_of(one(False), weight=0.0)]).outcome is FAIL


def test_the_metrics_in_a_set_weigh_as_much_as_the_set() -> None:
    inner = set_of(one(True, 1.0, "tone"), one(False, 3.0, "tone"), threshold=0.0, weight=2.0, metric="all")
    assert inner.metrics == {"tone": (2.0, 8.0), "all": (0.5, 2.0)}
    found = weighed(case(0.01), [inner, one(True, 2.0, "tone")])
    assert found.metrics == {"all": 0.25, "tone": 0.4}


def test_the_sets_own_name_wins_over_the_same_one_inside() -> None:
    assert set_of(one(True, 1.0, "tone"), one(False), threshold=0.0, metric="tone").metrics == {"tone": (0.5, 1.0)}


@pytest.mark.parametrize(
    ("asserts", "threshold", "judged"),
    [
        ((), None, False),
        ((said(),), None, True),
        ((said(),), 0.0, False),
        ((said(),), 0.1, True),
        ((said(0.0),), None, False),
        ((said(0.0), said(0.5)), None, True),
        ((said(0.0),), 0.5, True),
        ((), 0.5, False),
    ],
)
def test_a_case_is_judged_when_something_could_fail_it(
    asserts: tuple[Assertion, ...], threshold: float | None, judged: bool
) -> None:
    made = Case(id="c", prompt="p", asserts=asserts, threshold=threshold)
    assert made.judged is judged
    found = weighed(made, [one(True)])
    assert (found.outcome is CaseOutcome.UNJUDGED) is not judged
    assert found.reason == ""
    if threshold is None and asserts:
        for bar, is_judged in ((None, judged), (0.5, True), (0.0, False)):
            whole = Assertion(type="assert-set", negated=False, value=None, threshold=bar, weight=0.0, of=asserts)
            assert Case(id="c", prompt="p", asserts=(whole,)).judged is is_judged
