"""The worked policies do what each is there to show: loaded from their files, on evidence as it is recorded."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ratchet.adapters.rule_files import check, load_rules
from ratchet.domain.decide import decide
from ratchet.domain.decision import Outcome, Ruling, Standing
from ratchet.domain.evidence import Candidate, Evidence, JobFacts, observe, with_neighbours
from ratchet.domain.keys import CheckpointKey, JobKey, Provider
from ratchet.domain.policy import Mode, Policy
from ratchet.domain.records import (
    Ask,
    Checkpoint,
    CheckpointState,
    JobState,
    Lease,
    Measure,
    Purpose,
    RunOutcome,
    SmokeRun,
    Summary,
    Vote,
)
from ratchet.domain.suite import Suite

SHARED = Path(__file__).resolve().parents[2] / "shared"
RULES = load_rules(SHARED / "policies", SHARED / "suites")
MONDAY = datetime.fromisoformat("2026-11-23T09:00:00+00:00")
VERTEX = JobKey(Provider.VERTEX, "123456789012", "us-central1", "8812")
OPENAI = JobKey(Provider.OPENAI, "proj_a1", "-", "ftjob-1")
EARLIER = JobKey(Provider.VERTEX, "123456789012", "us-central1", "8611")


def policy(name: str) -> Policy:
    """As its file says, but for the one line that people change after a week."""
    (found,) = (each for each in RULES.policies if each.name == name)
    assert found.mode is Mode.DRY_RUN
    return replace(found, mode=Mode.ENFORCE)


def suite(name: str) -> Suite:
    return RULES.suites[name]


def some(of: Suite, count: int, tag: str = "") -> tuple[str, ...]:
    """So many cases that have the tag; without one, that have none."""
    found = [case.id for case in of.cases if (tag in case.tags if tag else not case.tags)]
    assert len(found) >= count
    return tuple(sorted(found[:count]))


def ran(
    key: CheckpointKey, of: Suite, bad: tuple[str, ...], *, score: float | None = None, flaky: int = 0, **changes: Any
) -> SmokeRun:
    """A run in which these cases failed, the first of them only sometimes."""
    cases, failed = of.cases, len(bad)
    tags = {tag for case in of.cases for tag in case.tags}
    summary = Summary(
        total=len(cases) * of.repeats,
        passed=(len(cases) - failed) * of.repeats,
        errors=0,
        cases=len(cases),
        repeats=of.repeats,
        error_cases=0,
        score=1 - failed / len(cases) if score is None else score,
        latency_p50_ms=300,
        latency_p95_ms=900,
        tokens_in=1000,
        tokens_out=200,
        failed=bad,
        flaky=bad[:flaky],
        tags={tag: tuple(sorted(case.id for case in of.cases if tag in case.tags)) for tag in tags},
    )
    made = SmokeRun(
        key=f"{key.id * 6}-run",
        checkpoint=key,
        job=key.job,
        suite=of.name,
        suite_digest=of.digest,
        purpose=Purpose.GATE,
        occasion="-",
        attempt=1,
        lease=Lease("me", 1, MONDAY),
        started_at=MONDAY - timedelta(hours=2),
        outcome=RunOutcome.FAIL if failed else RunOutcome.PASS,
        last=True,
        summary=summary,
        finished_at=MONDAY - timedelta(hours=1),
    )
    return replace(made, **changes)


def checkpoint(key: CheckpointKey, tested: Suite, metrics: Mapping[str, float] = {}) -> Checkpoint:
    """Its id is its step in hundreds."""
    return Checkpoint(
        key=key,
        job=key.job,
        base_model="gemini-2.5-flash" if key.job.provider is Provider.VERTEX else "gpt-4.1-mini",
        name="",
        labels={},
        datasets={},
        job_created_at=MONDAY - timedelta(days=1),
        recorded_at=MONDAY - timedelta(hours=3),
        state=CheckpointState.READY,
        step=100 * int(key.id),
        epoch=int(key.id),
        target="t",
        metrics={name: Measure(value, "checkpoint") for name, value in metrics.items()},
        tested=(tested.digest,),
    )


def table(run: SmokeRun, of: Suite, against: SmokeRun | None = None, metrics: Mapping[str, float] = {}) -> Candidate:
    beside = {of.name: against} if against else {}
    return observe(checkpoint(run.checkpoint, of, metrics), {of.name: run}, {of.name: of.digest}, against=beside)


def evidence(*candidates: Candidate, job: JobKey = VERTEX, current: Candidate | None = None, **facts: Any) -> Evidence:
    """Of a job that has ended, compared with what serves, if anything does."""
    known = JobFacts(
        key=job,
        state=JobState.SUCCEEDED,
        first_seen_at=MONDAY - timedelta(days=1),
        ended_at=MONDAY - timedelta(hours=2),
        checkpoint_ids=tuple(each.key.id for each in candidates),
    )
    return Evidence(
        job=replace(known, **facts), candidates=with_neighbours(candidates), current=current, baseline=current
    )


def ruled(rule: Policy, found: Evidence, now: datetime = MONDAY, **standing: Any) -> Ruling:
    current = found.current.key if found.current else None
    return decide(rule, found, Standing(current=current, **standing), now)


def test_the_worked_files_have_no_findings() -> None:
    assert [str(finding) for finding in check(SHARED / "policies", SHARED / "suites")] == []


# The best of the job, by its smoke-test score -------------------------------------------------------------------------


@pytest.mark.parametrize("job", [VERTEX, OPENAI], ids=["vertex", "openai"])
def test_the_best_of_a_job_serves_whichever_provider_made_it(job: JobKey) -> None:
    rule, core = policy("best-of-the-job"), suite("support-core")
    # A loss that falls to the end, where there is one, crowns nobody.
    losses = {"valid_loss": 0.9} if job.provider is Provider.OPENAI else {}
    scores = {"1": 0.80, "2": 0.95, "3": 0.94, "4": 0.70}
    tables = [
        table(ran(CheckpointKey(job, id_), core, some(core, 1), score=score), core, metrics=losses)
        for id_, score in scores.items()
    ]
    found = ruled(rule, evidence(*tables, job=job))
    assert (found.outcome, found.candidate) == (Outcome.PROMOTED, CheckpointKey(job, "2"))
    assert found.reason.startswith(
        f"step 200 of {job.provider} job {job.id} passes every gate and is the best of 3 that do"
    )
    assert "step 400 rejected: good-enough 0.700 is not >= 0.75" in found.reason


def test_of_equals_the_earlier_step_of_the_job_serves() -> None:
    rule, core = policy("best-of-the-job"), suite("support-core")

    def best(later: float) -> CheckpointKey | None:
        scores = {"1": 0.90, "2": later}
        tables = [
            table(ran(CheckpointKey(VERTEX, id_), core, some(core, 1), score=score), core)
            for id_, score in scores.items()
        ]
        return ruled(rule, evidence(*tables)).candidate

    assert best(0.92) == CheckpointKey(VERTEX, "1")
    assert best(0.921) == CheckpointKey(VERTEX, "2")


def test_the_best_of_a_job_waits_for_its_last_checkpoint() -> None:
    rule, core = policy("best-of-the-job"), suite("support-core")
    good = table(ran(CheckpointKey(VERTEX, "1"), core, ()), core)
    assert ruled(rule, evidence(good, state=JobState.RUNNING, ended_at=None)).waiting_for == "settle"
    assert ruled(rule, evidence(good, checkpoint_ids=("1", "2"))).waiting_for == "settle"
    assert (
        ruled(rule, evidence(good, checkpoint_ids=("1", "2")), now=MONDAY + timedelta(hours=22)).candidate == good.key
    )


# Only if it beats the current, surely, on the same cases at the same time ---------------------------------------------


DESKS = suite("support-desks")


def beating(failed: int, serving: int, tag: str = "") -> Ruling:
    """A candidate and what serves, so many of whose cases failed in the run that was made beside it."""
    beside = ran(
        CheckpointKey(EARLIER, "4"), DESKS, some(DESKS, serving), purpose=Purpose.BASELINE, occasion=str(VERTEX)
    )
    ours = table(ran(CheckpointKey(VERTEX, "3"), DESKS, some(DESKS, failed, tag)), DESKS, beside)
    return ruled(policy("beats-the-current"), evidence(ours, current=table(beside, DESKS)))


def test_sure_of_its_quality_and_better_on_the_same_cases_it_serves() -> None:
    found = beating(failed=1, serving=2)
    assert (found.outcome, found.candidate) == (Outcome.PROMOTED, CheckpointKey(VERTEX, "3"))
    quality = next(result for result in found.assessments[0].gates if result.id == "quality")
    assert (quality.count, quality.total) == (59, 60)


def test_no_better_than_what_serves_it_does_not() -> None:
    kept = beating(failed=2, serving=2)
    assert kept.outcome is Outcome.KEPT_CURRENT
    assert "which must be beaten by 0.015" in kept.reason


@pytest.mark.parametrize(
    ("failed", "outcome"), [(2, Outcome.PROMOTED), (3, Outcome.INCONCLUSIVE), (14, Outcome.REJECTED)]
)
def test_nearly_good_enough_is_not_known_to_be(failed: int, outcome: Outcome) -> None:
    # 58 of 60 are surely above 0.90, 57 may be chance, and 46 are surely below.
    found = beating(failed=failed, serving=30)
    assert found.outcome is outcome
    if outcome is Outcome.INCONCLUSIVE:
        assert found.reason.startswith("step 300 inconclusive: quality 0.950 (57/60) [0.881-0.980] straddles")


def test_a_critical_case_that_what_serves_passes_may_not_be_lost() -> None:
    assert beating(failed=1, serving=3).outcome is Outcome.PROMOTED
    found = beating(failed=1, serving=3, tag="critical")
    assert found.outcome is Outcome.REJECTED
    assert found.reason == "step 300 rejected: critical 1 is not == 0"


def test_what_serves_is_first_tested_again_beside_its_candidates_and_never_compared_by_an_old_run() -> None:
    rule = policy("beats-the-current")
    before = ran(CheckpointKey(EARLIER, "4"), DESKS, some(DESKS, 3))
    ours = table(ran(CheckpointKey(VERTEX, "3"), DESKS, some(DESKS, 1)), DESKS, before)
    found = evidence(ours, current=table(before, DESKS))
    waits = ruled(rule, found)
    assert waits.waiting_for == "settle"
    assert [(test.checkpoint, test.purpose) for test in waits.tests] == [(before.checkpoint, Purpose.BASELINE)]
    late = ruled(rule, found, tests_since=MONDAY - timedelta(hours=24))
    assert late.outcome is Outcome.INCONCLUSIVE


# Somebody is asked about a warning, and nothing moves from Friday noon ------------------------------------------------

ANSWERS = suite("refund-answers")
ANA, BEN = "ana@acme.com", "ben@acme.com"
FRIDAY_NOON = datetime.fromisoformat("2026-11-27T12:00:00+01:00")
NEXT_MONDAY = datetime.fromisoformat("2026-11-30T00:00:00+01:00")


def refunds(
    failed: int, *, tag: str = "", serving: int | None = 1, finished_at: datetime = MONDAY, **changes: Any
) -> Evidence:
    """Of a job that Ana started; of twenty cases so many failed, and so many of what serves."""
    ours = ran(CheckpointKey(VERTEX, "3"), ANSWERS, some(ANSWERS, failed, tag), finished_at=finished_at, **changes)
    before = (
        None
        if serving is None
        else ran(CheckpointKey(EARLIER, "4"), ANSWERS, some(ANSWERS, serving), finished_at=finished_at)
    )
    return evidence(
        table(ours, ANSWERS),
        current=table(before, ANSWERS) if before else None,
        triggered_by=(ANA,),
        ended_at=finished_at,
    )


def approving(found: Evidence, now: datetime, *votes: tuple[str, bool]) -> Ruling:
    """Asked on Monday, answered an hour later, and decided now."""
    rule = policy("approval-on-warn")
    ask = Ask(
        decision="d",
        job=VERTEX,
        candidate=CheckpointKey(VERTEX, "3"),
        evidence=found.digest,
        policy=rule.digest,
        asked_at=MONDAY,
        until=MONDAY + timedelta(hours=48),
        votes=tuple(
            Vote(actor=actor, approves=approves, at=MONDAY + timedelta(hours=1), reason="because")
            for actor, approves in votes
        ),
    )
    return ruled(rule, found, now, approval=ask)


LATER = MONDAY + timedelta(hours=2)


def test_good_enough_goes_by_itself() -> None:
    found = ruled(policy("approval-on-warn"), refunds(0), LATER)
    assert (found.outcome, found.candidate) == (Outcome.PROMOTED, CheckpointKey(VERTEX, "3"))


def test_not_quite_good_enough_asks_somebody_who_did_not_start_it() -> None:
    warns = refunds(2, serving=3)
    waits = ruled(policy("approval-on-warn"), warns, LATER)
    assert (waits.waiting_for, waits.until) == ("approval", LATER + timedelta(hours=48))
    assert waits.reason == "waits for approval: it warns; 0 of 1 of *@acme.com agreed"
    assert approving(warns, LATER, (BEN, True)).outcome is Outcome.PROMOTED
    assert approving(warns, LATER, (BEN, False)).outcome is Outcome.REJECTED
    for nobody in (ANA, "eve@evil.org"):
        assert approving(warns, LATER, (nobody, True)).waiting_for == "approval"


def test_what_passes_only_sometimes_warns_and_no_more() -> None:
    def promoted(flaky: int) -> bool:
        found = refunds(1, serving=2)
        (ours,) = found.candidates
        measures = {**ours.measures, "suites.refund-answers.flaky_cases": replace(ours.measures["step"], value=flaky)}
        steady = replace(found, candidates=(replace(ours, measures=measures),))
        return ruled(policy("approval-on-warn"), steady, LATER).outcome is Outcome.PROMOTED

    assert promoted(1)
    assert not promoted(2)
    assert approving(refunds(3, serving=4, flaky=2), LATER, (BEN, True)).outcome is Outcome.PROMOTED


def test_after_two_days_without_a_word_it_is_rejected() -> None:
    warns = refunds(2, serving=3)
    assert approving(warns, MONDAY + timedelta(hours=47)).waiting_for == "approval"
    expired = approving(warns, MONDAY + timedelta(hours=48))
    assert (expired.outcome, expired.reason) == (Outcome.REJECTED, "the approval expired: 0 of 1 had agreed")


def test_the_first_of_the_line_asks_too() -> None:
    waits = ruled(policy("approval-on-warn"), refunds(0, serving=None), LATER)
    assert waits.reason == "waits for approval: there is no baseline; 0 of 1 of *@acme.com agreed"


def test_a_promise_that_the_terms_do_not_make_is_nobodys_to_wave_through() -> None:
    found = ruled(policy("approval-on-warn"), refunds(1, tag="promises", serving=2), LATER)
    assert found.outcome is Outcome.REJECTED
    assert "promises 0.833 (5/6) is not == 1" in found.reason


def test_nothing_moves_from_friday_noon_until_monday() -> None:
    def at(now: datetime) -> Ruling:
        return ruled(policy("approval-on-warn"), refunds(0, finished_at=FRIDAY_NOON - timedelta(hours=1)), now)

    moment = timedelta(microseconds=1)
    assert at(FRIDAY_NOON - moment).outcome is Outcome.PROMOTED
    for now in (FRIDAY_NOON, FRIDAY_NOON + timedelta(hours=12), NEXT_MONDAY - moment):
        assert (at(now).waiting_for, at(now).until) == ("window", NEXT_MONDAY)
    assert at(NEXT_MONDAY).outcome is Outcome.PROMOTED
