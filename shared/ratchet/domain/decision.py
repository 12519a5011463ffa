"""What a decision is, how it is kept, and by which key it is found."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import ClassVar

from ratchet.domain.codec import format_time
from ratchet.domain.evidence import Evidence
from ratchet.domain.gates import Assessment
from ratchet.domain.keys import AliasKey, CheckpointKey, JobKey, digest, short_id
from ratchet.domain.records import Ask, Hold, Move, Purpose


class Outcome(StrEnum):
    PROMOTED = "promoted"
    WOULD_PROMOTE = "wouldPromote"
    KEPT_CURRENT = "keptCurrent"
    REJECTED = "rejected"
    INCONCLUSIVE = "inconclusive"
    WAITING = "waiting"
    ROLLED_BACK = "rolledBack"


class Stage(StrEnum):
    """Where a decision stopped. What it waits for (`settle`, `hold`, `window`, `cooldown`, `approval`) is a stage."""

    SETTLE = "settle"
    EVIDENCE = "evidence"
    BASELINE = "baseline"
    GATES = "gates"
    CHOOSE = "choose"
    HOLD = "hold"
    WINDOW = "window"
    COOLDOWN = "cooldown"
    APPROVAL = "approval"
    PROMOTE = "promote"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What an alias's own document says to a decision. `hold` is its own or that of all, while it lasts.

    `tests_since`: since when this job's decision waits for tests that it asked for itself.
    """

    current: CheckpointKey | None = None
    quarantine: tuple[CheckpointKey, ...] = ()
    hold: Hold | None = None
    moves: tuple[Move, ...] = ()
    approval: Ask | None = None
    tests_since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Test:
    """A run that a decision lacks and asks for."""

    checkpoint: CheckpointKey
    suite: str
    suite_digest: str
    purpose: Purpose
    occasion: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """What was decided, before it is written down. `tests` are runs to be asked for; `best`: the best of the line."""

    outcome: Outcome
    stage: Stage
    reason: str
    candidate: CheckpointKey | None = None
    baseline: CheckpointKey | None = None
    until: datetime | None = None
    assessments: tuple[Assessment, ...] = ()
    trace: tuple[str, ...] = ()
    tests: tuple[Test, ...] = ()
    best: bool = False

    @property
    def waiting_for(self) -> str:
        return self.stage if self.outcome is Outcome.WAITING else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A ruling as it is kept for ever, with all that it was computed from; `at` was its time.

    `evidence_digest` names the evidence. A command's decision has a ruling's outcome, and no evidence of its own.
    """

    COLLECTION: ClassVar[str] = "decisions"

    id: str
    alias: AliasKey
    kind: str
    outcome: Outcome
    reason: str
    at: datetime
    actor: str
    actor_verified: bool
    generation: int
    serial: int
    stage: Stage | None = None
    policy: str = ""
    policy_digest: str = ""
    evidence_digest: str = ""
    job: JobKey | None = None
    candidate: CheckpointKey | None = None
    candidate_step: int | None = None
    baseline: CheckpointKey | None = None
    waiting_for: str = ""
    until: datetime | None = None
    suites: Mapping[str, str] = field(default_factory=dict)
    assessments: tuple[Assessment, ...] = ()
    trace: tuple[str, ...] = ()
    evidence: Evidence | None = None
    standing: Standing | None = None

    @property
    def final(self) -> bool:
        return self.outcome is not Outcome.WAITING

    @property
    def short(self) -> str:
        return short_id(self.id)


def waiting(stage: Stage, reason: str, until: datetime | None) -> Ruling:
    return Ruling(outcome=Outcome.WAITING, stage=stage, reason=f"waits for {stage}: {reason}", until=until)


def decision_key(
    alias: AliasKey, generation: int, policy_digest: str, evidence: str, ruling: Ruling, job: JobKey
) -> str:
    """Of two decisions on the same evidence, time alone may choose another candidate: so it is named too."""
    until = format_time(ruling.until) if ruling.until else ""
    candidate = str(ruling.candidate or "")
    decided = (ruling.outcome, ruling.stage, candidate, until)
    return digest(str(alias), str(generation), policy_digest, str(job), evidence, *decided)


def command_key(alias: AliasKey, command_id: str) -> str:
    """Where the decision of a command is found, from the moment it is asked for."""
    return digest(str(alias), command_id)
