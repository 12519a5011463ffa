"""What another policy would have decided: on the evidence that was stored, and saying what that cannot tell."""

from dataclasses import replace
from datetime import timedelta

from ratchet.domain.decide import decide
from ratchet.domain.decision import Decision, Outcome, Standing
from ratchet.domain.evidence import Candidate, Evidence, SuiteFacts
from ratchet.domain.policy import (
    Apply,
    Approval,
    ApprovalWhen,
    Baseline,
    BaselineUse,
    Mode,
    MustBeat,
    Policy,
    Rerun,
    Settle,
    SuiteEvidence,
    Until,
    WhenMissing,
)
from ratchet.domain.records import Hold
from ratchet.domain.retrial import Retrial, moves_to, retry
from support import decisions as drawn
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
    ran,
    rate,
)

CORE = SuiteEvidence(suite="core", suite_digest="c" * 64, min_cases=10, max_age=None)
OLD = policy()
FREE = Standing()
NO_DROP = gate("no-drop", RATE, ">= baseline - 0.01")


def with_run(step: int, passed: int, **measures: object) -> Candidate:
    return replace(candidate(step, core__pass_rate=rate(passed, 20), **measures), suites=ran(20))  # type: ignore[arg-type]


def earlier(step: int, passed: int) -> Candidate:
    return replace(with_run(step, passed), key=candidate(step, job=EARLIER_JOB).key)


def decided(rules: Policy, table: Evidence, standing: Standing = FREE) -> Decision:
    ruling = decide(rules, table, standing, NOW)
    return Decision(
        id="9c3e10" + "0" * 58,
        alias=ALIAS,
        kind="policy",
        outcome=ruling.outcome,
        reason=ruling.reason,
        at=NOW,
        actor="policy",
        actor_verified=True,
        generation=1,
        serial=1,
        job=JOB,
        candidate=ruling.candidate,
        assessments=ruling.assessments,
        evidence=table,
        standing=standing,
    )


def tried(rules: Policy, decision: Decision, before: Policy | None = None, **cases: str) -> Retrial:
    found = retry(rules, decision, before, cases)
    assert found is not None
    return found


def against(use: BaselineUse, rerun: Rerun = Rerun.NEVER) -> Baseline:
    return Baseline(use=use, rerun=rerun, when_missing=WhenMissing.ALLOW)


def test_the_same_policy_decides_the_same_with_nothing_to_remark() -> None:
    decision = decided(OLD, evidence(with_run(100, 18), with_run(200, 20)))
    found = tried(OLD, decision, OLD)
    assert (found.ruling.outcome, moves_to(found.ruling)) == (Outcome.PROMOTED, decision.candidate)
    assert (found.notes, found.known) == ((), True)


def test_a_decision_of_before_there_was_evidence_cannot_be_tried() -> None:
    assert retry(OLD, replace(decided(OLD, evidence(with_run(100, 18))), evidence=None), OLD, {}) is None


def test_a_stricter_gate_refuses_and_another_choice_promotes_another() -> None:
    decision = decided(OLD, evidence(with_run(100, 18), with_run(200, 19)))
    assert moves_to(tried(policy(gate("quality", RATE, ">= 0.97")), decision, OLD).ruling) is None
    found = tried(policy(choose=(lower("step"),)), decision, OLD)
    assert (decision.candidate, moves_to(found.ruling)) == (with_run(200, 19).key, with_run(100, 18).key)


def test_it_is_tried_as_if_it_enforced_whatever_its_mode() -> None:
    decision = decided(OLD, evidence(with_run(100, 18)))
    for mode in Mode:
        assert tried(replace(OLD, mode=mode), decision, OLD).ruling.outcome is Outcome.PROMOTED


def test_a_dry_run_moves_what_it_would_promote_and_a_wait_moves_nothing() -> None:
    table = evidence(with_run(100, 18))
    dry = decided(replace(OLD, mode=Mode.DRY_RUN), table)
    assert (dry.outcome, moves_to(dry)) == (Outcome.WOULD_PROMOTE, with_run(100, 18).key)
    hold = Hold(actor="ana", reason="freeze", since=NOW)
    held = decided(OLD, table, Standing(hold=hold))
    assert (held.outcome, held.candidate, moves_to(held)) == (Outcome.WAITING, with_run(100, 18).key, None)
    assert moves_to(tried(OLD, held, OLD).ruling) is None, "the hold of then held then"


def test_an_approval_was_of_another_policy_and_is_void() -> None:
    asking = Approval(when=ApprovalWhen.ALWAYS, least=1, approvers=(), not_by_trigger=True, expires=timedelta(hours=1))
    found = tried(policy(approval=asking), decided(OLD, evidence(with_run(100, 18))), OLD)
    assert (found.ruling.outcome, found.ruling.stage) == (Outcome.WAITING, "approval")


def test_what_nobody_measured_then_makes_the_answer_unknown() -> None:
    decision = decided(OLD, evidence(with_run(100, 18), with_run(200, 20)))
    by_loss = policy(gate("loss", "valid_loss", "<= 0.3"))
    found = tried(by_loss, decision, OLD)
    assert (found.notes, found.known) == (("valid_loss was not measured then",), False)
    by_suite = policy(gate("long", "suites.long.pass_rate", ">= 0.9"), evidence=(CORE,))
    assert tried(by_suite, decision, OLD).notes == ("suite long was not measured then",)
    required = policy(metrics=("valid_loss",))
    assert not tried(required, decision, OLD).known
    by_days = policy(gate("days", "base_model.days_to_shutdown", ">= 30"))
    assert tried(by_days, decision, OLD).notes == ("the shutdown date was not asked for then",)
    must = policy(must_beat=MustBeat(criterion=lower("valid_loss"), by=0.1))
    assert tried(must, decision, OLD).notes == ("valid_loss was not measured then",)


def test_suites_that_nobody_measured_are_named_in_order() -> None:
    decision = decided(OLD, evidence(with_run(100, 18)))
    names = [f"suite-{letter}" for letter in "fbdaec"]
    gates = [gate(name, f"suites.{name}.pass_rate", ">= 0.9") for name in names]
    wanted = tuple(f"suite {name} was not measured then" for name in sorted(names))
    assert tried(policy(*gates, evidence=(CORE,)), decision, OLD).notes == wanted


def test_what_was_measured_on_one_candidate_is_known() -> None:
    decision = decided(OLD, evidence(with_run(100, 18, valid_loss=number(0.2)), with_run(200, 20)))
    found = tried(policy(gate("loss", "valid_loss", "<= 0.3")), decision, OLD)
    assert (found.notes, found.known) == ((), True)
    assert moves_to(found.ruling) == with_run(100, 18).key


def test_an_unmeasured_criterion_leaves_a_promotion_known() -> None:
    decision = decided(OLD, evidence(with_run(100, 18)))
    found = tried(policy(choose=(lower("valid_loss"), higher(RATE))), decision, OLD)
    assert (found.notes, found.known) == (("valid_loss was not measured then",), True)
    assert moves_to(found.ruling) == with_run(100, 18).key


def test_a_job_without_a_candidate_lacks_no_metric() -> None:
    decision = decided(OLD, evidence())
    found = tried(policy(gate("loss", "valid_loss", "<= 0.3")), decision, OLD)
    assert (found.notes, found.known, found.ruling.outcome) == ((), True, Outcome.REJECTED)


def test_each_thing_that_nobody_measured_is_named_the_suites_first_and_by_name() -> None:
    rules = policy(
        gate("long", "suites.long.pass_rate", ">= 0.9"),
        gate("brief", "suites.brief.pass_rate", ">= 0.9"),
        gate("loss", "valid_loss", "<= 0.3"),
        metrics=("train_loss",),
    )
    found = tried(rules, decided(OLD, evidence(with_run(100, 18), candidate(200))), OLD)
    assert found.notes == (
        "suite brief was not measured then",
        "suite long was not measured then",
        "train_loss was not measured then",
        "valid_loss was not measured then",
    )


def test_a_suite_that_ran_on_one_candidate_was_measured() -> None:
    decision = decided(OLD, evidence(with_run(100, 18), candidate(200)))
    assert tried(policy(evidence=(CORE,)), decision, OLD).notes == ()


def test_a_decision_that_did_not_keep_where_the_alias_stood_is_tried_as_if_nothing_served() -> None:
    decision = replace(decided(OLD, evidence(with_run(100, 18))), standing=None)
    assert moves_to(tried(OLD, decision, OLD).ruling) == with_run(100, 18).key


def test_without_a_baseline_then_another_one_is_compared_with_now() -> None:
    table = evidence(with_run(100, 19), best_of_line=earlier(500, 20))
    by_best = policy(NO_DROP, baseline=against(BaselineUse.BEST_OF_LINE))
    refused = tried(by_best, decided(OLD, table), OLD)
    assert (refused.ruling.outcome, refused.ruling.baseline) == (Outcome.REJECTED, earlier(500, 20).key)


def test_other_cases_are_remarked() -> None:
    decision = decided(OLD, evidence(with_run(100, 18)))
    rules = policy(evidence=(CORE,))
    assert tried(rules, decision, OLD, core="d" * 64).notes == ("suite core had other cases then",)
    assert tried(rules, decision, OLD, core="c" * 64).notes == ()
    assert tried(rules, decision, OLD).notes == ()


def test_looking_at_each_checkpoint_as_it_came_is_remarked() -> None:
    each = Settle(until=Until.EACH_CHECKPOINT, quiet=None, max_wait=timedelta(hours=24))
    decision, rules = decided(OLD, evidence(with_run(100, 18))), policy(settle=each)
    words = ("it would have looked at each checkpoint as it came",)
    assert tried(rules, decision, OLD).notes == words
    assert tried(rules, decision, None).notes == words
    assert tried(rules, decision, rules).notes == ()
    assert tried(policy(settle=each, apply=frozenset({Apply.VERTEX_DEFAULT})), decision, OLD).notes == ()


def test_only_what_the_policy_asks_for_is_waited_for() -> None:
    waiting = replace(with_run(100, 18), untested=("long", "core"))
    decision = decided(OLD, evidence(waiting))
    assert tried(policy(evidence=(CORE,)), decision, OLD).ruling.stage == "settle"
    short = replace(waiting, untested=("long",))
    assert moves_to(tried(policy(evidence=(CORE,)), decided(OLD, evidence(short)), OLD).ruling) == short.key


def test_the_baseline_is_the_one_that_this_policy_compares_with() -> None:
    serving, best = earlier(400, 18), earlier(500, 20)
    table = evidence(with_run(100, 19), current=serving, baseline=serving, best_of_line=best)
    decision = decided(policy(NO_DROP), table, Standing(current=serving.key))
    moved = moves_to(decision)
    assert moved == with_run(100, 19).key
    by_best = policy(NO_DROP, baseline=against(BaselineUse.BEST_OF_LINE))
    refused = tried(by_best, decision, policy(NO_DROP))
    assert (refused.ruling.outcome, refused.ruling.baseline) == (Outcome.REJECTED, best.key)
    assert tried(policy(NO_DROP), decision, by_best).ruling.baseline == serving.key, "current, not what it was"
    alone = policy(gate("q", RATE, ">= 0.9"), NO_DROP, baseline=against(BaselineUse.NONE))
    assert (tried(alone, decision, policy(NO_DROP)).ruling.baseline, moves_to(tried(alone, decision).ruling)) == (
        None,
        moved,
    )


def test_the_last_good_of_then_is_known_only_if_it_was_the_baseline() -> None:
    serving, good = earlier(400, 18), earlier(300, 17)
    table = evidence(with_run(100, 19), current=serving, baseline=good)
    by_good = policy(NO_DROP, baseline=against(BaselineUse.LAST_GOOD))
    decision = decided(by_good, table, Standing(current=serving.key))
    assert tried(by_good, decision, by_good).ruling.baseline == good.key
    unsure = tried(by_good, decision, policy(NO_DROP))
    assert unsure.notes == ("which checkpoint was the last good one then was not kept",)
    assert not unsure.known


def test_regressions_against_another_baseline_are_not_kept() -> None:
    serving, best = earlier(400, 18), earlier(500, 20)
    counted = with_run(100, 19, core__regressions=number(0))
    table = evidence(counted, current=serving, baseline=serving, best_of_line=best)
    same = gate("same", "suites.core.regressions", "<= 0")
    decision = decided(policy(same), table, Standing(current=serving.key))
    assert moves_to(decision) == counted.key
    found = tried(policy(same, baseline=against(BaselineUse.BEST_OF_LINE)), decision, policy(same))
    assert found.notes == ("suites.core.regressions was not measured then",)
    assert not found.known
    best_serves = replace(decision, evidence=replace(table, best_of_line=serving))
    assert moves_to(tried(policy(same, baseline=against(BaselineUse.BEST_OF_LINE)), best_serves, policy(same)).ruling)
    alone = policy(gate("q", RATE, ">= 0.9"), same, baseline=against(BaselineUse.NONE))
    assert tried(alone, decision, policy(same)).notes == ()


def stale(found: Candidate) -> Candidate:
    return replace(found, suites={suite: aged(facts) for suite, facts in found.suites.items()})


def aged(facts: SuiteFacts) -> SuiteFacts:
    return replace(facts, finished_at=NOW - timedelta(days=9))


def test_what_it_would_have_tested_again_is_assumed_to_come_out_the_same() -> None:
    fresh = policy(NO_DROP, evidence=(replace(CORE, max_age=timedelta(days=1)),))
    renewing = replace(fresh, baseline=against(BaselineUse.CURRENT, Rerun.ALWAYS))
    serving = stale(earlier(400, 18))
    table = evidence(stale(with_run(100, 19)), with_run(200, 20), current=serving, baseline=serving)
    decision = decided(policy(NO_DROP), table, Standing(current=serving.key))
    found = tried(renewing, decision, policy(NO_DROP))
    assert found.notes == (
        "it would first have tested core on step 100 of job 8812, core on step 400 of job 8611 again; "
        "the same numbers are assumed",
    )
    assert moves_to(found.ruling) == with_run(200, 20).key
    assert [assessment.missing for assessment in found.ruling.assessments] == [(), ()]
    assert found.ruling.tests == ()


def test_what_serves_is_as_fresh_as_the_baseline_that_it_is() -> None:
    fresh = policy(
        must_beat=MustBeat(criterion=higher(RATE), by=0.01),
        evidence=(replace(CORE, max_age=timedelta(days=1)),),
        baseline=against(BaselineUse.CURRENT, Rerun.IF_STALE),
    )
    serving = stale(earlier(400, 18))
    table = evidence(with_run(100, 19), current=serving, baseline=serving)
    found = tried(fresh, decided(OLD, table, Standing(current=serving.key)), OLD)
    assert found.notes == (
        "it would first have tested core on step 400 of job 8611 again; the same numbers are assumed",
    )
    assert moves_to(found.ruling) == with_run(100, 19).key


def test_only_what_it_would_have_tested_again_becomes_fresh() -> None:
    fresh = policy(evidence=(replace(CORE, max_age=timedelta(days=1)),))
    old, new = stale(with_run(100, 20)), with_run(200, 19)
    found = tried(fresh, decided(OLD, evidence(old, replace(new, step=None))), OLD)
    assert found.notes == (
        "it would first have tested core on step 100 of job 8812 again; the same numbers are assumed",
    )
    nameless = tried(fresh, decided(OLD, evidence(replace(old, step=None))), OLD)
    assert nameless.notes == (
        "it would first have tested core on checkpoint 100 of job 8812 again; the same numbers are assumed",
    )


def test_a_baseline_that_was_never_tested_stays_unknown_to_its_gates() -> None:
    renewing = policy(
        gate("q", RATE, ">= 0.9"),
        NO_DROP,
        evidence=(CORE,),
        baseline=against(BaselineUse.CURRENT, Rerun.IF_STALE),
    )
    bare = candidate(400, job=EARLIER_JOB)
    table = evidence(with_run(100, 19), current=bare, baseline=bare)
    found = tried(renewing, decided(OLD, table, Standing(current=bare.key)), OLD)
    assert found.notes == ("it would first have tested core on step 400 of job 8611",)
    assert (found.ruling.outcome, found.known) == (Outcome.INCONCLUSIVE, False)


def test_only_what_would_have_been_tested_again_is_taken_to_be_new() -> None:
    # The candidate's own run is old enough for the quiet that the policy asks for; the baseline's is renewed.
    rule = policy(
        evidence=(drawn.wants(),),
        settle=drawn.settle(quiet=timedelta(hours=1)),
        baseline=drawn.baseline(rerun=Rerun.ALWAYS),
        gates=(drawn.gate(RATE, ">= 0.9"),),
    )
    long_ago = {"core": drawn.ran(finished_at=drawn.START - timedelta(hours=5))}
    mine = replace(drawn.candidate(), suites=long_ago, recorded_at=drawn.START - timedelta(hours=5))
    serving = replace(drawn.candidate("9", 18, job=EARLIER_JOB), suites=long_ago)
    found = drawn.evidence(mine, current=serving, baseline=serving)
    found = replace(found, job=replace(found.job, ended_at=drawn.START - timedelta(hours=5)))
    decision = Decision(
        id="d",
        alias=ALIAS,
        kind="policy",
        outcome=Outcome.WAITING,
        reason="r",
        at=drawn.START,
        actor="policy",
        actor_verified=True,
        generation=0,
        serial=0,
        evidence=found,
        standing=Standing(current=serving.key),
    )
    retrial = retry(rule, decision, rule, {})
    assert retrial is not None
    assert retrial.ruling.candidate == mine.key
    assert retrial.ruling.outcome is Outcome.PROMOTED
