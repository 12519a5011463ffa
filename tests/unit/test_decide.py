"""The pure rule: both sides of every limit, and what must never change a decision."""

import random
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratchet.domain.choose import choose, compare_with_current
from ratchet.domain.codec import canonical, decode, encode
from ratchet.domain.decide import Decision, Outcome, Situation, decide, evidence_digest, why_not
from ratchet.domain.gates import Candidate, Measured, Verdict, assess, measure
from ratchet.domain.keys import CheckpointKey, JobKey, Provider
from ratchet.domain.policy import (
    BaselineUse,
    Comparison,
    Criterion,
    Gate,
    Mode,
    Policy,
    SuiteEvidence,
    Until,
    WhenMissing,
    selects,
)
from ratchet.domain.records import (
    Checkpoint,
    CheckpointState,
    Hold,
    Job,
    JobState,
    Lease,
    Measure,
    Purpose,
    RunOutcome,
    SmokeRun,
    Summary,
)
from support.world import ALIAS, START, policy, suite

JOB = JobKey(Provider.VERTEX, "42", "us-central1", "8812")
PASS_RATE = "suites.core.pass_rate"


def run_of(
    key: CheckpointKey, passed: int = 20, total: int = 20, *, errors: int = 0, outcome: RunOutcome | None = None
) -> SmokeRun:
    return SmokeRun(
        key=f"run-{key}-{passed}",
        checkpoint=key,
        job=key.job,
        suite="core",
        suite_digest=suite().digest,
        purpose=Purpose.GATE,
        occasion="-",
        attempt=1,
        lease=Lease("me", 1, START),
        started_at=START,
        finished_at=START,
        outcome=outcome or (RunOutcome.PASS if passed == total else RunOutcome.FAIL),
        reason="" if outcome is None else "throttled",
        summary=Summary(
            total=total,
            passed=passed,
            failed=total - passed - errors,
            errors=errors,
            cases=total,
            latency_p50_ms=100,
            latency_p95_ms=900,
            tokens_in=1,
            tokens_out=1,
        ),
    )


def candidate(
    step: int = 100,
    passed: int = 20,
    *,
    job: JobKey = JOB,
    metrics: dict[str, float] | None = None,
    run: SmokeRun | None = None,
    tested: bool = True,
    state: CheckpointState = CheckpointState.READY,
) -> Candidate:
    key = CheckpointKey(job, str(step))
    checkpoint = Checkpoint(
        key=key,
        job=job,
        base_model="gemini-2.5-flash",
        labels={},
        job_created_at=START,
        recorded_at=START,
        state=state,
        step=step,
        epoch=step // 100,
        target=f"projects/42/locations/us-central1/endpoints/{step}",
        metrics={name: Measure(value, "checkpoint") for name, value in (metrics or {}).items()},
        tested=(suite().digest,) if tested else (),
    )
    return Candidate(checkpoint=checkpoint, runs={"core": run or run_of(key, passed)} if tested else {})


def situation(*candidates: Candidate, rule: Policy | None = None, **changes: object) -> Situation:
    job = Job(
        key=JOB,
        state=JobState.SUCCEEDED,
        first_seen_at=START,
        ended_at=START,
        checkpoint_ids=tuple(c.key.id for c in candidates),
    )
    made = Situation(
        policy=rule or policy(apply=()),
        job=job,
        candidates=candidates,
        current=None,
        last_good=None,
        quarantine=frozenset(),
        hold=None,
        now=START,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def gate(metric: str, *texts: str) -> Gate:
    comparisons = []
    for text in texts:
        op, rest = text.split(" ", 1)
        if rest.startswith("baseline"):
            offset = rest.removeprefix("baseline").replace(" ", "")
            percent = offset.endswith("%")
            comparisons.append(Comparison(op, text, None, float(offset.rstrip("%") or 0), percent))
        else:
            comparisons.append(Comparison(op, text, float(rest)))
    return Gate(id="g", metric=metric, passes=tuple(comparisons))


@pytest.mark.parametrize(
    ("limit", "passing", "failing"),
    [
        (">= 0.9", 18, 17),
        ("> 0.9", 19, 18),
        ("<= 0.5", 10, 11),
        ("< 0.5", 9, 10),
        ("== 0.5", 10, 9),
        ("!= 0.5", 9, 10),
    ],
)
def test_each_operator_on_both_sides_of_its_limit(limit: str, passing: int, failing: int) -> None:
    rule = policy(gates=(gate(PASS_RATE, limit),))
    assert assess(rule, candidate(passed=passing), None, START).verdict is Verdict.PASS
    assert assess(rule, candidate(passed=failing), None, START).verdict is Verdict.FAIL


@pytest.mark.parametrize(
    ("limit", "baseline", "passing", "failing"),
    [
        (">= baseline", 16, 16, 15),
        (">= baseline - 0.1", 16, 14, 13),
        (">= baseline + 0.1", 16, 18, 17),
        (">= baseline + 25%", 16, 20, 19),
        ("<= baseline - 25%", 16, 12, 13),
    ],
)
def test_each_form_of_baseline_comparison(limit: str, baseline: int, passing: int, failing: int) -> None:
    rule = policy(gates=(gate(PASS_RATE, limit),))
    stands = candidate(999, baseline)
    assert assess(rule, candidate(passed=passing), stands, START).verdict is Verdict.PASS
    assert assess(rule, candidate(passed=failing), stands, START).verdict is Verdict.FAIL


def test_a_list_of_comparisons_is_and_and_the_tightest_is_shown() -> None:
    rule = policy(gates=(gate(PASS_RATE, ">= 0.5", ">= 0.9"),))
    result = assess(rule, candidate(passed=17), None, START).gates[0]
    assert (result.verdict, result.bound) == (Verdict.FAIL, 0.9)
    assert result.margin == pytest.approx(-0.05)


def test_a_percentage_of_a_zero_baseline_is_inconclusive() -> None:
    rule = policy(gates=(gate(PASS_RATE, ">= baseline + 2%"),))
    assert assess(rule, candidate(), candidate(999, 0), START).verdict is Verdict.INCONCLUSIVE


def test_without_a_baseline_its_gates_are_shown_and_do_not_count() -> None:
    both = policy(gates=(gate(PASS_RATE, ">= 0.5"), gate(PASS_RATE, ">= baseline")))
    judged = assess(both, candidate(), None, START)
    assert judged.verdict is Verdict.PASS
    assert (judged.gates[1].note, judged.gates[1].counts) == ("no baseline", False)
    alone = policy(gates=(gate(PASS_RATE, ">= baseline"),))
    assert assess(alone, candidate(), None, START).verdict is Verdict.INCONCLUSIVE


def test_losses_of_other_sources_are_not_compared() -> None:
    rule = policy(gates=(gate("valid_loss", "<= baseline"),), evidence=())
    ours = candidate(metrics={"valid_loss": 0.1})
    theirs = candidate(999, metrics={"valid_loss": 0.2})
    other = replace(theirs, checkpoint=replace(theirs.checkpoint, metrics={"valid_loss": Measure(0.2, "event")}))
    assert assess(rule, ours, theirs, START).verdict is Verdict.PASS
    assert assess(rule, ours, other, START).verdict is Verdict.INCONCLUSIVE
    assert (
        compare_with_current(ours, other, (Criterion(metric="valid_loss", higher_is_better=False, tie=0),))[0] is None
    )


@pytest.mark.parametrize(
    ("given_candidate", "missing"),
    [
        (candidate(tested=False), "no finished run"),
        (candidate(run=run_of(CheckpointKey(JOB, "100"), outcome=RunOutcome.INCONCLUSIVE)), "inconclusive: throttled"),
        (candidate(run=run_of(CheckpointKey(JOB, "100"), 5, 5)), "has 5 cases, 10 are needed"),
        (candidate(state=CheckpointState.WAITING), "the checkpoint is waiting"),
    ],
)
def test_missing_evidence_is_never_a_pass_row60(given_candidate: Candidate, missing: str) -> None:
    assessed = assess(policy(), given_candidate, None, START)
    assert assessed.verdict is Verdict.INCONCLUSIVE
    assert missing in why_not(assessed)


def test_evidence_goes_stale() -> None:
    fresh = SuiteEvidence(suite="core", suite_digest=suite().digest, min_cases=1, max_age=timedelta(hours=72))
    rule = policy(evidence=(fresh,))
    assert assess(rule, candidate(), None, START + timedelta(hours=72)).verdict is Verdict.PASS
    assert assess(rule, candidate(), None, START + timedelta(hours=73)).verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        ("suites.core.error_rate", 0.1),
        ("suites.core.cases", 20.0),
        ("suites.core.latency_p50_ms", 100.0),
        ("suites.core.latency_p95_ms", 900.0),
        ("step", 100.0),
        ("epoch", 1.0),
        ("valid_loss", 0.25),
    ],
)
def test_every_metric_has_its_value(metric: str, value: float) -> None:
    key = CheckpointKey(JOB, "100")
    measured = measure(candidate(run=run_of(key, 18, errors=2), metrics={"valid_loss": 0.25}), metric)
    assert isinstance(measured, Measured)
    assert measured.value == value


@pytest.mark.parametrize("metric", ["suites.other.pass_rate", "suites.core.beauty", "train_loss"])
def test_an_absent_metric_says_what_is_missing(metric: str) -> None:
    assert isinstance(measure(candidate(), metric), str)
    nowhere = candidate()
    nowhere = replace(nowhere, checkpoint=replace(nowhere.checkpoint, step=None))
    assert measure(nowhere, "step") == "no step is known"


def test_settle_waits_for_the_end_and_for_the_last_test_but_not_for_ever() -> None:
    tested, untested = candidate(100), candidate(200, tested=False)
    running = situation(tested, job=replace(situation(tested).job, state=JobState.RUNNING))
    assert decide(running).waiting_for == "settle"
    open_ = situation(tested, untested)
    ruling = decide(open_)
    assert (ruling.outcome, ruling.until) == (Outcome.WAITING, START + timedelta(hours=24))
    assert decide(replace(open_, now=START + timedelta(hours=24))).candidate == tested.key
    gone = situation(tested, replace(untested, checkpoint=replace(untested.checkpoint, state=CheckpointState.GONE)))
    assert decide(gone).outcome is Outcome.PROMOTED
    unknown = situation(tested, job=replace(situation(tested).job, checkpoint_ids=("100", "300")))
    assert decide(unknown).outcome is Outcome.WAITING


def test_each_checkpoint_does_not_wait_unless_a_default_is_written() -> None:
    eager = policy(until=Until.EACH_CHECKPOINT, apply=())
    running = replace(situation(candidate()).job, state=JobState.RUNNING)
    assert decide(situation(candidate(), rule=eager, job=running)).outcome is Outcome.PROMOTED
    writes = policy(until=Until.EACH_CHECKPOINT)
    assert decide(situation(candidate(), rule=writes, job=running)).outcome is Outcome.WAITING


def test_no_candidate_is_a_refusal_that_says_why() -> None:
    assert decide(situation()).reason == "no candidate: job 8812 has no checkpoint"
    quarantined = situation(candidate(), quarantine=frozenset({candidate().key}))
    assert decide(quarantined).reason == "no candidate: step 100 is quarantined"
    gone = situation(candidate(state=CheckpointState.GONE))
    assert decide(gone).reason == "no candidate: step 100 is gone"


def test_a_policy_may_ask_for_a_baseline() -> None:
    rule = policy(when_missing=WhenMissing.BLOCK, apply=())
    assert decide(situation(candidate(), rule=rule)).outcome is Outcome.INCONCLUSIVE
    old = candidate(50, 18, job=replace(JOB, id="1"))
    assert decide(situation(candidate(), rule=rule, current=old)).outcome is Outcome.PROMOTED
    last_good = replace(rule, baseline=BaselineUse.LAST_GOOD)
    assert decide(situation(candidate(), rule=last_good, last_good=old)).outcome is Outcome.PROMOTED
    none = replace(rule, baseline=BaselineUse.NONE)
    assert decide(situation(candidate(), rule=none)).outcome is Outcome.PROMOTED


def test_one_inconclusive_candidate_makes_a_refusal_inconclusive() -> None:
    failing, untested = candidate(100, 3), candidate(200, tested=False)
    late = START + timedelta(hours=24)
    assert decide(situation(failing)).outcome is Outcome.REJECTED
    assert decide(situation(failing, untested, now=late)).outcome is Outcome.INCONCLUSIVE


def test_a_dry_run_names_the_wait_that_would_follow() -> None:
    held = Hold(actor="ana", reason="freeze", since=START)
    ruling = decide(situation(candidate(), rule=policy(mode=Mode.DRY_RUN, apply=()), hold=held))
    assert ruling.outcome is Outcome.WOULD_PROMOTE
    assert ruling.reason.endswith("it would then wait for the hold of ana")


def test_the_current_must_be_beaten_by_more_than_the_tie() -> None:
    rule = policy(
        gates=(gate(PASS_RATE, ">= 0.5"),),
        choose=(Criterion(metric=PASS_RATE, higher_is_better=True, tie=0.05),),
        apply=(),
    )
    current = candidate(50, 18, job=replace(JOB, id="1"))
    assert decide(situation(candidate(passed=19), rule=rule, current=current)).outcome is Outcome.KEPT_CURRENT
    assert decide(situation(candidate(passed=20), rule=rule, current=current)).outcome is Outcome.PROMOTED
    assert decide(situation(candidate(passed=16), rule=rule, current=current)).outcome is Outcome.KEPT_CURRENT
    unknown = replace(current, runs={})
    assert decide(situation(candidate(), rule=rule, current=unknown)).outcome is Outcome.INCONCLUSIVE


def test_the_step_says_nothing_across_jobs() -> None:
    by_step = (Criterion(metric="step", higher_is_better=False, tie=0),)
    elsewhere = candidate(500, job=replace(JOB, id="1"))
    assert compare_with_current(candidate(100), elsewhere, by_step)[0] is False
    assert compare_with_current(candidate(100), candidate(500), by_step)[0] is True


def test_ties_go_to_the_next_criterion_then_to_the_earlier_step() -> None:
    criteria = (
        Criterion(metric=PASS_RATE, higher_is_better=True, tie=0.05),
        Criterion(metric="valid_loss", higher_is_better=False, tie=0.0),
    )
    a = candidate(100, 20, metrics={"valid_loss": 0.3})
    b = candidate(200, 19, metrics={"valid_loss": 0.2})
    c = candidate(300, 19, metrics={"valid_loss": 0.2})
    assert choose([a, b, c], criteria)[0].key == b.key
    assert choose([a, candidate(200, 19)], criteria)[0].key == a.key
    assert (
        choose([candidate(300), candidate(200)], (Criterion(metric="nothing", higher_is_better=True, tie=0),))[0].key.id
        == "200"
    )


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    steps = draw(st.lists(st.integers(1, 9), min_size=0, max_size=6, unique=True))
    made = []
    for step in steps:
        key = CheckpointKey(JOB, str(step * 100))
        total = draw(st.sampled_from([0, 5, 20]))
        run = run_of(key, draw(st.integers(0, total)), total) if total else None
        outcome = draw(st.sampled_from([None, RunOutcome.INCONCLUSIVE]))
        if run is not None and outcome is not None:
            run = replace(run, outcome=outcome)
        metrics = draw(st.dictionaries(st.sampled_from(["valid_loss", "train_loss"]), st.floats(-1, 1)))
        made.append(candidate(step * 100, metrics=metrics, run=run, tested=run is not None))
    gates = draw(
        st.lists(
            st.builds(
                gate,
                st.sampled_from([PASS_RATE, "valid_loss", "suites.core.latency_p95_ms", "step"]),
                st.sampled_from([">= 0.5", "<= 0.9", ">= baseline - 0.1", "<= baseline + 2%", "== 1"]),
            ),
            min_size=1,
            max_size=3,
        )
    )
    rule = policy(gates=tuple(gates), mode=draw(st.sampled_from(list(Mode))), apply=())
    current = candidate(50, draw(st.integers(0, 20)), job=replace(JOB, id="1")) if draw(st.booleans()) else None
    hold = Hold(actor="ana", reason="freeze", since=START) if draw(st.booleans()) else None
    now = START + timedelta(hours=draw(st.sampled_from([0, 25])))
    return situation(*made, rule=rule, current=current, hold=hold, now=now)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(situations(), st.randoms(use_true_random=False))
def test_the_order_of_candidates_never_matters(given_situation: Situation, chance: random.Random) -> None:
    shuffled = list(given_situation.candidates)
    chance.shuffle(shuffled)
    other = replace(given_situation, candidates=shuffled)
    assert decide(other) == decide(given_situation)
    assert evidence_digest(other) == evidence_digest(given_situation)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(situations())
def test_a_candidate_that_fails_a_gate_is_never_chosen_and_a_failing_one_more_changes_no_winner(
    given_situation: Situation,
) -> None:
    ruling = decide(given_situation)
    verdicts = {assessment.checkpoint: assessment.verdict for assessment in ruling.assessments}
    if ruling.candidate is not None:
        assert verdicts[ruling.candidate] is Verdict.PASS
        more = candidate(1000, tested=False)
        job = replace(given_situation.job, checkpoint_ids=given_situation.job.checkpoint_ids)
        wider = replace(given_situation, candidates=(*given_situation.candidates, more), job=job)
        assert decide(wider).candidate == ruling.candidate


@settings(max_examples=300, deadline=None, derandomize=True)
@given(situations())
def test_a_decision_survives_the_store(given_situation: Situation) -> None:
    ruling = decide(given_situation)
    decision = Decision(
        id="0" * 64,
        alias=ALIAS,
        kind="policy",
        outcome=ruling.outcome,
        reason=ruling.reason,
        at=START,
        actor="policy",
        actor_verified=True,
        generation=0,
        serial=0,
        candidate=ruling.candidate,
        until=ruling.until,
        assessments=ruling.assessments,
        trace=ruling.trace,
    )
    assert decode(Decision, encode(decision)) == decision
    assert canonical(decision) == canonical(decode(Decision, encode(decision)))


def test_a_policy_says_why_it_does_not_select() -> None:
    rule = policy()

    def why(**changes: object) -> str | None:
        facts: dict[str, object] = {
            "provider": Provider.VERTEX,
            "base_model": "gemini-2.5-flash",
            "labels": rule.select.labels,
            "job_created_at": START,
            "since": START,
        }
        return selects(changes.pop("rule", rule), **{**facts, **changes})  # type: ignore[arg-type]

    assert why() is None
    assert why(rule=policy(mode=Mode.DISABLED)) == "the policy is disabled"
    assert why(job_created_at=START - timedelta(seconds=1)) == "the job is older than since (2026-11-22T12:00Z)"
    assert why(job_created_at=None) == "the job is older than since (2026-11-22T12:00Z)"
    assert why(labels={}) == "it has no label ratchet-line"
    assert why(labels={"ratchet-line": "x"}) == "its label ratchet-line is 'x', not 'support-router'"
    vertex_only = policy(select=replace(rule.select, providers=frozenset({Provider.OPENAI})))
    assert why(rule=vertex_only) == "its provider is vertex"
    one_base = policy(select=replace(rule.select, base_models=frozenset({"gemini-2.5-pro"})))
    assert why(rule=one_base) == "its base model is gemini-2.5-flash"
