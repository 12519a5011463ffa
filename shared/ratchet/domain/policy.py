"""What people write in a policy's YAML, as values: whom it selects, what it waits for, asks, chooses and does."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from ratchet.domain.keys import AliasKey, Provider
from ratchet.domain.windows import Window


class Mode(StrEnum):
    DRY_RUN = "dryRun"
    ENFORCE = "enforce"
    DISABLED = "disabled"


class Until(StrEnum):
    JOB_TERMINAL = "jobTerminal"
    EACH_CHECKPOINT = "eachCheckpoint"


class BaselineUse(StrEnum):
    CURRENT = "current"
    LAST_GOOD = "lastGood"
    BEST_OF_LINE = "bestOfLine"
    NONE = "none"


class Rerun(StrEnum):
    """When the baseline is tested again, on the same cases and at the time of its candidates."""

    NEVER = "never"
    IF_STALE = "ifStale"
    ALWAYS = "always"


class WhenMissing(StrEnum):
    """What a line without a baseline (its first promotion) may do."""

    ALLOW = "allow"
    APPROVAL = "approval"
    BLOCK = "block"


class Missing(StrEnum):
    """What a gate says of a metric that nobody measured, or that cannot be compared."""

    SKIP = "skip"
    WARN = "warn"
    INCONCLUSIVE = "inconclusive"
    FAIL = "fail"


class Sameness(StrEnum):
    """What must be the same of two checkpoints before a metric of theirs is compared."""

    DATASET = "dataset"
    TOKENIZER = "tokenizer"


class ApprovalWhen(StrEnum):
    ALWAYS = "always"
    ON_WARN = "onWarn"
    FIRST_PROMOTION = "firstPromotion"
    NEVER = "never"


class Trigger(StrEnum):
    """What rolls an alias back without a person."""

    WATCH_FAILED = "watchFailed"
    ENDPOINT_GONE = "endpointGone"


class DriftUse(StrEnum):
    """What follows when somebody else has changed the provider's default."""

    ADOPT = "adopt"
    REVERT = "revert"
    HOLD = "hold"


class Apply(StrEnum):
    VERTEX_DEFAULT = "vertexDefault"


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """Which checkpoints a policy is about. Empty `base_models` and `names` mean any; every label must be equal.

    `names` are shell patterns over the name that people gave the tuning job.
    """

    providers: frozenset[Provider]
    labels: Mapping[str, str]
    base_models: frozenset[str] = frozenset()
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Settle:
    """When a job is looked at: with `quiet`, not before nothing new has come for so long.

    `max_wait` counts from the job's end, and bounds every wait for evidence.
    """

    until: Until
    quiet: timedelta | None
    max_wait: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteEvidence:
    """A suite that a decision needs: at least so many cases, each repeated so often, not older than `max_age`."""

    suite: str
    suite_digest: str
    min_cases: int
    max_age: timedelta | None
    min_repeats: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    use: BaselineUse
    rerun: Rerun
    when_missing: WhenMissing


@dataclass(frozen=True, slots=True)
class Comparison:
    """`op bound`, or `op baseline ± offset` (`percent`: of the baseline's absolute value). `text` as it was written."""

    op: str
    text: str
    bound: float | None = None
    offset: float = 0.0
    percent: bool = False

    @property
    def against_baseline(self) -> bool:
        return self.bound is None


Condition = tuple[tuple[Comparison, ...], ...]
"""Any of these, each of which is all of its comparisons. Empty: no condition."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """One rule over one metric.

    `level`: of the two-sided Wilson interval whose bound is compared instead of the rate; None compares the rate.
    A gate that is not `required` warns at worst.
    """

    id: str
    metric: str
    passes: Condition
    warns: Condition = ()
    required: bool = True
    missing: Missing = Missing.INCONCLUSIVE
    comparable: frozenset[Sameness] = frozenset()
    level: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Criterion:
    """Values within `tie` of the best count as equal, and the next criterion decides."""

    metric: str
    higher_is_better: bool
    tie: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MustBeat:
    """By how much of which criterion's metric the winner must beat what serves now."""

    criterion: Criterion
    by: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """Who must agree. `approvers` are e-mail addresses or `*@domain`; empty: anybody who may give commands."""

    when: ApprovalWhen
    least: int
    approvers: tuple[str, ...]
    not_by_trigger: bool
    expires: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Pacing:
    """`cooldown` after a move; `max_per_day` moves in any 24 hours."""

    cooldown: timedelta | None
    max_per_day: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchPlan:
    """After a move: the suite again, `count` times.

    `failures` failed runs, or `inconclusive` ones without a verdict, end the watch as failed.
    """

    suite: str
    delay: timedelta
    interval: timedelta
    count: int
    failures: int
    inconclusive: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RollBackUse:
    """What rolls back by itself, how long the alias is held after it (None: until released), and the breaker.

    `breaker` roll-backs within 24 hours hold until released, whatever `hold` says.
    """

    triggers: frozenset[Trigger]
    hold: timedelta | None
    breaker: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """`digest` is over the canonical text and over the digests of the suites it names."""

    name: str
    alias: AliasKey
    mode: Mode
    select: Selector
    settle: Settle
    evidence: tuple[SuiteEvidence, ...]
    metrics: tuple[str, ...]
    baseline: Baseline
    gates: tuple[Gate, ...]
    choose: tuple[Criterion, ...]
    must_beat: MustBeat | None
    approval: Approval
    pacing: Pacing
    windows: tuple[Window, ...]
    apply: frozenset[Apply]
    watch: WatchPlan | None
    rollback: RollBackUse
    drift: DriftUse
    digest: str
    text: str

    @property
    def waits_for_end(self) -> bool:
        """A model's default is written when its job has ended, whatever `settle` says."""
        return self.settle.until is Until.JOB_TERMINAL or Apply.VERTEX_DEFAULT in self.apply
