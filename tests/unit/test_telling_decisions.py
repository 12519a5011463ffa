"""How a decision is told: every word from its own evidence and its policy's text."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings

from ratchet.domain.decide import decide
from ratchet.domain.decision import Decision, Outcome, Standing
from ratchet.domain.evidence import Candidate, Evidence, JobFacts, observe
from ratchet.domain.keys import CheckpointKey, JobKey
from ratchet.domain.policy import (
    Approval,
    ApprovalWhen,
    Mode,
    MustBeat,
    Pacing,
    Policy,
    SuiteEvidence,
)
from ratchet.domain.records import (
    Alias,
    Ask,
    Checkpoint,
    CheckpointState,
    Hold,
    JobState,
    Lease,
    Move,
    Pointer,
    Purpose,
    RunOutcome,
    SmokeRun,
    Summary,
    Vote,
    Wait,
)
from ratchet_cli.telling.decision import document, render
from ratchet_cli.telling.story import Story
from support.decisions import Question, questions
from support.depth import deep
from support.tables import (
    ALIAS,
    EARLIER_JOB,
    JOB,
    NOW,
    RATE,
    candidate,
    evidence,
    gate,
    higher,
    lower,
    number,
    policy,
    rate,
)

ALIVE = "suites.core.error_rate"
RULES = policy(
    gate("alive", ALIVE, "<= 0.02"),
    gate("quality", RATE, ">= 0.90", level=0.90),
    gate("no-drop", RATE, ">= baseline - 0.01"),
    evidence=(SuiteEvidence(suite="core", suite_digest="s" * 64, min_cases=60, max_age=timedelta(hours=72)),),
    digest="4f1c9e" + "0" * 58,
)

PROMOTED = """\
d-9c3e10  support-router@prod  PROMOTED step 300 of vertex job 8812, replacing step 400 of job 8611   serial 17 -> 18
  gate     value          limit            90 % bound  margin  source
  alive    0.000 (0/60)   <= 0.02          -           +0.020  run r-311
  quality  0.967 (58/60)  >= 0.90          0.904       +0.004  run r-311
  no-drop  0.967 (58/60)  >= 0.950 - 0.01  -           +0.027  run r-311 against run r-309, same 60 cases
Why not step 200?  inconclusive: quality 0.950 (57/60, 0.881-0.980) straddles 0.90; 1 more passing case would pass
Why not step 400?  tied with step 300 within 0.01; the earlier step wins; 1 more passing case would win
Why not step 500 (Vertex's own default)?  rejected: quality 0.767 (46/60, 0.667-0.844) is below 0.90, \
no-drop 0.767 (46/60) is below 0.940 (>= baseline - 0.01); 12 more passing cases would pass
policy 4f1c9e  evidence 9ab07d  by policy  2026-11-22T14:03:11Z   undo: ratchet rollback support-router@prod \
--reason ...
"""


def recorded(step: int, job: JobKey) -> Checkpoint:
    return Checkpoint(
        key=CheckpointKey(job, str(step // 100)),
        job=job,
        base_model="gemini-2.5-flash",
        name="",
        labels={},
        datasets={},
        job_created_at=NOW - timedelta(hours=9),
        recorded_at=NOW - timedelta(hours=1),
        state=CheckpointState.READY,
        step=step,
        target=f"projects/42/locations/us-central1/endpoints/{step}",
        tested=("s" * 64,),
    )


def ended_run(checkpoint: Checkpoint, run: str, passed: int) -> SmokeRun:
    total = 60
    summary = Summary(
        total=total,
        passed=passed,
        errors=0,
        cases=total,
        repeats=1,
        error_cases=0,
        score=passed / total,
        latency_p50_ms=400,
        latency_p95_ms=900,
        tokens_in=1,
        tokens_out=1,
        failed=tuple(f"case-{n}" for n in range(total - passed)),
    )
    return SmokeRun(
        key=run,
        checkpoint=checkpoint.key,
        job=checkpoint.job,
        suite="core",
        suite_digest="s" * 64,
        purpose=Purpose.GATE,
        occasion="-",
        attempt=1,
        lease=Lease("me", 1, NOW),
        started_at=NOW - timedelta(minutes=40),
        outcome=RunOutcome.FAIL if passed < total else RunOutcome.PASS,
        last=True,
        summary=summary,
        finished_at=NOW - timedelta(minutes=30),
    )


def observed(step: int, run: str, passed: int, job: JobKey = JOB) -> Candidate:
    checkpoint = recorded(step, job)
    return observe(checkpoint, {"core": ended_run(checkpoint, run, passed)}, {"core": "s" * 64}, against={})


def from_records() -> Evidence:
    """What the example of the documentation was decided from."""
    serving = observed(400, "309", 57, EARLIER_JOB)
    candidates = (
        observed(200, "310", 57),
        observed(300, "311", 58),
        observed(400, "312", 58),
        observed(500, "313", 46),
    )
    facts = JobFacts(
        key=JOB,
        state=JobState.SUCCEEDED,
        first_seen_at=NOW - timedelta(hours=2),
        ended_at=NOW - timedelta(hours=1),
        checkpoint_ids=("2", "3", "4", "5"),
    )
    return Evidence(job=facts, candidates=candidates, current=serving, baseline=serving)


def decided(rules: Policy, table: Evidence, standing: Standing | None = None, **changes: object) -> Decision:
    """As `enforce_promotion` writes it down."""
    around = standing or Standing(current=table.current.key if table.current else None)
    ruling = decide(rules, table, around, changes.get("at", NOW))  # type: ignore[arg-type]
    steps = {each.key: each.step for each in table.candidates}
    made = Decision(
        id="9c3e10" + "0" * 58,
        alias=ALIAS,
        kind="policy",
        outcome=ruling.outcome,
        reason=ruling.reason,
        at=NOW,
        actor="policy",
        actor_verified=True,
        generation=1,
        serial=17,
        stage=ruling.stage,
        policy=rules.name,
        policy_digest=rules.digest,
        evidence_digest="9ab07d" + "0" * 58,
        job=table.job.key,
        candidate=ruling.candidate,
        candidate_step=steps.get(ruling.candidate) if ruling.candidate else None,
        baseline=ruling.baseline,
        waiting_for=ruling.waiting_for,
        until=ruling.until,
        assessments=ruling.assessments,
        trace=ruling.trace,
        evidence=table,
        standing=around,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def told(rules: Policy, decision: Decision, **alias: object) -> str:
    return render(story(rules, decision, **alias)) + "\n"


def story(rules: Policy, decision: Decision, **alias: object) -> Story:
    current = decision.evidence.current if decision.evidence else None
    return Story(
        decision=decision,
        alias=Alias(key=ALIAS, **alias),  # type: ignore[arg-type]
        policy=rules,
        replaced=current.key if current else None,
        replaced_step=current.step if current else None,
    )


def moved(decision: Decision) -> Mapping[str, object]:
    assert decision.candidate is not None
    pointer = Pointer(
        checkpoint=decision.candidate,
        step=decision.candidate_step,
        target="t",
        model=None,
        decision=decision.id,
        since=NOW,
    )
    return {"serial": 18, "current": pointer, "moves": (Move(serial=18, at=NOW, decision=decision.id),)}


def serving(step: int = 400, passed: int = 57) -> Candidate:
    return candidate(step, job=EARLIER_JOB, core__pass_rate=rate(passed, 60))


def test_the_example_of_the_documentation_is_told_from_its_records() -> None:
    decision = decided(RULES, from_records())
    assert told(RULES, decision, **moved(decision)) == PROMOTED


def test_the_same_facts_are_in_the_document() -> None:
    decision = decided(RULES, from_records())
    found = document(story(RULES, decision, **moved(decision)))
    assert found["serial_after"] == 18
    assert found["why_not"]["vertex:42:us-central1:8812/4"] == (
        "tied with step 300 within 0.01; the earlier step wins; 1 more passing case would win"
    )
    assert found["would_turn"]["vertex:42:us-central1:8812/5"] == {
        "changes": [{"metric": RATE, "cases": 12}],
        "then": "pass",
    }
    assert found["assessments"][1]["gates"][1]["low"] == pytest.approx(0.904, abs=5e-4)


def test_without_its_policy_a_decision_is_told_by_what_is_stored_with_it() -> None:
    decision = decided(RULES, from_records())
    text = render(replace(story(RULES, decision, **moved(decision)), policy=None))
    assert "quality  0.967 (58/60)  >= 0.90          0.904  +0.004  run r-311" in text
    assert "Why not step 400?  passes, but step 300 was chosen (suites.core.pass_rate: 2 left; step: 1 left)" in text
    assert "would pass" not in text


def test_a_metric_that_parted_two_is_named_with_both_numbers() -> None:
    rules = policy()
    best, worse = candidate(300, core__pass_rate=rate(20, 20)), candidate(200, core__pass_rate=rate(19, 20))
    text = told(rules, decided(rules, evidence(worse, best)))
    assert (
        f"Why not step 200?  passes, but {RATE} 0.950 (19/20) loses to 1.000 (20/20) of step 300; "
        "1 more passing case would win\n"
    ) in text


def test_one_that_does_not_tell_the_metric_cannot_be_compared() -> None:
    rules = policy(choose=(lower("valid_loss"),))
    best = candidate(300, core__pass_rate=rate(20, 20), valid_loss=number(0.4))
    other = candidate(200, core__pass_rate=rate(20, 20))
    assert "Why not step 200?  passes, but has no valid_loss to compare with step 300\n" in told(
        rules, decided(rules, evidence(other, best))
    )


def test_what_is_missing_is_said_once_and_no_number_would_change_it() -> None:
    rules = policy(metrics=("valid_loss",))
    lacks = candidate(200, core__pass_rate=rate(10, 20))
    nothing = candidate(300)
    text = told(rules, decided(rules, evidence(lacks, nothing)))
    assert text.startswith("d-9c3e10  support-router@prod  INCONCLUSIVE on vertex job 8812\nWhy not")
    assert (
        "Why not step 200?  rejected: quality 0.500 (10/20) is below 0.9; besides: no valid_loss was reported\n" in text
    )
    assert (
        "Why not step 300 (Vertex's own default)?  inconclusive: no valid_loss was reported; "
        "quality: no finished run of suite core\n"
    ) in text


def test_what_was_not_even_judged_says_why() -> None:
    rules = policy()
    good = candidate(300, core__pass_rate=rate(20, 20))
    bad, gone = candidate(100, core__pass_rate=rate(20, 20)), candidate(200, core__pass_rate=rate(20, 20))
    table = evidence(good, bad, replace(gone, state=CheckpointState.GONE))
    table = replace(
        table, job=replace(table.job, checkpoint_ids=("100", "200", "300", "400"), ended_at=NOW - timedelta(days=2))
    )
    text = told(rules, decided(rules, table, Standing(quarantine=(bad.key,))))
    assert "Why not step 100?  quarantined by a roll-back\n" in text
    assert "Why not step 200?  the provider no longer has it\n" in text
    assert "Why not checkpoint 400?  it was no candidate; see ratchet why vertex:42:us-central1:8812/400\n" in text


def test_keeping_the_current_says_what_would_have_beaten_it() -> None:
    rules = policy(must_beat=MustBeat(criterion=higher(RATE), by=0.02))
    text = told(rules, decided(rules, evidence(candidate(core__pass_rate=rate(57, 60)), current=serving())))
    assert text.startswith(
        "d-9c3e10  support-router@prod  KEPT CURRENT step 400 of vertex job 8611, on vertex job 8812\n"
        f"  step 100 passes, but {RATE} 0.950 (57/60) against 0.950 (57/60) of the current, "
        "which must be beaten by 0.02; 2 more passing cases would win\n"
    )


def test_what_already_serves_is_kept_without_more_words() -> None:
    rules, mine = policy(), candidate(core__pass_rate=rate(57, 60))
    text = told(rules, decided(rules, evidence(mine, current=mine)))
    assert "  step 100 already serves\n" in text


def test_a_candidate_that_served_and_was_beaten_is_marked() -> None:
    rules, mine = policy(), candidate(core__pass_rate=rate(57, 60))
    text = told(rules, decided(rules, evidence(mine, candidate(200, core__pass_rate=rate(59, 60)), current=mine)))
    assert "Why not step 100 (which served)?" in text
    assert "2 more passing cases would keep it\n" in text


ASKING = Approval(when=ApprovalWhen.ALWAYS, least=2, approvers=(), not_by_trigger=True, expires=timedelta(hours=48))


def asked(decision: Decision, *votes: Vote) -> Ask:
    assert decision.candidate is not None
    return Ask(
        decision=decision.id,
        job=JOB,
        candidate=decision.candidate,
        evidence=decision.evidence_digest,
        policy=decision.policy_digest,
        asked_at=NOW,
        until=NOW + timedelta(hours=48),
        votes=votes,
    )


def vote(actor: str, *, approves: bool = True, reason: str = "fine") -> Vote:
    return Vote(actor=actor, approves=approves, at=NOW, reason=reason)


def test_a_wait_for_approval_says_until_when_who_has_voted_and_what_to_type() -> None:
    rules = policy(approval=ASKING)
    decision = decided(rules, evidence(candidate(core__pass_rate=rate(57, 60))))
    waits = (Wait(job=JOB, reason="approval", until=decision.until),)
    text = told(rules, decision, waiting=waits, approvals=(asked(decision, vote("ana@acme.com")),))
    assert "  waits for approval: the policy always asks; 0 of 2 agreed\n" in text
    assert text.endswith(
        "by policy  2026-11-22T14:03:11Z   expires 2026-11-24T14:03:11Z\n"
        "1 vote: ana@acme.com agrees   agree: ratchet approve support-router@prod --reason ...\n"
        "refuse: ratchet reject support-router@prod --reason ...\n"
    )
    two = (asked(decision), replace(asked(decision), job=EARLIER_JOB, decision="77ab02" + "0" * 58))
    assert "no vote yet   agree: ratchet approve support-router@prod --decision d-9c3e10 --reason ...\n" in told(
        rules, decision, waiting=waits, approvals=two
    )
    assert "ratchet approve" not in told(rules, decision), "nobody is asked any more"


def test_a_promotion_says_who_agreed_and_a_refusal_at_which_stage() -> None:
    rules = policy(approval=ASKING)
    table = evidence(candidate(core__pass_rate=rate(57, 60)))
    waiting = decided(rules, table, evidence_digest=table.digest)
    agreed = Standing(approval=asked(waiting, vote("ana"), vote("bo")))
    promoted = decided(rules, table, agreed, evidence_digest=table.digest)
    assert promoted.outcome is Outcome.PROMOTED
    assert "\n  agreed: ana, bo\n  gate" in told(rules, promoted)
    against = Standing(approval=asked(waiting, vote("bo", approves=False, reason="too slow")))
    refused = told(rules, decided(rules, table, against))
    assert refused.startswith(
        "d-9c3e10  support-router@prod  REJECTED step 100 of vertex job 8812 at stage approval\n"
        "  bo rejected it: too slow\n  gate"
    )


def test_a_wait_for_a_hold_or_a_pause_says_how_to_go_on() -> None:
    table = evidence(candidate(core__pass_rate=rate(57, 60)))
    waits = (Wait(job=JOB, reason="hold", until=None),)
    freeze = Hold(actor="ana", reason="freeze", since=NOW)
    held = told(policy(), decided(policy(), table, Standing(hold=freeze)), waiting=waits)
    assert "  waits for hold: held by ana: freeze\n" in held
    assert held.endswith("\nback to automatic: ratchet release --all --reason ...\n")
    own = told(policy(), decided(policy(), table, Standing(hold=freeze)), waiting=waits, hold=freeze)
    assert own.endswith("\nheld by ana   back to automatic: ratchet release support-router@prod --reason ...\n")
    slow = policy(pacing=Pacing(cooldown=timedelta(hours=1), max_per_day=None))
    paced = told(slow, decided(slow, table, Standing(moves=(Move(serial=1, at=NOW, decision="d"),))), waiting=waits)
    assert "   until 2026-11-22T15:03:11Z\n" in paced
    assert paced.endswith(
        "now all the same: ratchet promote vertex:42:us-central1:8812/100 support-router@prod --force --reason ...\n"
    )


def test_a_dry_run_says_what_would_follow() -> None:
    rules = policy(mode=Mode.DRY_RUN, approval=ASKING)
    text = told(rules, decided(rules, evidence(candidate(core__pass_rate=rate(57, 60)))))
    assert text.startswith(
        "d-9c3e10  support-router@prod  WOULD PROMOTE step 100 of vertex job 8812\n"
        "  it would then wait for approval: the policy always asks; 0 of 2 agreed\n  gate"
    )


def test_other_units_and_several_metrics_are_told_in_their_own_words() -> None:
    rules = policy(
        gate("speed", "suites.core.latency_p95_ms", "<= 800"),
        gate("loss", "valid_loss", "<= 0.4"),
        gate("same", "suites.core.regressions", "<= 1"),
        gate("critical", "suites.core.tags.critical.pass_rate", ">= 1"),
    )
    slow = candidate(
        core__latency_p95_ms=number(912), valid_loss=number(0.4123), core__regressions=number(2)
    )  # fmt: skip
    slow = replace(slow, measures={**slow.measures, "suites.core.tags.critical.pass_rate": rate(3, 5)})
    text = told(rules, decided(rules, evidence(slow, baseline=serving())))
    assert (
        "Why not step 100 (Vertex's own default)?  rejected: speed 912 is above 800, loss 0.412 is above 0.4, "
        "same 2 is above 1, critical 0.600 (3/5) is below 1; suites.core.latency_p95_ms lower by 112 ms and "
        "valid_loss lower by 0.013 and 1 fewer regression and 2 more passing cases of tag critical would pass\n"
    ) in text


def test_too_few_cases_are_said_as_such() -> None:
    rules = policy(gate("quality", RATE, ">= 0.90", level=0.90))
    text = told(rules, decided(rules, evidence(candidate(core__pass_rate=rate(20, 20)))))
    assert "straddles 0.90; 5 more cases at the same rate would pass\n" in text


@settings(max_examples=deep(100, 3000), deadline=None)
@given(questions())
def test_any_decision_can_be_told_with_each_of_its_candidates(question: Question) -> None:
    decision = decided(question.policy, question.evidence, question.standing, at=question.now)
    text = render(story(question.policy, decision))
    assert render(replace(story(question.policy, decision), policy=None))
    assert text.count("Why not ") >= len(decision.assessments) - 1
    found = document(story(question.policy, decision))
    assert json.loads(json.dumps(found)) == found
