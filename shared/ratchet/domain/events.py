"""Messages: what travels on each topic.

An event is a hint: its handler reads the truth again. The one exception is `CheckpointSeen`, which carries values,
because only `track_tuning_job`, which has just read the provider, may publish it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from ratchet.domain.codec import encode
from ratchet.domain.keys import AliasKey, CheckpointKey, JobKey
from ratchet.domain.records import JobState, Measure, Purpose

SCHEMA_VERSION = 1

_WORD = re.compile(r"[a-z][a-z_-]{0,63}")


class Topic(StrEnum):
    TUNING_JOBS = "tuning-jobs"
    CHECKPOINTS = "checkpoints"
    SMOKE_TESTS = "smoke-tests"
    PROMOTIONS = "promotions"
    COMMANDS = "commands"
    DECISIONS = "decisions"
    DEAD_LETTERS = "dead-letters"


PUBLISHERS: Mapping[Topic, frozenset[str]] = {
    Topic.TUNING_JOBS: frozenset({"receive_webhook", "reconcile", "replay"}),
    Topic.CHECKPOINTS: frozenset({"track_tuning_job", "replay"}),
    Topic.SMOKE_TESTS: frozenset({"record_checkpoint", "run_smoke_test", "enforce_promotion", "reconcile", "replay"}),
    Topic.PROMOTIONS: frozenset({"track_tuning_job", "run_smoke_test", "reconcile", "replay"}),
    # Commands are issued anew, never replayed.
    Topic.COMMANDS: frozenset({"receive_command"}),
}
"""Who may publish where: an event whose source is not listed for its topic is dead, and alarms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TuningJobHint:
    """Somebody should look at this job. `reason` is for people; `triggered_by`: who started it, by the audit log."""

    job: JobKey
    reason: str
    triggered_by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointSeen:
    """A checkpoint as the provider listed it, with what its job says of it.

    `listed` is false when the provider no longer lists a checkpoint that it once did.
    """

    checkpoint: CheckpointKey
    step: int | None
    epoch: int | None
    target: str | None
    metrics: Mapping[str, Measure]
    model: str | None
    base_model: str
    name: str = ""
    labels: Mapping[str, str]
    datasets: Mapping[str, str] = field(default_factory=dict)
    job_state: JobState
    job_created_at: datetime | None
    seen_at: datetime
    listed: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class SmokeTestDue:
    """This checkpoint waits for a run of this suite; with purpose `probe`, for one call alone.

    `alias` is who asks, for a run that is not a checkpoint's own gate: it is told of the end.
    """

    checkpoint: CheckpointKey
    suite: str
    purpose: Purpose
    occasion: str = "-"
    alias: AliasKey | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotionDue:
    """An alias has something to decide or to carry on; of this job, or of whatever it waits for."""

    alias: AliasKey
    job: JobKey | None
    reason: str


class Verb(StrEnum):
    PROMOTE = "promote"
    APPROVE = "approve"
    REJECT = "reject"
    ROLL_BACK = "rollback"
    HOLD = "hold"
    RELEASE = "release"


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What a person asked for. `actor` is who the platform's token check says it was, never who they say they are.

    `decision` is the one that asked for the approval that is given or refused; of a roll-back, the promotion that it is
    to end while that is being carried out.
    """

    id: str
    verb: Verb
    alias: AliasKey
    reason: str
    actor: str
    actor_verified: bool
    issued_at: datetime
    expires_at: datetime
    checkpoint: CheckpointKey | None = None
    decision: str | None = None
    force: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionMade:
    """For whoever subscribes: what was decided of an alias, and, once it was carried out, the alias's new serial."""

    decision: str
    alias: AliasKey
    outcome: str
    candidate: CheckpointKey | None
    reason: str
    serial: int
    carried_out: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """What can never be handled: the bytes as they came (base64) and why.

    Raises:
        ValueError: a topic or a reason that is none of our words; both are logged.
    """

    event_id: str
    topic: str
    attributes: Mapping[str, str]
    data: str
    reason: str

    def __post_init__(self) -> None:
        if not (_WORD.fullmatch(self.topic) and _WORD.fullmatch(self.reason)):
            raise ValueError("not a word of ours")


Payload = TuningJobHint | CheckpointSeen | SmokeTestDue | PromotionDue | Command | DecisionMade | DeadLetter


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A CloudEvent to be published. `source` is the function that publishes it."""

    topic: Topic
    id: str
    source: str
    payload: Payload
    attributes: Mapping[str, str] = field(default_factory=dict)

    @property
    def type(self) -> str:
        return f"ratchet.{type(self.payload).__name__}"

    @property
    def data(self) -> Any:
        return encode(self.payload)
