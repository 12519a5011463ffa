"""Policies, evidence and standings as plain values: what the tests of the domain decide on."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from ratchet.domain.evidence import Candidate, Evidence, JobFacts, Measured, SuiteFacts
from ratchet.domain.keys import AliasKey, CheckpointKey, JobKey, Provider, digest
from ratchet.domain.policy import (
    Approval,
    ApprovalWhen,
    Baseline,
    BaselineUse,
    Comparison,
    Condition,
    Criterion,
    DriftUse,
    Gate,
    Mode,
    Pacing,
    Policy,
    Rerun,
    RollBackUse,
    Selector,
    Settle,
    SuiteEvidence,
    Until,
    WhenMissing,
)
from ratchet.domain.records import CheckpointState, JobState, Purpose

START = datetime(2026, 11, 22, 12, tzinfo=UTC)
"""A Sunday."""
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
MOMENT = timedelta(microseconds=1)
"""The least that a time can differ by."""

ALIAS = AliasKey("support-router", "prod")
JOB = JobKey(Provider.VERTEX, "42", "us-central1", "8812")
EARLIER_JOB = JobKey(Provider.VERTEX, "42", "us-central1", "8611")

PASS_RATE = "suites.core.pass_rate"
REGRESSIONS = "suites.core.regressions"
CASES = 20

_COMPARISON = re.compile(r"(<=|>=|==|!=|<|>) (?:baseline(?: ([-+]) ([0-9.]+)(%?))?|(-?[0-9.e+-]+))")


def key(checkpoint: str = "1", job: JobKey = JOB) -> CheckpointKey:
    return CheckpointKey(job, checkpoint)


# Policies.


def comparison(text: str) -> Comparison:
    """A comparison as people write it: `>= 0.9`, `<= baseline + 2%`."""
    found = _COMPARISON.fullmatch(text)
    assert found is not None, text
    op, sign, offset, percent, bound = found.groups()
    if bound is not None:
        return Comparison(op, text, float(bound))
    return Comparison(op, text, None, float(f"{sign or ''}{offset or 0}"), percent == "%")


def condition(*alternatives: str | Sequence[str]) -> Condition:
    """Any of these, each of which is one comparison or all of several."""
    return tuple(
        tuple(map(comparison, [alternative] if isinstance(alternative, str) else alternative))
        for alternative in alternatives
    )


def gate(metric: str, *passes: str | Sequence[str], warns: str | None = None, **changes: Any) -> Gate:
    made = Gate(id="g", metric=metric, passes=condition(*passes), warns=condition(warns) if warns else ())
    return replace(made, **changes)


def wants(suite: str = "core", **changes: Any) -> SuiteEvidence:
    made = SuiteEvidence(suite=suite, suite_digest=digest("suite", suite), min_cases=1, max_age=None)
    return replace(made, **changes)


def higher(metric: str, tie: float = 0.0) -> Criterion:
    return Criterion(metric=metric, higher_is_better=True, tie=tie)


def lower(metric: str, tie: float = 0.0) -> Criterion:
    return Criterion(metric=metric, higher_is_better=False, tie=tie)


def policy(**changes: Any) -> Policy:
    """One that promotes the best of a job whose smoke tests pass, and asks nobody."""
    made = Policy(
        name="support-router-prod",
        alias=ALIAS,
        mode=Mode.ENFORCE,
        select=Selector(providers=frozenset(Provider), labels={}),
        settle=Settle(until=Until.JOB_TERMINAL, quiet=None, max_wait=DAY),
        evidence=(wants(),),
        metrics=(),
        baseline=Baseline(use=BaselineUse.CURRENT, rerun=Rerun.NEVER, when_missing=WhenMissing.ALLOW),
        gates=(gate(PASS_RATE, ">= 0.9"),),
        choose=(higher(PASS_RATE),),
        must_beat=None,
        approval=Approval(
            when=ApprovalWhen.NEVER, least=1, approvers=(), not_by_trigger=False, expires=timedelta(hours=48)
        ),
        pacing=Pacing(cooldown=None, max_per_day=None),
        windows=(),
        apply=frozenset(),
        watch=None,
        rollback=RollBackUse(triggers=frozenset(), hold=None, breaker=3),
        drift=DriftUse.HOLD,
        digest=digest("policy"),
        text="{}",
    )
    return replace(made, **changes)


def approval(**changes: Any) -> Approval:
    return replace(policy().approval, **{"when": ApprovalWhen.ALWAYS, **changes})


def baseline(**changes: Any) -> Baseline:
    return replace(policy().baseline, **changes)


def settle(**changes: Any) -> Settle:
    return replace(policy().settle, **changes)


# Evidence.


def number(value: float, source: str = "checkpoint") -> Measured:
    return Measured(value=float(value), source=source)


def rate(count: int, total: int, source: str = "run r-1") -> Measured:
    return Measured(value=count / total, source=source, count=count, total=total)


def ran(**changes: Any) -> SuiteFacts:
    """A finished run of a suite."""
    made = SuiteFacts(run="r-1", purpose=Purpose.GATE, occasion="-", finished_at=START, cases=CASES, repeats=1)
    return replace(made, **changes)


def candidate(
    checkpoint: str = "1",
    passed: int | None = CASES,
    *,
    job: JobKey = JOB,
    total: int = CASES,
    measures: Mapping[str, float | Measured] = {},
    **changes: Any,
) -> Candidate:
    """A checkpoint whose id is its step in hundreds; `passed`: of the cases of suite `core`, None: not tested yet."""
    found = {name: value if isinstance(value, Measured) else number(value) for name, value in measures.items()}
    if passed is not None:
        found = {PASS_RATE: rate(passed, total), **found}
    step = int(checkpoint) * 100
    made = Candidate(
        key=key(checkpoint, job),
        step=step,
        state=CheckpointState.READY,
        base_model="gemini-2.5-flash",
        recorded_at=START,
        measures={"step": number(step), **found},
        suites={} if passed is None else {"core": ran(cases=total)},
        untested=("core",) if passed is None else (),
    )
    return replace(made, **changes)


def job_facts(*candidates: Candidate, **changes: Any) -> JobFacts:
    """A job that has just ended well, and listed these."""
    made = JobFacts(
        key=JOB,
        state=JobState.SUCCEEDED,
        first_seen_at=START,
        ended_at=START,
        checkpoint_ids=tuple(candidate.key.id for candidate in candidates if candidate.key.job == JOB),
    )
    return replace(made, **changes)


def evidence(*candidates: Candidate, **changes: Any) -> Evidence:
    return replace(Evidence(job=job_facts(*candidates), candidates=candidates), **changes)
