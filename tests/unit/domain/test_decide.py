"""The decision: every stage, every outcome, both sides of every limit, and the words that it is told in."""

from dataclasses import replace
from datetime import datetime, time, timedelta
from typing import Any

import pytest

from ratchet.domain.codec import canonical, decode, encode
from ratchet.domain.decide import decide
from ratchet.domain.decision import Decision, Outcome, Ruling, Stage, Standing, command_key, decision_key
from ratchet.domain.decision import Test as WantedRun
from ratchet.domain.evidence import Candidate, Evidence
from ratchet.domain.gates import Assessment, GateResult, Verdict
from ratchet.domain.policy import (
    Apply,
    ApprovalWhen,
    BaselineUse,
    Missing,
    Mode,
    MustBeat,
    Pacing,
    Policy,
    Rerun,
    Until,
    WhenMissing,
)
from ratchet.domain.reasons import why_not
from ratchet.domain.records import Ask, CheckpointState, Hold, JobState, Move, Purpose, Vote
from ratchet.domain.renewal import compared_suites
from ratchet.domain.settle import LONGEST_JOB
from ratchet.domain.windows import Dated, Day, Weekly, Window, WindowKind
from support.decisions import (
    ALIAS,
    DAY,
    EARLIER_JOB,
    HOUR,
    JOB,
    MOMENT,
    PASS_RATE,
    REGRESSIONS,
    START,
    approval,
    baseline,
    candidate,
    evidence,
    gate,
    higher,
    job_facts,
    key,
    lower,
    number,
    policy,
    ran,
    settle,
    wants,
)

CORE_DIGEST = wants().suite_digest


def ruled(
    *candidates: Candidate,
    rule: Policy | None = None,
    standing: Standing | None = None,
    now: datetime = START,
    **changes: Any,
) -> Ruling:
    """`changes`: of the evidence. What it says serves now also stands so in the alias."""
    given = evidence(*candidates, **changes)
    stands = standing or Standing()
    if stands.current is None and given.current is not None:
        stands = replace(stands, current=given.current.key)
    return decide(rule or policy(), given, stands, now)


def serving(passed: int | None = 18, **changes: Any) -> Candidate:
    """What serves: a checkpoint of an earlier job."""
    return candidate("9", passed, **{"job": EARLIER_JOB, **changes})


def aged(given: Candidate, age: timedelta, **changes: Any) -> Candidate:
    return replace(given, suites={"core": ran(finished_at=START - age, **changes)})


# Settle ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [JobState.UNKNOWN, JobState.PENDING, JobState.RUNNING])
def test_a_job_that_runs_is_waited_for_and_not_for_ever(state: JobState) -> None:
    one = candidate()
    job = job_facts(one, state=state, ended_at=None, first_seen_at=START - LONGEST_JOB + HOUR)
    waits = ruled(one, job=job)
    assert (waits.outcome, waits.waiting_for, waits.until) == (Outcome.WAITING, "settle", START + HOUR)
    assert waits.reason == f"waits for settle: job 8812 is {state}"
    assert ruled(one, job=job, now=START + HOUR - MOMENT).outcome is Outcome.WAITING
    gives_up = ruled(one, job=job, now=START + HOUR)
    assert (gives_up.outcome, gives_up.stage) == (Outcome.INCONCLUSIVE, Stage.SETTLE)
    assert gives_up.reason == "job 8812 has not ended within 30 days"
    assert (gives_up.waiting_for, gives_up.until) == ("", None)


@pytest.mark.parametrize("state", [JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED])
def test_a_job_that_has_ended_in_any_way_is_decided(state: JobState) -> None:
    one = candidate()
    assert ruled(one, job=job_facts(one, state=state)).outcome is Outcome.PROMOTED


def test_each_checkpoint_is_not_waited_for_unless_a_default_is_written() -> None:
    one = candidate()
    job = job_facts(one, state=JobState.RUNNING, ended_at=None)
    eager = policy(settle=settle(until=Until.EACH_CHECKPOINT))
    assert ruled(one, rule=eager, job=job).outcome is Outcome.PROMOTED
    writes = replace(eager, apply=frozenset({Apply.VERTEX_DEFAULT}))
    assert ruled(one, rule=writes, job=job).waiting_for == "settle"


def test_each_checkpoint_does_not_wait_for_the_tests_of_the_others() -> None:
    eager = policy(settle=settle(until=Until.EACH_CHECKPOINT))
    assert ruled(candidate("1"), candidate("2", None), rule=eager).candidate == key("1")


def test_the_last_test_is_waited_for_until_max_wait_after_the_jobs_end() -> None:
    tested, untested = candidate("1"), candidate("2", None)
    ended = START - 20 * HOUR
    job = job_facts(tested, untested, ended_at=ended, first_seen_at=START - 9 * DAY)
    waits = ruled(tested, untested, job=job)
    assert (waits.waiting_for, waits.until) == ("settle", ended + DAY)
    assert waits.reason == "waits for settle: still to be tested: 2"
    assert ruled(tested, untested, job=job, now=ended + DAY - MOMENT).waiting_for == "settle"
    assert ruled(tested, untested, job=job, now=ended + DAY).candidate == tested.key


def test_of_a_job_whose_end_nobody_told_the_wait_counts_from_its_first_sight() -> None:
    untested = candidate("1", None)
    job = job_facts(untested, ended_at=None, first_seen_at=START - HOUR)
    assert ruled(untested, job=job).until == START - HOUR + DAY


def test_a_checkpoint_that_is_listed_and_not_recorded_is_waited_for_too() -> None:
    one = candidate("1")
    waits = ruled(one, job=job_facts(checkpoint_ids=("3", "1", "2")))
    assert waits.reason == "waits for settle: still to be tested: 2, 3"


def test_a_checkpoint_that_is_gone_is_not_waited_for() -> None:
    gone = candidate("2", None, state=CheckpointState.GONE)
    assert ruled(candidate("1"), gone).candidate == key("1")


def test_a_candidate_that_the_job_does_not_list_is_not_waited_for() -> None:
    one, two = candidate("1"), candidate("2", None)
    assert ruled(one, two, job=job_facts(one)).candidate == key("1")


def quiet(one: Candidate, now: datetime, **job: Any) -> Ruling:
    return ruled(one, rule=policy(settle=settle(quiet=timedelta(minutes=10))), job=job_facts(one, **job), now=now)


@pytest.mark.parametrize(
    ("newest", "job"),
    [
        (candidate(recorded_at=START), {"ended_at": START - HOUR, "first_seen_at": START - DAY}),
        (aged(candidate(recorded_at=START - DAY), timedelta(0)), {"ended_at": START - HOUR}),
        (aged(candidate(recorded_at=START - DAY), DAY), {"ended_at": START}),
        (aged(candidate(recorded_at=START - DAY), DAY), {"ended_at": None, "first_seen_at": START}),
    ],
    ids=["a checkpoint", "the end of a test", "the job's end", "the job itself"],
)
def test_quiet_waits_until_nothing_new_has_come_for_so_long(newest: Candidate, job: dict[str, Any]) -> None:
    waits = quiet(newest, START, **job)
    assert (waits.waiting_for, waits.until) == ("settle", START + timedelta(minutes=10))
    assert waits.reason == "waits for settle: nothing new has come for less than 0:10:00"
    assert quiet(newest, START + timedelta(minutes=10) - MOMENT, **job).waiting_for == "settle"
    assert quiet(newest, START + timedelta(minutes=10), **job).outcome is Outcome.PROMOTED


def test_a_suite_that_the_policy_does_not_ask_for_breaks_no_quiet() -> None:
    one = candidate(recorded_at=START - DAY)
    other = replace(one, suites={"core": ran(finished_at=START - HOUR), "extra": ran()})
    assert quiet(other, START, ended_at=START - HOUR).outcome is Outcome.PROMOTED


# Evidence -------------------------------------------------------------------------------------------------------------


def test_no_candidate_is_a_refusal_that_says_why() -> None:
    nothing = ruled()
    assert (nothing.outcome, nothing.stage) == (Outcome.REJECTED, Stage.EVIDENCE)
    assert nothing.reason == "no candidate: job 8812 has no checkpoint"
    two, one = candidate("2"), candidate("1", state=CheckpointState.GONE)
    without = ruled(two, one, standing=Standing(quarantine=(key("2"),)))
    assert (without.outcome, without.stage) == (Outcome.REJECTED, Stage.EVIDENCE)
    assert without.reason == "no candidate: step 100 is gone; step 200 is quarantined"


def test_a_checkpoint_that_never_told_its_step_is_called_by_its_id() -> None:
    gone = replace(candidate("7", state=CheckpointState.GONE), step=None)
    assert ruled(gone).reason == "no candidate: checkpoint 7 is gone"


def test_quarantined_or_gone_the_better_one_is_no_candidate() -> None:
    best, next_best = candidate("1", 20), candidate("2", 19)
    assert ruled(best, next_best).candidate == key("1")
    assert ruled(best, next_best, standing=Standing(quarantine=(key("1"),))).candidate == key("2")
    assert ruled(replace(best, state=CheckpointState.GONE), next_best).candidate == key("2")


FRESH = policy(evidence=(wants(max_age=timedelta(hours=72)),), settle=settle(max_wait=timedelta(hours=6)))


def test_a_run_that_has_become_too_old_is_asked_for_again() -> None:
    assert ruled(aged(candidate(), 72 * HOUR), rule=FRESH).outcome is Outcome.PROMOTED
    old = aged(candidate(), 72 * HOUR + MOMENT)
    waits = ruled(old, candidate("2"), rule=FRESH)
    assert (waits.waiting_for, waits.until) == ("settle", START + 6 * HOUR)
    assert waits.reason == "waits for settle: the evidence is renewed: core on step 100"
    assert waits.tests == (
        WantedRun(checkpoint=key("1"), suite="core", suite_digest=CORE_DIGEST, purpose=Purpose.GATE, occasion="1"),
    )


@pytest.mark.parametrize(("last", "following"), [("-", "1"), ("1", "2"), ("9", "10"), ("a job's key", "1")])
def test_each_renewal_has_the_next_number(last: str, following: str) -> None:
    (test,) = ruled(aged(candidate(), 73 * HOUR, occasion=last), rule=FRESH).tests
    assert test.occasion == following


def test_every_old_run_is_renewed_in_the_order_of_steps() -> None:
    two, one = aged(candidate("2"), 73 * HOUR), aged(candidate("1"), 73 * HOUR)
    waits = ruled(two, one, rule=FRESH)
    assert [test.checkpoint.id for test in waits.tests] == ["1", "2"]
    assert waits.reason.endswith("core on step 100, core on step 200")


def test_what_is_being_renewed_is_judged_by_the_time_when_it_was_found_too_old() -> None:
    old, just_fresh = aged(candidate("1"), 80 * HOUR), aged(candidate("2"), 72 * HOUR)
    later = START + 2 * HOUR
    assert [test.checkpoint.id for test in ruled(old, just_fresh, rule=FRESH, now=later).tests] == ["1", "2"]
    waits = ruled(old, just_fresh, rule=FRESH, standing=Standing(tests_since=START), now=later)
    assert [test.checkpoint.id for test in waits.tests] == ["1"]


def test_a_renewal_is_waited_for_since_it_was_asked_for_and_not_for_ever() -> None:
    old, fresh = aged(candidate("1"), 80 * HOUR), candidate("2", 19)
    standing = Standing(tests_since=START)
    waits = ruled(old, fresh, rule=FRESH, standing=standing, now=START + 6 * HOUR - MOMENT)
    assert (waits.waiting_for, waits.until) == ("settle", START + 6 * HOUR)
    goes_on = ruled(old, fresh, rule=FRESH, standing=standing, now=START + 6 * HOUR)
    assert (goes_on.outcome, goes_on.candidate, goes_on.tests) == (Outcome.PROMOTED, key("2"), ())
    assert "step 100 inconclusive: the run of suite core is older than 72h" in goes_on.reason


def test_nobody_renews_the_run_of_what_can_be_no_candidate() -> None:
    old, fresh = aged(candidate("1"), 80 * HOUR), candidate("2")
    assert ruled(old, fresh, rule=FRESH, standing=Standing(quarantine=(key("1"),))).candidate == key("2")


@pytest.mark.parametrize(
    ("standing", "windows", "stage"),
    [
        (Standing(hold=Hold(actor="ana", reason="freeze", since=START)), (), Stage.HOLD),
        (
            Standing(),
            (
                Window(
                    name="w",
                    kind=WindowKind.DENY,
                    zone="UTC",
                    when=Weekly(days=frozenset({Day.SUNDAY}), start=time(0), end=time(0)),
                ),
            ),
            Stage.WINDOW,
        ),
        (Standing(moves=(Move(serial=1, at=START, decision="d"),)), (), Stage.COOLDOWN),
    ],
)
def test_nothing_is_renewed_while_nothing_could_move(
    standing: Standing, windows: tuple[Window, ...], stage: Stage
) -> None:
    rule = replace(FRESH, windows=windows, pacing=Pacing(cooldown=HOUR, max_per_day=None))
    waits = ruled(aged(candidate(), 80 * HOUR), rule=rule, standing=standing)
    assert (waits.outcome, waits.stage, waits.tests) == (Outcome.WAITING, stage, ())


def test_what_people_are_asked_about_does_not_grow_old_under_their_eyes() -> None:
    rule = replace(FRESH, approval=approval())
    given = evidence(aged(candidate(), 72 * HOUR))
    ask = asked(given, rule, until=START + 48 * HOUR)
    later = START + 40 * HOUR
    waits = decide(rule, given, Standing(approval=ask), later)
    assert (waits.waiting_for, waits.until) == ("approval", START + 48 * HOUR)
    for other in (replace(ask, evidence="other"), replace(ask, policy="other")):
        renewed = decide(rule, given, Standing(approval=other), later)
        assert (renewed.waiting_for, len(renewed.tests)) == ("settle", 1)


# Baseline -------------------------------------------------------------------------------------------------------------

NO_DROP = gate(PASS_RATE, ">= baseline - 0.01")


def comparing(**changes: Any) -> Policy:
    given = {"evidence": (wants(max_age=timedelta(hours=72)),), "gates": (NO_DROP,), "settle": settle(max_wait=HOUR)}
    use = baseline(**{"rerun": Rerun.IF_STALE, **changes})
    return policy(**given, baseline=use)


@pytest.mark.parametrize(
    ("when_missing", "outcome", "stage"),
    [
        (WhenMissing.ALLOW, Outcome.PROMOTED, Stage.PROMOTE),
        (WhenMissing.APPROVAL, Outcome.WAITING, Stage.APPROVAL),
        (WhenMissing.BLOCK, Outcome.INCONCLUSIVE, Stage.BASELINE),
    ],
)
def test_without_a_baseline_the_policy_says_what_happens(
    when_missing: WhenMissing, outcome: Outcome, stage: Stage
) -> None:
    rule = policy(baseline=baseline(when_missing=when_missing))
    found = ruled(candidate(), rule=rule)
    assert (found.outcome, found.stage) == (outcome, stage)
    with_one = ruled(candidate(), rule=rule, current=serving(), baseline=serving())
    assert (with_one.outcome, with_one.baseline) == (Outcome.PROMOTED, serving().key)
    none = replace(rule, baseline=replace(rule.baseline, use=BaselineUse.NONE))
    assert ruled(candidate(), rule=none).outcome is Outcome.PROMOTED


def test_a_blocked_first_promotion_says_what_blocks_it() -> None:
    rule = policy(baseline=baseline(when_missing=WhenMissing.BLOCK))
    assert ruled(candidate(), rule=rule).reason == "no baseline, and the policy asks for one (whenMissing: block)"


def baseline_test(occasion: str = str(JOB)) -> WantedRun:
    return WantedRun(
        checkpoint=serving().key,
        suite="core",
        suite_digest=CORE_DIGEST,
        purpose=Purpose.BASELINE,
        occasion=occasion,
    )


OLD, PLAIN = aged(serving(), 80 * HOUR), serving()
RENEWED = aged(serving(), timedelta(0), purpose=Purpose.BASELINE, occasion=str(JOB))


@pytest.mark.parametrize(
    ("rerun", "stands", "asks"),
    [
        (Rerun.NEVER, OLD, False),
        (Rerun.NEVER, serving(None), False),
        (Rerun.IF_STALE, PLAIN, False),
        (Rerun.IF_STALE, OLD, True),
        (Rerun.IF_STALE, serving(None), True),
        (Rerun.IF_STALE, RENEWED, False),
        (Rerun.ALWAYS, PLAIN, True),
        (Rerun.ALWAYS, OLD, True),
        (Rerun.ALWAYS, serving(None), True),
        (Rerun.ALWAYS, RENEWED, False),
        # The run that was asked for, whatever came of it; one for another job is none.
        (Rerun.ALWAYS, aged(serving(), 90 * HOUR, purpose=Purpose.BASELINE, occasion=str(JOB)), False),
        (Rerun.ALWAYS, aged(serving(), timedelta(0), purpose=Purpose.BASELINE, occasion=str(EARLIER_JOB)), True),
        (Rerun.ALWAYS, aged(serving(), timedelta(0), purpose=Purpose.GATE, occasion=str(JOB)), True),
        (Rerun.ALWAYS, replace(PLAIN, state=CheckpointState.GONE), False),
        (Rerun.ALWAYS, replace(PLAIN, state=CheckpointState.WAITING), False),
    ],
)
def test_the_baseline_is_tested_again_when_the_policy_says_so(rerun: Rerun, stands: Candidate, asks: bool) -> None:
    found = ruled(candidate(), rule=comparing(rerun=rerun), current=stands, baseline=stands)
    assert found.tests == ((baseline_test(),) if asks else ())
    if asks:
        assert (found.waiting_for, found.until) == ("settle", START + HOUR)
        assert found.reason == "waits for settle: the evidence is renewed: core on step 900 of job 8611"


def test_each_suite_of_the_baseline_is_renewed_by_itself_in_the_order_of_their_names() -> None:
    both = (gate("suites.zeal.score", ">= baseline"), NO_DROP, gate("suites.extra.score", ">= baseline"))
    rule = replace(comparing(rerun=Rerun.ALWAYS), gates=both, evidence=(wants("zeal"), wants(), wants("extra")))
    tested = replace(candidate(), suites={name: ran() for name in ("core", "extra", "zeal")})
    found = ruled(tested, rule=rule, current=PLAIN, baseline=PLAIN)
    assert [test.suite for test in found.tests] == ["core", "extra", "zeal"]
    renewed = ruled(tested, rule=rule, current=RENEWED, baseline=RENEWED)
    assert [test.suite for test in renewed.tests] == ["extra", "zeal"]


def test_a_baseline_of_the_same_job_is_only_tested_apart_when_always() -> None:
    stands = candidate("9")
    for rerun, asks in [(Rerun.IF_STALE, False), (Rerun.ALWAYS, True)]:
        rule = comparing(rerun=rerun)
        found = ruled(candidate(), stands, rule=rule, current=stands, baseline=replace(stands, suites={}))
        assert [test.purpose for test in found.tests] == ([Purpose.BASELINE] if asks else [])


def test_old_runs_of_candidates_and_of_the_baseline_are_asked_for_together() -> None:
    found = ruled(aged(candidate(), 80 * HOUR), rule=comparing(), current=OLD, baseline=OLD)
    assert [(test.purpose, test.checkpoint) for test in found.tests] == [
        (Purpose.GATE, key("1")),
        (Purpose.BASELINE, OLD.key),
    ]


@pytest.mark.parametrize(
    ("rule", "suites"),
    [
        (policy(), {"core"}),  # what serves must be beaten by the criterion
        (policy(baseline=baseline(use=BaselineUse.LAST_GOOD)), set()),
        (policy(choose=(lower("valid_loss"),), must_beat=MustBeat(criterion=higher(PASS_RATE), by=0.1)), {"core"}),
        (policy(choose=(), gates=(gate("suites.a.score", ">= baseline"),)), {"a"}),
        (policy(choose=(), gates=(gate("suites.a.score", ">= 1", warns=">= baseline"),)), {"a"}),
        (policy(choose=(), gates=(gate("suites.a.score", ">= 1", ">= baseline"),)), {"a"}),
        (policy(choose=(), gates=(gate("suites.a.regressions", "== 0"), gate("suites.b.score", ">= 1"))), {"a"}),
        (policy(choose=(), gates=(gate("valid_loss", "<= baseline"),)), set()),
    ],
)
def test_only_suites_that_are_compared_with_the_baseline_are_run_on_it(rule: Policy, suites: set[str]) -> None:
    assert compared_suites(rule) == suites


def test_a_suite_that_is_not_compared_is_not_run_again_on_the_baseline() -> None:
    rule = replace(comparing(rerun=Rerun.ALWAYS), evidence=(wants("extra"), wants()))
    both = replace(candidate(), suites={"core": ran(), "extra": ran()})
    assert ruled(both, rule=rule, current=PLAIN, baseline=PLAIN).tests == (baseline_test(),)
    elsewhere = replace(comparing(rerun=Rerun.ALWAYS), evidence=(wants("extra"),))
    assert ruled(both, rule=elsewhere, current=PLAIN, baseline=PLAIN).tests == ()


@pytest.mark.parametrize(("rerun", "stands"), [(Rerun.IF_STALE, OLD), (Rerun.ALWAYS, PLAIN)])
def test_a_baseline_that_was_not_renewed_in_time_is_no_evidence(rerun: Rerun, stands: Candidate) -> None:
    rule = comparing(rerun=rerun)
    late = {"standing": Standing(tests_since=START - HOUR), "current": stands, "baseline": stands}
    found = ruled(candidate(), rule=rule, **late)  # type: ignore[arg-type]
    assert (found.outcome, found.stage) == (Outcome.INCONCLUSIVE, Stage.GATES)
    note = "baseline: the run of suite core is inconclusive: it was not renewed in time"
    assert found.reason == f"step 100 inconclusive: g: {note}"
    # Nor may what serves be beaten by its old numbers, nor cases be counted against its old run.
    beats = ruled(candidate(), rule=replace(rule, gates=(gate(PASS_RATE, ">= 0.9"),)), **late)  # type: ignore[arg-type]
    assert (beats.outcome, beats.stage) == (Outcome.INCONCLUSIVE, Stage.CHOOSE)
    paired = replace(rule, gates=(gate(REGRESSIONS, "== 0"),))
    counted = ruled(candidate(measures={REGRESSIONS: 0}), rule=paired, **late)  # type: ignore[arg-type]
    assert counted.reason == "step 100 inconclusive: g: no baseline run of the same cases"


def test_what_serves_keeps_its_own_numbers_while_nothing_is_to_be_renewed() -> None:
    rule = comparing(rerun=Rerun.NEVER)
    found = ruled(candidate("1", 19), rule=rule, current=serving(20), baseline=serving(10))
    assert found.outcome is Outcome.KEPT_CURRENT


def test_what_serves_keeps_its_own_numbers_when_another_is_the_baseline() -> None:
    rule = replace(comparing(use=BaselineUse.LAST_GOOD), gates=(gate(PASS_RATE, ">= 0.9"), gate("x", ">= baseline")))
    other = aged(candidate("8", 18, job=EARLIER_JOB), 80 * HOUR)
    rule = replace(rule, gates=(gate(PASS_RATE, ">= 0.9"), replace(NO_DROP, missing=Missing.SKIP)))
    late = Standing(tests_since=START - HOUR)
    found = ruled(candidate(), rule=rule, standing=late, current=serving(), baseline=other)
    assert (found.outcome, found.baseline) == (Outcome.PROMOTED, other.key)
    first = ruled(candidate(), rule=rule, standing=late, baseline=other)
    assert (first.outcome, first.baseline) == (Outcome.PROMOTED, other.key)


# Gates and choice -----------------------------------------------------------------------------------------------------


def test_when_none_passes_it_is_rejected_and_inconclusive_if_any_could_still() -> None:
    failing, untested = candidate("1", 3), candidate("2", None)
    found = ruled(failing)
    assert (found.outcome, found.stage, found.candidate) == (Outcome.REJECTED, Stage.GATES, None)
    assert found.reason == "step 100 rejected: g 0.150 (3/20) is not >= 0.9"
    both = ruled(failing, untested, now=START + DAY)
    assert both.outcome is Outcome.INCONCLUSIVE
    assert both.reason == f"{found.reason}; step 200 inconclusive: no finished run of suite core, g: {NO_RUN}"
    assert [a.verdict for a in both.assessments] == [Verdict.FAIL, Verdict.INCONCLUSIVE]


NO_RUN = "no finished run of suite core"


def test_the_winner_is_the_best_of_those_that_pass_or_warn() -> None:
    rule = policy(gates=(gate(PASS_RATE, ">= 0.9", warns=">= 0.8"),), choose=(lower(PASS_RATE),))
    found = ruled(candidate("1", 19), candidate("2", 16), candidate("3", 15), rule=rule)
    assert (found.outcome, found.candidate) == (Outcome.PROMOTED, key("2"))
    assert found.trace == (f"{PASS_RATE}: 1 left",)
    assert [a.verdict for a in found.assessments] == [Verdict.PASS, Verdict.WARN, Verdict.FAIL]


def test_a_promotion_tells_why_and_why_not_the_others() -> None:
    found = ruled(candidate("1", 18), candidate("2", 20), candidate("3", 3), candidate("4", None), now=START + DAY)
    assert found.reason == (
        "step 200 of vertex job 8812 passes every gate and is the best of 2 that do"
        "; step 300 rejected: g 0.150 (3/20) is not >= 0.9"
        f"; step 400 inconclusive: {NO_RUN}, g: {NO_RUN}"
    )
    assert ruled(candidate("1")).reason == "step 100 of vertex job 8812 passes every gate"
    alone = ruled(candidate("1", 3), candidate("2", 20))
    assert alone.reason == (
        "step 200 of vertex job 8812 passes every gate; step 100 rejected: g 0.150 (3/20) is not >= 0.9"
    )
    warns = policy(gates=(gate(PASS_RATE, ">= 0.9", warns=">= 0.8"),))
    mixed = ruled(candidate("1", 19), candidate("2", 17), rule=replace(warns, choose=(lower(PASS_RATE),)))
    assert mixed.reason == "step 200 of vertex job 8812 passes with a warning and is the best of 2 that do"
    found = ruled(candidate("1", 16), candidate("2", 17), rule=warns)
    assert found.reason == "step 200 of vertex job 8812 passes with a warning and is the best of 2 that do"


def test_what_serves_already_is_kept() -> None:
    one = candidate("1")
    found = ruled(one, current=one)
    assert (found.outcome, found.stage, found.candidate) == (Outcome.KEPT_CURRENT, Stage.CHOOSE, one.key)
    assert found.reason == "step 100 already serves"
    assert found.assessments


def test_the_current_must_be_beaten_by_more_than_the_tie() -> None:
    rule = policy(choose=(higher(PASS_RATE, 0.05),))
    found = ruled(candidate("1", 19), rule=rule, current=serving(18))
    assert (found.outcome, found.stage) == (Outcome.KEPT_CURRENT, Stage.CHOOSE)
    assert found.reason == "step 100 passes, but it is not better than the current by more than the tie"
    assert ruled(candidate("1", 20), rule=rule, current=serving(18)).outcome is Outcome.PROMOTED


def test_must_beat_current_by_so_much() -> None:
    rule = policy(must_beat=MustBeat(criterion=higher(PASS_RATE), by=0.1))
    assert ruled(candidate("1", 20), rule=rule, current=serving(18)).outcome is Outcome.PROMOTED
    kept = ruled(candidate("1", 19), rule=rule, current=serving(18))
    assert kept.outcome is Outcome.KEPT_CURRENT
    assert kept.reason == (
        f"step 100 passes, but {PASS_RATE} 0.950 (19/20) against 0.900 (18/20) of the current, "
        "which must be beaten by 0.1"
    )


def test_a_current_that_cannot_be_compared_keeps_its_place_and_says_so() -> None:
    found = ruled(candidate(), current=serving(None))
    assert (found.outcome, found.stage, found.candidate) == (Outcome.INCONCLUSIVE, Stage.CHOOSE, key("1"))
    assert found.reason == f"cannot be compared with the current: {NO_RUN}"
    unknown = ruled(candidate(), standing=Standing(current=serving().key))
    assert (unknown.outcome, unknown.stage) == (Outcome.INCONCLUSIVE, Stage.CHOOSE)
    assert unknown.reason == f"cannot be compared with the current: nothing is known of {serving().key}"


def test_a_current_that_is_gone_need_not_be_beaten() -> None:
    gone = serving(20, state=CheckpointState.GONE)
    assert ruled(candidate("1", 18), current=gone).outcome is Outcome.PROMOTED
    assert ruled(candidate("1", 18), current=serving(20)).outcome is Outcome.KEPT_CURRENT


@pytest.mark.parametrize(
    ("best_of_line", "best"),
    [(None, True), (serving(18), True), (serving(20), False), (serving(None), False)],
    ids=["the first", "better", "not better", "not comparable"],
)
def test_it_is_the_best_of_the_line_when_it_beats_the_best_so_far(best_of_line: Candidate | None, best: bool) -> None:
    assert ruled(candidate("1", 20), best_of_line=best_of_line).best is best


def test_the_best_of_the_line_is_not_beaten_by_what_must_beat_the_current() -> None:
    rule = policy(must_beat=MustBeat(criterion=higher(PASS_RATE), by=0.0))
    found = ruled(candidate("1", 20), rule=rule, best_of_line=serving(20), current=serving(20))
    assert (found.outcome, found.best) == (Outcome.PROMOTED, False)


# Hold, windows and pace -----------------------------------------------------------------------------------------------


def test_a_hold_without_an_end_waits_until_it_is_released() -> None:
    held = Standing(hold=Hold(actor="ana", reason="audit", since=START))
    found = ruled(candidate(), standing=held, now=START + 400 * DAY)
    assert (found.waiting_for, found.until, found.candidate) == ("hold", None, key("1"))
    assert found.reason == "waits for hold: held by ana: audit"
    assert found.assessments


def test_a_hold_with_an_end_waits_until_then() -> None:
    held = Standing(hold=Hold(actor="ana", reason="audit", since=START, until=START + HOUR))
    assert ruled(candidate(), standing=held, now=START + HOUR - MOMENT).until == START + HOUR
    assert ruled(candidate(), standing=held, now=START + HOUR).outcome is Outcome.PROMOTED


FRIDAY = Window(
    name="no-friday",
    kind=WindowKind.DENY,
    zone="Europe/Berlin",
    when=Weekly(days=frozenset({Day.FRIDAY}), start=time(16), end=time(0)),
)
OVER = Window(
    name="launch",
    kind=WindowKind.ALLOW,
    zone="UTC",
    when=Dated(start=datetime(2026, 1, 1), end=datetime(2026, 2, 1)),  # noqa: DTZ001 - in the zone of the window
)


def test_a_closed_window_is_waited_for() -> None:
    friday = START + timedelta(days=5, hours=3)  # 16:00 in Berlin
    rule = policy(windows=(FRIDAY,))
    assert ruled(candidate(), rule=rule, now=friday - MOMENT).outcome is Outcome.PROMOTED
    found = ruled(candidate(), rule=rule, now=friday)
    assert (found.waiting_for, found.until, found.candidate) == ("window", friday + 8 * HOUR, key("1"))
    assert found.reason == "waits for window: window no-friday denies"
    assert ruled(candidate(), rule=rule, now=friday + 8 * HOUR).outcome is Outcome.PROMOTED


def test_windows_that_never_open_again_reject() -> None:
    rule = policy(windows=(OVER,), approval=approval())
    found = ruled(candidate(), rule=rule)
    assert (found.outcome, found.stage, found.until) == (Outcome.REJECTED, Stage.WINDOW, None)
    assert found.reason == "no allow window is open (launch), and none ever opens again"
    assert found.candidate == key("1")


def moved(*ages: timedelta, rolled_back: bool = False) -> tuple[Move, ...]:
    return tuple(
        Move(serial=n, at=START - age, decision="d", rolled_back=rolled_back) for n, age in enumerate(ages, start=1)
    )


def paced(
    *moves: Move, cooldown: timedelta | None = None, max_per_day: int | None = None, now: datetime = START
) -> Ruling:
    rule = policy(pacing=Pacing(cooldown=cooldown, max_per_day=max_per_day))
    return ruled(candidate(), rule=rule, standing=Standing(moves=moves), now=now)


def test_a_move_needs_its_cooldown_after_the_last_one() -> None:
    moves = moved(9 * HOUR, 6 * HOUR)
    assert paced(*moves, cooldown=6 * HOUR).outcome is Outcome.PROMOTED
    found = paced(*moves, cooldown=6 * HOUR + MOMENT)
    assert (found.waiting_for, found.until) == ("cooldown", START + MOMENT)
    assert found.reason == "waits for cooldown: it moved less than 6:00:00.000001 ago"
    assert paced(cooldown=6 * HOUR).outcome is Outcome.PROMOTED


def test_no_more_than_so_many_moves_within_a_day() -> None:
    assert paced(*moved(DAY, HOUR), max_per_day=2).outcome is Outcome.PROMOTED
    found = paced(*moved(DAY - MOMENT, HOUR), max_per_day=2)
    assert (found.waiting_for, found.until) == ("cooldown", START + MOMENT)
    assert found.reason == "waits for cooldown: it moved 2 times within 24 hours"
    assert paced(*moved(HOUR), max_per_day=1).reason == "waits for cooldown: it moved 1 time within 24 hours"
    # Of more than so many, enough must have become older.
    assert paced(*moved(9 * HOUR, 5 * HOUR, HOUR), max_per_day=2).until == START - 5 * HOUR + DAY
    assert paced(*moved(HOUR), max_per_day=2).outcome is Outcome.PROMOTED
    # Only those of the last 24 hours are counted.
    within = paced(*moved(30 * HOUR, DAY, DAY - MOMENT, 5 * HOUR, HOUR), max_per_day=2)
    assert within.reason == "waits for cooldown: it moved 3 times within 24 hours"


def test_the_longer_of_both_paces_counts() -> None:
    moves = moved(20 * HOUR, HOUR)
    assert paced(*moves, cooldown=2 * HOUR, max_per_day=2).until == START + 4 * HOUR
    assert paced(*moves, cooldown=9 * HOUR, max_per_day=2).until == START + 8 * HOUR
    assert paced(*moves, cooldown=HOUR, max_per_day=2).until == START + 4 * HOUR


def test_a_roll_back_is_nobodys_pace() -> None:
    back = moved(HOUR, rolled_back=True)
    assert paced(*back, cooldown=6 * HOUR, max_per_day=1).outcome is Outcome.PROMOTED
    assert paced(*moved(5 * HOUR), *back, cooldown=6 * HOUR).until == START + HOUR


# Approval -------------------------------------------------------------------------------------------------------------


def asked(given: Evidence, rule: Policy, *votes: Vote, **changes: Any) -> Ask:
    made = Ask(
        decision="d",
        job=JOB,
        candidate=key("1"),
        evidence=given.digest,
        policy=rule.digest,
        asked_at=START,
        until=START + 48 * HOUR,
        votes=votes,
    )
    return replace(made, **changes)


def vote(actor: str = "ben@acme.com", *, approves: bool = True) -> Vote:
    return Vote(actor=actor, approves=approves, at=START + HOUR, reason="because")


ASKS = policy(approval=approval(not_by_trigger=True))


def test_people_are_asked_until_the_approval_expires() -> None:
    found = ruled(candidate(), rule=ASKS)
    assert (found.waiting_for, found.until, found.candidate) == ("approval", START + 48 * HOUR, key("1"))
    assert found.reason == "waits for approval: the policy always asks; 0 of 1 agreed"


def test_an_approval_promotes_a_rejection_and_an_expiry_reject() -> None:
    given = evidence(candidate(), job=job_facts(candidate(), triggered_by=("ana@acme.com",)))

    def after(*votes: Vote, now: datetime = START + 2 * HOUR, **changes: Any) -> Ruling:
        return decide(ASKS, given, Standing(approval=asked(given, ASKS, *votes, **changes)), now)

    assert after(vote()).outcome is Outcome.PROMOTED
    refused = after(vote(approves=False))
    assert (refused.outcome, refused.stage, refused.candidate) == (Outcome.REJECTED, Stage.APPROVAL, key("1"))
    assert refused.reason == "ben@acme.com rejected it: because"
    assert after().waiting_for == "approval"
    expired = after(now=START + 48 * HOUR)
    assert (expired.outcome, expired.stage) == (Outcome.REJECTED, Stage.APPROVAL)
    assert expired.reason == "the approval expired: 0 of 1 had agreed"
    # Nobody approves what they triggered; and nothing but this is approved.
    assert after(vote("ana@acme.com")).waiting_for == "approval"
    assert after(vote("ana-acme-com")).waiting_for == "approval"
    for change in ({"evidence": "other"}, {"policy": "other"}, {"candidate": key("2")}):
        assert after(vote(), **change).waiting_for == "approval"


def test_a_first_promotion_and_a_warning_may_ask() -> None:
    first = policy(approval=approval(when=ApprovalWhen.FIRST_PROMOTION))
    assert ruled(candidate("1", 20), rule=first).waiting_for == "approval"
    assert ruled(candidate("1", 20), rule=first, current=serving()).outcome is Outcome.PROMOTED
    warns = policy(gates=(gate(PASS_RATE, ">= 0.95", warns=">= 0.9"),), approval=approval(when=ApprovalWhen.ON_WARN))
    assert ruled(candidate("1", 18), rule=warns).waiting_for == "approval"
    assert ruled(candidate("1", 19), rule=warns).outcome is Outcome.PROMOTED
    assert ruled(candidate("1", 19), candidate("2", 18), rule=warns).outcome is Outcome.PROMOTED
    # It is the winner's verdict that counts, not the first one's.
    worst = replace(warns, choose=(lower(PASS_RATE),))
    assert ruled(candidate("1", 19), candidate("2", 18), rule=worst).waiting_for == "approval"


# Stages and modes -----------------------------------------------------------------------------------------------------


def test_the_first_stage_that_stops_names_the_outcome() -> None:
    untested, tested = candidate("1", None), candidate("1", 20)
    job = job_facts(tested, state=JobState.RUNNING)
    friday = START + timedelta(days=5, hours=3)
    rule = policy(
        windows=(FRIDAY,),
        approval=approval(),
        pacing=Pacing(cooldown=HOUR, max_per_day=None),
        baseline=baseline(when_missing=WhenMissing.BLOCK),
    )
    held = Standing(
        hold=Hold(actor="ana", reason="audit", since=START), moves=(Move(serial=1, at=friday, decision="d"),)
    )
    stages = [
        ruled(tested, rule=rule, standing=held, now=friday, job=job),
        ruled(replace(tested, state=CheckpointState.GONE), rule=rule, standing=held, now=friday),
        ruled(tested, rule=rule, standing=held, now=friday),
        ruled(untested, rule=rule, standing=held, now=friday, current=serving(), baseline=serving()),
        ruled(tested, rule=rule, standing=held, now=friday, current=tested, baseline=tested),
        ruled(tested, rule=rule, standing=held, now=friday, current=serving(), baseline=serving()),
        ruled(
            tested,
            rule=rule,
            standing=replace(held, hold=None),
            now=friday,
            current=serving(),
            baseline=serving(),
        ),
        ruled(
            tested,
            rule=replace(rule, windows=()),
            standing=replace(held, hold=None),
            now=friday,
            current=serving(),
            baseline=serving(),
        ),
        ruled(tested, rule=replace(rule, windows=()), now=friday, current=serving(), baseline=serving()),
        ruled(tested, rule=replace(rule, approval=policy().approval), current=serving(), baseline=serving()),
    ]
    assert [found.stage for found in stages] == list(Stage)


@pytest.mark.parametrize("mode", [Mode.DRY_RUN, Mode.DISABLED])
def test_a_dry_run_stops_after_the_choice_and_moves_nothing(mode: Mode) -> None:
    found = ruled(candidate(), rule=policy(mode=mode))
    assert (found.outcome, found.stage, found.candidate) == (Outcome.WOULD_PROMOTE, Stage.CHOOSE, key("1"))
    assert found.reason == "step 100 of vertex job 8812 passes every gate"
    assert ruled(candidate("1", 3), rule=policy(mode=mode)).outcome is Outcome.REJECTED
    assert ruled(candidate(), rule=policy(mode=mode), current=candidate()).outcome is Outcome.KEPT_CURRENT


def test_a_dry_run_names_the_waits_that_would_follow() -> None:
    friday = START + timedelta(days=5, hours=3)
    rule = policy(
        mode=Mode.DRY_RUN,
        windows=(FRIDAY,),
        approval=approval(),
        pacing=Pacing(cooldown=HOUR, max_per_day=None),
    )
    standing = Standing(
        hold=Hold(actor="ana", reason="who waits", since=START), moves=(Move(serial=1, at=friday, decision="d"),)
    )
    found = ruled(candidate(), rule=rule, standing=standing, now=friday)
    assert found.outcome is Outcome.WOULD_PROMOTE
    assert found.reason == (
        "step 100 of vertex job 8812 passes every gate"
        "; it would then wait for hold: held by ana: who waits"
        "; it would then wait for window: window no-friday denies"
        "; it would then wait for cooldown: it moved less than 1:00:00 ago"
        "; it would then wait for approval: the policy always asks; 0 of 1 agreed"
    )
    never = ruled(candidate(), rule=replace(rule, windows=(OVER,)))
    assert never.reason == (
        "step 100 of vertex job 8812 passes every gate"
        "; it would then be rejected: no allow window is open (launch), and none ever opens again"
    )


# Words ----------------------------------------------------------------------------------------------------------------


def assessed(*results: GateResult, verdict: Verdict = Verdict.FAIL, missing: tuple[str, ...] = ()) -> Assessment:
    return Assessment(checkpoint=key("3"), step=300, verdict=verdict, gates=results, missing=missing)


def result(**changes: Any) -> GateResult:
    made = GateResult(id="g", metric="m", limit=">= 0.90", verdict=Verdict.FAIL, value=0.75, bound=0.9)
    return replace(made, **changes)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (result(), "g 0.750 is not >= 0.90"),
        (result(count=15, total=20), "g 0.750 (15/20) is not >= 0.90"),
        (
            result(count=46, total=60, value=46 / 60, low=0.667, high=0.844),
            "g 0.767 (46/60) [0.667-0.844] is not >= 0.90",
        ),
        (result(limit=">= baseline - 0.01", bound=0.94), "g 0.750 is not >= baseline - 0.01 (0.940)"),
        (result(bound=None), "g 0.750 is not >= 0.90"),
        (result(value=None, note="no m was reported"), "g: no m was reported"),
    ],
)
def test_a_failed_gate_is_told_with_value_and_limit(given: GateResult, text: str) -> None:
    assert why_not(assessed(given)) == f"step 300 rejected: {text}"


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (
            result(low=0.881, high=0.98, count=57, total=60, value=0.95),
            "g 0.950 (57/60) [0.881-0.980] straddles >= 0.90",
        ),
        (result(value=None, note="no m was reported"), "g: no m was reported"),
        (result(note="baseline: a percentage of zero", low=0.1, high=0.2), "g: baseline: a percentage of zero"),
    ],
)
def test_an_open_gate_is_told_with_what_is_missing(given: GateResult, text: str) -> None:
    open_ = replace(given, verdict=Verdict.INCONCLUSIVE)
    assert why_not(assessed(open_, verdict=Verdict.INCONCLUSIVE)) == f"step 300 inconclusive: {text}"


def test_failed_gates_hide_what_is_open_and_what_does_not_count() -> None:
    open_ = result(id="open", verdict=Verdict.INCONCLUSIVE, note="missing")
    skipped = result(id="skipped", counts=False)
    both = assessed(result(), open_, skipped, result(id="h"), missing=("no run",))
    assert why_not(both) == "step 300 rejected: g 0.750 is not >= 0.90, h 0.750 is not >= 0.90"
    uncounted, passed = replace(open_, id="uncounted", counts=False), result(id="passed", verdict=Verdict.PASS)
    undecided = assessed(open_, uncounted, skipped, passed, verdict=Verdict.INCONCLUSIVE, missing=("no run", "no run"))
    assert why_not(undecided) == "step 300 inconclusive: no run, open: missing"


@pytest.mark.parametrize(("verdict", "text"), [(Verdict.WARN, "warns"), (Verdict.PASS, "passes")])
def test_whoever_did_not_fail_says_so(verdict: Verdict, text: str) -> None:
    assert why_not(assessed(result(verdict=verdict), verdict=verdict)) == f"step 300 {text}"


# Keys and documents ---------------------------------------------------------------------------------------------------


def test_a_decision_is_keyed_by_all_that_it_was_made_from_and_came_to() -> None:
    made = Ruling(outcome=Outcome.WAITING, stage=Stage.HOLD, reason="r", candidate=key("1"), until=START)

    def identity(
        ruling: Ruling = made,
        *,
        alias: str = "prod",
        generation: int = 1,
        policy_: str = "p",
        found: str = "e",
        job: Any = JOB,
    ) -> str:
        return decision_key(replace(ALIAS, alias=alias), generation, policy_, found, ruling, job)

    others = [
        identity(alias="test"),
        identity(generation=2),
        identity(policy_="q"),
        identity(found="f"),
        identity(job=EARLIER_JOB),
        identity(replace(made, outcome=Outcome.PROMOTED)),
        identity(replace(made, stage=Stage.WINDOW)),
        identity(replace(made, until=START + MOMENT)),
        identity(replace(made, until=None)),
        identity(replace(made, candidate=key("2"))),
        identity(replace(made, candidate=None)),
    ]
    assert len({identity(), *others}) == len(others) + 1
    assert identity() == identity(replace(made, reason="other words", trace=("x",)))


def test_the_keys_of_decisions_are_the_same_in_every_release() -> None:
    made = Ruling(outcome=Outcome.REJECTED, stage=Stage.GATES, reason="r")
    assert made.best is False
    assert (
        decision_key(ALIAS, 1, "p", "e", made, JOB)
        == "c5d80d2063f0c61d31113d68f72a3ed20a304f8aa0567aad646df6f2b1ae8aa5"
    )
    assert command_key(ALIAS, "c-1") == "d1e16b6dfbbf33e5b76eb119bda361cea720d44e57ba9e528bffd0e7692ca2bd"


def test_a_command_is_keyed_by_itself_alone() -> None:
    assert command_key(ALIAS, "c-1") == command_key(ALIAS, "c-1")
    assert len({command_key(ALIAS, "c-1"), command_key(ALIAS, "c-2"), command_key(ALIAS.shadow("x"), "c-1")}) == 3


def test_only_a_wait_is_not_final_and_only_it_waits_for_a_stage() -> None:
    for outcome in Outcome:
        ruling = Ruling(outcome=outcome, stage=Stage.WINDOW, reason="r")
        decision = made_decision(outcome=outcome)
        assert ruling.waiting_for == ("window" if outcome is Outcome.WAITING else "")
        assert decision.final is (outcome is not Outcome.WAITING)


def made_decision(**changes: Any) -> Decision:
    made = Decision(
        id="9c3e10" + "0" * 58,
        alias=ALIAS,
        kind="policy",
        outcome=Outcome.PROMOTED,
        reason="r",
        at=START,
        actor="policy",
        actor_verified=True,
        generation=0,
        serial=0,
    )
    return replace(made, **changes)


def test_a_decision_is_called_by_six_digits() -> None:
    assert made_decision().short == "d-9c3e10"


def test_a_decision_with_all_that_it_was_made_from_survives_the_store() -> None:
    given = evidence(candidate(measures={REGRESSIONS: number(0)}, shutdown_at=START), current=serving())
    standing = Standing(
        current=serving().key,
        quarantine=(key("5"),),
        hold=Hold(actor="ana", reason="r", since=START),
        moves=moved(HOUR),
        approval=asked(given, ASKS, vote()),
        tests_since=START,
    )
    found = decide(policy(), given, standing, START)
    decision = made_decision(
        stage=found.stage,
        job=JOB,
        candidate=found.candidate,
        until=START,
        suites={"core": CORE_DIGEST},
        assessments=found.assessments,
        trace=found.trace,
        evidence=given,
        standing=standing,
    )
    again = decode(Decision, encode(decision))
    assert again == decision
    assert canonical(again) == canonical(decision)
    assert again.evidence is not None
    assert again.standing is not None
    assert again.evidence.digest == given.digest
    assert decide(policy(), again.evidence, again.standing, again.at) == found


def test_a_decision_of_an_earlier_release_can_be_read() -> None:
    old = {
        name: value for name, value in encode(made_decision()).items() if name not in ("stage", "evidence", "standing")
    }
    assert decode(Decision, old) == made_decision()
