"""What Ratchet remembers: one frozen value per document, and the collection it lives in.

Records move only along their state graph; an immutable field that differs later goes to `conflicts`, the first stays.
`next_look_at` is the timer: when somebody must look again; null on everything that is settled.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar

from ratchet.domain.keys import AliasKey, CheckpointKey, JobKey, Provider, digest
from ratchet.domain.policy import DriftUse, WatchPlan


class JobState(StrEnum):
    UNKNOWN = "unknown"  # announced to us, not (yet) known at the provider
    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


@dataclass(frozen=True, slots=True)
class Measure:
    """A number with where it comes from: `checkpoint`, `event`, `evaluation`. Sources are never compared."""

    value: float
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """`name` is what people called it, `datasets` its data by use (training, validation), as the provider names them.

    `started_by`: who called the provider for it, by the audit log, often a pipeline; `triggered_by`: for whom, by its
    own label. Neither may approve what comes of it.
    """

    COLLECTION: ClassVar[str] = "jobs"

    key: JobKey
    state: JobState
    first_seen_at: datetime
    base_model: str = ""
    name: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    datasets: Mapping[str, str] = field(default_factory=dict)
    started_by: str | None = None
    triggered_by: str | None = None
    created_at: datetime | None = None
    ended_at: datetime | None = None
    model: str | None = None
    checkpoint_ids: tuple[str, ...] = ()
    missing: Mapping[str, datetime] = field(default_factory=dict)
    selected_under: str = ""
    rechecks: int = 0
    rechecked_at: datetime | None = None
    next_look_at: datetime | None = None

    @property
    def triggers(self) -> tuple[str, ...]:
        return tuple(who for who in (self.started_by, self.triggered_by) if who)


class CheckpointState(StrEnum):
    WAITING = "waiting"  # incomplete: no target or no step yet, or not listed any more
    READY = "ready"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Conflict:
    """A later value that an immutable field may not take."""

    field: str
    first: str
    later: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """What it waits for: `open_suites`, digests without a final run; `open_aliases`, without a final decision.

    `runs` names the newest gate run with an end of each suite, by the suite's digest.
    """

    COLLECTION: ClassVar[str] = "checkpoints"

    key: CheckpointKey
    job: JobKey
    base_model: str
    name: str = ""
    labels: Mapping[str, str]
    datasets: Mapping[str, str] = field(default_factory=dict)
    job_created_at: datetime | None
    recorded_at: datetime
    state: CheckpointState
    step: int | None = None
    epoch: int | None = None
    target: str | None = None
    model: str | None = None
    metrics: Mapping[str, Measure] = field(default_factory=dict)
    open_suites: tuple[str, ...] = ()
    tested: tuple[str, ...] = ()
    runs: Mapping[str, str] = field(default_factory=dict)
    open_aliases: tuple[AliasKey, ...] = ()
    decided: Mapping[str, str] = field(default_factory=dict)
    selected_under: str = ""
    unlisted_since: datetime | None = None
    conflicts: tuple[Conflict, ...] = ()
    next_look_at: datetime | None = None

    @property
    def in_doubt(self) -> bool:
        """No longer listed, and not known to be gone: its timer is for asking its endpoint."""
        return self.unlisted_since is not None and self.state is not CheckpointState.GONE

    def looked_at(self, then: datetime | None) -> "Checkpoint":
        """With its timer at `then`, where anything is to be asked, tested or decided; what is incomplete is brought by
        the timer of its job.
        """
        testable = bool(self.open_suites) and self.target is not None
        decidable = bool(self.open_aliases) and self.state is not CheckpointState.WAITING
        return replace(self, next_look_at=then if testable or decidable or self.in_doubt else None)


class Purpose(StrEnum):
    """What a run is for: a checkpoint's own gates, to be compared with, or to see that what was promoted stays good."""

    GATE = "gate"
    BASELINE = "baseline"
    WATCH = "watch"
    PROBE = "probe"


class RunOutcome(StrEnum):
    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class Lease:
    """Who works on it, and until when others stay away. The fence rises with every holder."""

    owner: str
    fence: int
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A run in numbers. `total`, `passed`, `errors` and the tokens count replies; everything else counts cases. Those
    that nothing could fail are `unjudged`, and count only for latencies, tokens and metrics.

    An error is a reply without usable text, and no pass. A case has passed when as many of its repeats have as the
    suite asks; `failed` names those that have not, `flaky` those that passed sometimes. `tags` names the cases of each
    tag. `score` is the mean over the replies, and so are `metrics`, each over those that have it. `usd` is what it
    cost, where the prices are known. `answers` counts all replies by their class.
    """

    total: int
    passed: int
    errors: int
    cases: int
    repeats: int
    error_cases: int
    score: float
    latency_p50_ms: int
    latency_p95_ms: int
    tokens_in: int
    tokens_out: int
    failed: tuple[str, ...] = ()
    flaky: tuple[str, ...] = ()
    tags: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    usd: float | None = None
    unjudged: int = 0
    answers: Mapping[str, int] = field(default_factory=dict)

    @property
    def cases_passed(self) -> int:
        return self.cases - len(self.failed)

    @property
    def always_passed(self) -> int:
        """Cases of which every repeat has passed; over all cases it is the field's pass^k."""
        return self.cases - len({*self.failed, *self.flaky})


@dataclass(frozen=True, slots=True, kw_only=True)
class SmokeRun:
    """`occasion`: of a gate `-`, or the number of the run that renews it; of a baseline the job that it is compared
    for; of a watch `serial.n`. `alias` is who asked, and is told of the end; a gate's is told by its checkpoint.
    `asked_at`: when its first case was asked; `unanswered` counts the calls since that brought nothing, by their class.
    `last` once it has ended and no further attempt follows: only then it is evidence.
    """

    COLLECTION: ClassVar[str] = "smoke_runs"

    key: str
    checkpoint: CheckpointKey
    job: JobKey
    suite: str
    suite_digest: str
    purpose: Purpose
    occasion: str
    attempt: int
    lease: Lease
    started_at: datetime
    alias: AliasKey | None = None
    probed: bool = False
    asked_at: datetime | None = None
    billed: int = 0
    unanswered: Mapping[str, int] = field(default_factory=dict)
    waits: int = 0
    not_before: datetime | None = None
    outcome: RunOutcome | None = None
    last: bool = False
    reason: str = ""
    summary: Summary | None = None
    finished_at: datetime | None = None
    next_look_at: datetime | None = None


class CaseOutcome(StrEnum):
    PASS = "pass"
    FAIL = "fail"
    ERROR = "error"
    UNJUDGED = "unjudged"


class AnswerClass(StrEnum):
    """What a model's own answer is. `error`: there is text, and it cannot be judged."""

    OK = "ok"
    WRONG = "wrong"
    EMPTY = "empty"
    BLOCKED = "blocked"
    REFUSED = "refused"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseResult:
    """Created once per (run, case, repeat); a result of any fence counts. Holds no text of the model. `metrics` are the
    scores of the assertions that have a metric's name. `answer` of None: it is older than the classes.
    """

    COLLECTION: ClassVar[str] = "case_results"

    run: str
    case: str
    repeat: int
    fence: int
    outcome: CaseOutcome
    reason: str
    answer_sha256: str
    latency_ms: int
    tokens_in: int
    tokens_out: int
    score: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    answer: AnswerClass | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What a model has said in a case that failed, where its suite asks to keep that; until then, and no longer."""

    COLLECTION: ClassVar[str] = "completions"

    run: str
    case: str
    repeat: int
    text: str
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointer:
    """What an alias points at."""

    checkpoint: CheckpointKey
    step: int | None
    target: str
    model: str | None
    decision: str
    since: datetime

    @property
    def provider(self) -> Provider:
        return self.checkpoint.job.provider


class Direction(StrEnum):
    FORWARD = "forward"
    BACK = "back"
    RESTORE = "restore"


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """A decision being carried out. With a `model`, the provider's default is written before the alias moves.

    `BACK` returns the model's default to `default_before`, and `RESTORE` to what the alias serves after somebody else
    has changed it; neither moves the alias. `contested` once it had a second holder, or a write whose outcome nobody
    knows: a late write of this target may still arrive. `watch` begins, and `best` is remembered, when it is applied;
    `drift` says what follows when somebody else changes the default meanwhile. A `roll_back` holds its alias itself, so
    that no hold of the alias stops it; one `by_policy` is stopped by the hold of all.
    """

    direction: Direction
    decision: str
    to: Pointer
    lease: Lease
    opened_at: datetime
    model: str | None = None
    default_before: str | None = None
    not_before: datetime | None = None
    roll_back: bool = False
    by_policy: bool = False
    contested: bool = False
    watch: WatchPlan | None = None
    best: bool = False
    drift: DriftUse = DriftUse.HOLD


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Automation is off, until a time or, without one, until it is released."""

    actor: str
    reason: str
    since: datetime
    until: datetime | None = None

    def live(self, now: datetime) -> bool:
        return self.until is None or now < self.until


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """A job whose decision is not final: for what it waits, and until when at most.

    `tests_since`: since when its decision waits for tests that it asked for itself.
    """

    job: JobKey
    reason: str
    until: datetime | None
    tests_since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    serial: int
    at: datetime
    decision: str
    rolled_back: bool = False


KEPT_MOVES = 20
"""How many moves an alias remembers: for its pace, and for the breaker of roll-backs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    actor: str
    approves: bool
    at: datetime
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A promotion that waits for people, at most one of each job. It is about this candidate, on this evidence, under
    this policy; a vote on anything else is void. `decision` is the one that asked.
    """

    decision: str
    job: JobKey
    candidate: CheckpointKey
    evidence: str
    policy: str
    asked_at: datetime
    until: datetime
    votes: tuple[Vote, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """The runs after the move that made this serial: `done` of the plan's count have ended, the next is `due`."""

    plan: WatchPlan
    serial: int
    due: datetime
    done: int = 0
    failures: int = 0
    inconclusive: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Alias:
    """`serial` counts moves, `history` rows, `generation` the changes that are not decisions.

    `drift` is the checkpoint id that somebody else made the provider's default, while it stands; `tolerated` the one
    that a person released the alias with; `restored`, when drift was last undone. `gone` once it was told that what it
    serves is there no more.
    """

    COLLECTION: ClassVar[str] = "aliases"

    key: AliasKey
    serial: int = 0
    generation: int = 0
    history: int = 0
    head: str = ""
    current: Pointer | None = None
    last_good: tuple[Pointer, ...] = ()
    best_of_line: Pointer | None = None
    intent: Intent | None = None
    fence: int = 0
    hold: Hold | None = None
    approvals: tuple[Ask, ...] = ()
    watch: Watch | None = None
    quarantine: tuple[CheckpointKey, ...] = ()
    waiting: tuple[Wait, ...] = ()
    moves: tuple[Move, ...] = ()
    last_decision: str | None = None
    policy_digest: str = ""
    release: int = 0
    drift: str | None = None
    tolerated: str | None = None
    restored: tuple[datetime, ...] = ()
    gone: bool = False
    next_look_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A provider model whose default one alias owns. `default` is what we recorded, null before our first write.

    No other target is written before `quiet_until`: until then a frozen worker's write could still undo it.
    """

    COLLECTION: ClassVar[str] = "models"

    name: str
    owner: AliasKey | None
    default: str | None = None
    default_before: str | None = None
    fence: int = 0
    quiet_until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryRow:
    """One change of an alias or one decision. `change` holds the alias's fields that differ from the row before."""

    COLLECTION: ClassVar[str] = "history"

    alias: AliasKey
    n: int
    kind: str
    at: datetime
    actor: str
    decision: str | None
    reason: str
    change: Mapping[str, Any]
    previous: str
    hash: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """The canonical text of a policy or suite that a decision or run names, so that it can be replayed."""

    COLLECTION: ClassVar[str] = "rules"

    digest: str
    kind: str
    name: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterRecord:
    """What died, as it first came; `attempts` counts its deaths, `reason` and `died_at` tell of the last.

    `replayed_at` is cleared when it dies again; `replayed_by` and `replays` stay. `replayed_as` is the digest of what
    was sent last, which of a webhook is not what came in. It is forgotten at `expires_at`, counted from its last death.
    """

    COLLECTION: ClassVar[str] = "dead_letters"

    event_id: str
    topic: str
    attributes: Mapping[str, str]
    data: str
    reason: str
    attempts: int
    died_at: datetime
    replayed_at: datetime | None = None
    replayed_by: str | None = None
    replayed_as: str | None = None
    replays: int = 0
    expires_at: datetime | None = None

    @property
    def died_again(self) -> bool:
        return self.replays > 0 and self.replayed_at is None


def run_key(checkpoint: CheckpointKey, suite_digest: str, purpose: Purpose, occasion: str, attempt: int) -> str:
    return digest(str(checkpoint), suite_digest, purpose, occasion, str(attempt))


def result_key(run: str, case: str, repeat: int) -> str:
    return digest(run, case, str(repeat))


def history_key(alias: AliasKey, n: int) -> str:
    return f"{digest(str(alias))}-{n:012d}"
