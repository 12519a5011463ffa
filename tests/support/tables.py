"""Policies and evidence as values, made in a line each: what the pure rules are tested on."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from ratchet.domain.evidence import Candidate, Evidence, JobFacts, Measured, SuiteFacts
from ratchet.domain.keys import AliasKey, CheckpointKey, JobKey, Provider
from ratchet.domain.policy import (
    Approval,
    ApprovalWhen,
    Baseline,
    BaselineUse,
    Comparison,
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
    Until,
    WhenMissing,
)
from ratchet.domain.records import CheckpointState, JobState, Purpose

NOW = datetime(2026, 11, 22, 14, 3, 11, tzinfo=UTC)
ALIAS = AliasKey("support-router", "prod")
JOB = JobKey(Provider.VERTEX, "42", "us-central1", "8812")
EARLIER_JOB = JobKey(Provider.VERTEX, "42", "us-central1", "8611")
RATE = "suites.core.pass_rate"


def rate(count: int, total: int, source: str = "run r-1") -> Measured:
    return Measured(value=count / total, source=source, count=count, total=total)


def value(number: float, source: str = "checkpoint") -> Measured:
    return Measured(value=number, source=source)


def candidate(step: int | None = 100, /, *, job: JobKey = JOB, name: str = "", **measures: Measured) -> Candidate:
    """A checkpoint with these numbers; `core__x` is the metric `suites.core.x`."""
    named = {metric.replace("core__", "suites.core."): found for metric, found in measures.items()}
    if step is not None:
        named["step"] = value(float(step))
    return Candidate(
        key=CheckpointKey(job, name or str(step)),
        step=step,
        state=CheckpointState.READY,
        base_model="gemini-2.5-flash",
        recorded_at=NOW - timedelta(hours=1),
        measures=named,
    )


def ran(total: int = 60, *, purpose: Purpose = Purpose.GATE, trouble: str = "") -> Mapping[str, SuiteFacts]:
    """The newest run of the suite `core`."""
    facts = SuiteFacts(
        run="r" * 64,
        purpose=purpose,
        occasion="-",
        finished_at=NOW - timedelta(minutes=30),
        cases=total,
        repeats=1,
        trouble=trouble,
    )
    return {"core": facts}


def evidence(*candidates: Candidate, **around: Candidate | None) -> Evidence:
    job = JobFacts(
        key=JOB,
        state=JobState.SUCCEEDED,
        first_seen_at=NOW - timedelta(hours=2),
        ended_at=NOW - timedelta(hours=1),
        checkpoint_ids=tuple(each.key.id for each in candidates),
    )
    return Evidence(job=job, candidates=candidates, **around)


def compared(text: str) -> Comparison:
    """`>= 0.9`, `>= baseline - 0.01`, `<= baseline + 2%`."""
    op, rest = text.split(" ", 1)
    if not rest.startswith("baseline"):
        return Comparison(op, text, float(rest))
    offset = rest.removeprefix("baseline").replace(" ", "")
    return Comparison(op, text, None, float(offset.rstrip("%") or 0), offset.endswith("%"))


def gate(id_: str, metric: str, *passes: str, warn: tuple[str, ...] = (), **changes: Any) -> Gate:
    """All of `passes`."""
    warns = (tuple(map(compared, warn)),) if warn else ()
    return Gate(id=id_, metric=metric, passes=(tuple(map(compared, passes)),), warns=warns, **changes)


def better(metric: str, *, higher: bool = True, tie: float = 0.0) -> Criterion:
    return Criterion(metric=metric, higher_is_better=higher, tie=tie)


def policy(*gates: Gate, **changes: Any) -> Policy:
    made: dict[str, Any] = {
        "name": "support-router-prod",
        "alias": ALIAS,
        "mode": Mode.ENFORCE,
        "select": Selector(providers=frozenset(Provider), labels={}),
        "settle": Settle(until=Until.JOB_TERMINAL, quiet=None, max_wait=timedelta(hours=24)),
        "evidence": (),
        "metrics": (),
        "baseline": Baseline(use=BaselineUse.CURRENT, rerun=Rerun.NEVER, when_missing=WhenMissing.ALLOW),
        "gates": gates or (gate("quality", RATE, ">= 0.9"),),
        "choose": (better(RATE, tie=0.01), better("step", higher=False)),
        "must_beat": None,
        "approval": Approval(
            when=ApprovalWhen.NEVER, least=1, approvers=(), not_by_trigger=True, expires=timedelta(hours=48)
        ),
        "pacing": Pacing(cooldown=None, max_per_day=None),
        "windows": (),
        "apply": frozenset(),
        "watch": None,
        "rollback": RollBackUse(triggers=frozenset(), hold=None, breaker=3),
        "drift": DriftUse.HOLD,
        "digest": "p" * 64,
        "text": "{}",
    }
    return Policy(**{**made, **changes})
