"""Short forms of `support.decisions`: gates by name, and checkpoints as rows of numbers."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from ratchet.domain.evidence import Candidate, Measured, SuiteFacts
from ratchet.domain.keys import CheckpointKey, JobKey
from ratchet.domain.policy import Gate, Policy
from support import decisions
from support.decisions import ALIAS, EARLIER_JOB, JOB, START, comparison, evidence, higher, lower, number, rate

__all__ = [
    "ALIAS",
    "EARLIER_JOB",
    "JOB",
    "NOW",
    "RATE",
    "candidate",
    "comparison",
    "evidence",
    "gate",
    "higher",
    "lower",
    "number",
    "policy",
    "ran",
    "rate",
]

NOW = START + timedelta(hours=2, minutes=3, seconds=11)
RATE = decisions.PASS_RATE


def candidate(step: int = 100, /, *, job: JobKey = JOB, **measures: Measured) -> Candidate:
    """A checkpoint with these numbers and no run; `core__x` is the metric `suites.core.x`."""
    named = {metric.replace("core__", "suites.core."): found for metric, found in measures.items()}
    return decisions.candidate(
        str(step // 100),
        None,
        measures={**named, "step": number(step)},
        key=CheckpointKey(job, str(step)),
        step=step,
        untested=(),
    )


def ran(cases: int = 60) -> Mapping[str, SuiteFacts]:
    """The newest run of the suite `core`."""
    return {"core": decisions.ran(run="r" * 64, cases=cases)}


def gate(id_: str, metric: str, *all_of: str, warn: str | None = None, **changes: Any) -> Gate:
    return decisions.gate(metric, all_of, warns=warn, id=id_, **changes)


def policy(*gates: Gate, **changes: Any) -> Policy:
    """The best rate wins, and of equals the earlier step; no run is asked for."""
    made: Mapping[str, Any] = {
        "gates": gates or (gate("quality", RATE, ">= 0.9"),),
        "choose": (higher(RATE, tie=0.01), lower("step")),
        "evidence": (),
    }
    return decisions.policy(**{**made, **changes})
