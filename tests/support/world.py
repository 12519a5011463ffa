"""The whole application on one thread: the real store in memory, a list for a bus, a provider that is a table.

Handlers run when `settle` delivers; time moves when the test says so.
"""

import json
from collections.abc import Callable, Generator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from ratchet.adapters.canary import CanaryProvider
from ratchet.adapters.sqlite import SqliteStore
from ratchet.application.enforce_promotion import enforce_promotion
from ratchet.application.hands import Hands
from ratchet.application.obey_command import obey_command
from ratchet.application.reconcile import reconcile
from ratchet.application.record_checkpoint import record_checkpoint
from ratchet.application.run_smoke_test import run_smoke_test
from ratchet.application.state import find_all, load_alias, load_keyed
from ratchet.application.track_tuning_job import track_tuning_job
from ratchet.domain.alias import fold, verify
from ratchet.domain.codec import decode, encode
from ratchet.domain.decision import Decision
from ratchet.domain.events import CheckpointSeen, Command, Event, PromotionDue, SmokeTestDue, TuningJobHint, Verb
from ratchet.domain.grading import Grade
from ratchet.domain.history import Walk
from ratchet.domain.keys import CANARY, AliasKey, CheckpointKey, JobKey, Provider, digest
from ratchet.domain.limits import Limits
from ratchet.domain.outcomes import Outcome
from ratchet.domain.policy import (
    Apply,
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
    SuiteEvidence,
    Trigger,
    Until,
    WhenMissing,
)
from ratchet.domain.records import Alias, CaseOutcome, Checkpoint, HistoryRow, JobState, Measure
from ratchet.domain.rules import Rules
from ratchet.domain.smoke import Price
from ratchet.domain.suite import Case, Suite
from ratchet.ports import (
    Answer,
    CheckpointView,
    Finish,
    JobView,
    NoAnswer,
    NotFound,
    PermanentError,
    Prompt,
    ProviderError,
    ProviderPort,
    Query,
    Refused,
    Silence,
)

START = datetime(2026, 11, 22, 12, tzinfo=UTC)
ALIAS = AliasKey("support-router", "prod")
LABELS = {"ratchet-line": "support-router"}
DATASETS = {"training": "gs://data/train.jsonl", "validation": "gs://data/valid.jsonl"}
CASES = 20


class ManualClock:
    def __init__(self) -> None:
        self.time = START

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.time.timestamp()

    def real(self, seconds: float) -> timedelta:
        return timedelta(seconds=seconds)

    def wait(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


class CountingIds:
    def __init__(self) -> None:
        self.count = 0

    def fresh(self) -> str:
        self.count += 1
        return f"op-{self.count}"

    def fraction(self) -> float:
        return 0.5


@dataclass
class TableProvider:
    """A provider as a table: jobs, checkpoints, how well each target answers, and each model's default."""

    jobs: dict[JobKey, JobView] = field(default_factory=dict)
    checkpoints: dict[JobKey, list[CheckpointView]] = field(default_factory=dict)
    quality: dict[str, float] = field(default_factory=dict)
    defaults: dict[str, str] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)
    throttled: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    writes: list[tuple[str, str]] = field(default_factory=list)
    calls: int = 0
    on_write: Callable[[], None] = lambda: None

    def get_job(self, job: JobKey) -> JobView:
        if job not in self.jobs:
            raise NotFound
        return self.jobs[job]

    def list_jobs(self, created_since: datetime) -> Sequence[JobView]:
        return [view for view in self.jobs.values() if view.created_at and view.created_at >= created_since]

    def list_checkpoints(self, job: JobKey) -> Sequence[CheckpointView]:
        return self.checkpoints.get(job, [])

    def probe(self, target: str) -> None:
        if target in self.silent or target not in self.quality:
            raise NotFound

    def generate(
        self, target: str, prompts: Sequence[Prompt], concurrency: int, seconds: float, *, answers: bool = True
    ) -> Generator[Sequence[Answer | NoAnswer]]:
        for start in range(0, len(prompts), concurrency):
            said = [self._answer(target, start + n, p) for n, p in enumerate(prompts[start : start + concurrency])]
            yield said
            if not (answers or start or any(isinstance(each, Answer) for each in said)):
                return

    def _answer(self, target: str, index: int, prompt: Prompt) -> Answer | NoAnswer:
        self.calls += 1
        if target in self.silent or target not in self.quality:
            return NoAnswer(index, Silence.NOT_FOUND)
        if target in self.throttled:
            return NoAnswer(index, Silence.THROTTLED, retry_after=30)
        right = int(prompt.text) < round(self.quality[target] * CASES)
        text = "right" if right else "wrong"
        return Answer(index, text, Finish.STOP, digest(text), 100, 5, 1)

    def get_default(self, model: str) -> str | None:
        return self.defaults.get(model)

    def set_default(self, model: str, checkpoint_id: str) -> None:
        known = [c.id for job in self.jobs.values() if job.model == model for c in self.checkpoints[job.key]]
        if checkpoint_id not in known or checkpoint_id in self.refused:
            raise Refused
        self.writes.append((model, checkpoint_id))
        self.defaults[model] = checkpoint_id
        self.on_write()

    def shutdown_date(self, base_model: str) -> datetime | None:
        return None

    def of(self, job: JobKey) -> ProviderPort:
        if job == CANARY:
            return CanaryProvider()
        if job.account != "42":
            raise PermanentError("not_ours")
        return self

    def all(self) -> Sequence[tuple[JobKey, ProviderPort]]:
        return [(JobKey(Provider.VERTEX, "42", "us-central1", "-"), self)]


@dataclass
class ListBus:
    waiting: list[Event] = field(default_factory=list)
    published: list[Event] = field(default_factory=list)

    def publish(self, event: Event) -> None:
        self.waiting.append(event)
        self.published.append(event)


class MemoryStore(SqliteStore):
    """The real store, which can be copied while nobody uses it."""

    def load(self, other: "MemoryStore") -> None:
        with self._connection() as here, other._connection() as there:
            there.backup(here)


def suite(name: str = "core") -> Suite:
    cases = tuple(Case(id=f"case-{n}", prompt=str(n), asserts=()) for n in range(CASES))
    return Suite(
        name=name,
        cases=cases,
        repeats=1,
        concurrency=10,
        digest=digest("suite", name),
        text="{}",
    )


def policy(**changes: object) -> Policy:
    core = suite()
    made = Policy(
        name="support-router-prod",
        alias=ALIAS,
        mode=Mode.ENFORCE,
        select=Selector(providers=frozenset({Provider.VERTEX, Provider.OPENAI}), labels=LABELS),
        settle=Settle(until=Until.JOB_TERMINAL, quiet=None, max_wait=timedelta(hours=24)),
        evidence=(SuiteEvidence(suite="core", suite_digest=core.digest, min_cases=10, max_age=None),),
        metrics=(),
        baseline=Baseline(use=BaselineUse.CURRENT, rerun=Rerun.NEVER, when_missing=WhenMissing.ALLOW),
        gates=(
            Gate(id="quality", metric="suites.core.pass_rate", passes=((Comparison(">=", ">= 0.9", 0.9),),)),
            Gate(
                id="no-drop",
                metric="suites.core.pass_rate",
                passes=((Comparison(">=", ">= baseline - 0.01", None, -0.01),),),
            ),
        ),
        choose=(Criterion(metric="suites.core.pass_rate", higher_is_better=True, tie=0.01),),
        must_beat=None,
        approval=Approval(
            when=ApprovalWhen.NEVER, least=1, approvers=(), not_by_trigger=True, expires=timedelta(hours=48)
        ),
        pacing=Pacing(cooldown=None, max_per_day=None),
        windows=(),
        apply=frozenset({Apply.VERTEX_DEFAULT}),
        watch=None,
        rollback=RollBackUse(triggers=frozenset({Trigger.WATCH_FAILED}), hold=None, breaker=2),
        drift=DriftUse.HOLD,
        digest="",
        text="{}",
    )
    made = replace(made, **changes)  # type: ignore[arg-type]
    return replace(made, digest=digest("policy", str(replace(made, digest=""))))


def rules(*policies: Policy) -> Rules:
    chosen = policies or (policy(),)
    return Rules(policies=chosen, suites={"core": suite()}, digest=digest(*(p.digest for p in chosen)))


def judge(case: Case, answer: Answer) -> Grade:
    return Grade(CaseOutcome.PASS) if answer.text.startswith("right") else Grade(CaseOutcome.FAIL, "equals", 0.0)


class World:
    def __init__(self, in_force: Rules | None = None) -> None:
        self.store = MemoryStore(":memory:")
        self.bus = ListBus()
        self.provider = TableProvider()
        self.clock = ManualClock()
        self.ids = CountingIds()
        self.rules = in_force or rules()
        self.since = START - timedelta(hours=1)
        self.limits = Limits()
        self.release = 1
        self.canary = False
        self.prices: dict[str, Price] = {}

    def copy(self) -> "World":
        """The same moment once more, to go on from in another way."""
        other = World(self.rules)
        other.store.load(self.store)
        other.bus = ListBus(list(self.bus.waiting), list(self.bus.published))
        other.provider = deepcopy(self.provider)
        other.clock.time = self.clock.time
        other.ids.count = self.ids.count
        other.since, other.limits, other.release = self.since, self.limits, self.release
        other.canary = self.canary
        other.prices = dict(self.prices)
        return other

    # What is given ---------------------------------------------------------------------------------------------------

    def job(
        self,
        name: str,
        qualities: Mapping[int, float],
        *,
        state: JobState = JobState.SUCCEEDED,
        created_at: datetime = START,
        metrics: Mapping[int, Mapping[str, float]] | None = None,
        labels: Mapping[str, str] = LABELS,
        datasets: Mapping[str, str] = DATASETS,
    ) -> JobKey:
        """A Vertex job whose checkpoints, by step, answer with these pass rates."""
        key = JobKey(Provider.VERTEX, "42", "us-central1", name)
        model = f"projects/42/locations/us-central1/models/{name}@1"
        self.provider.jobs[key] = JobView(
            key=key,
            base_model="gemini-2.5-flash",
            name=f"{name} of ours",
            state=state,
            labels=labels,
            datasets=datasets,
            created_at=created_at,
            ended_at=self.clock.now() if state.terminal else None,
            model=model if state.terminal else None,
        )
        self.provider.checkpoints[key] = []
        for number, (step, quality) in enumerate(qualities.items(), 1):
            target = f"projects/42/locations/us-central1/endpoints/{name}{number}"
            measures = {k: Measure(v, "checkpoint") for k, v in ((metrics or {}).get(step) or {}).items()}
            self.provider.checkpoints[key].append(
                CheckpointView(id=str(number), step=step, epoch=number, target=target, metrics=measures)
            )
            self.provider.quality[target] = quality
        if state.terminal:
            self.provider.defaults[model] = str(len(qualities))
        return key

    # What is done ----------------------------------------------------------------------------------------------------

    def hint(self, job: JobKey) -> None:
        self.deliver_payload(TuningJobHint(job=job, reason="test"))
        self.settle()

    def settle(self) -> None:
        """Deliver until nothing waits."""
        for _ in range(2000):
            if not self.bus.waiting:
                return
            self.deliver(self.bus.waiting.pop(0))
        raise AssertionError("never settles")

    def sweep(self, minutes: int = 0) -> None:
        """Let time pass, one sweep a minute, delivering what each brings."""
        for _ in range(minutes or 1):
            if minutes:
                self.clock.time += timedelta(minutes=1)
            self.reconcile()
            self.settle()

    def reconcile(self) -> None:
        """One sweep, of which nothing is delivered yet."""
        reconcile(
            store=self.store,
            bus=self.bus,
            providers=self.provider,
            clock=self.clock,
            ids=self.ids,
            rules_digest=self.rules.digest,
            since=self.since,
            limits=self.limits,
            canary=self.canary,
        )

    def command(self, verb: Verb, reason: str = "because", *, actor: str = "local:ana", **more: object) -> str:
        made = self.order(verb, reason, actor=actor, **more)
        self.deliver_payload(made)
        self.settle()
        return made.id

    def order(self, verb: Verb, reason: str = "because", *, actor: str = "local:ana", **more: object) -> Command:
        """A command that nobody has delivered yet."""
        alias = more.pop("alias", ALIAS)
        return Command(
            id=self.ids.fresh(),
            verb=verb,
            alias=alias,  # type: ignore[arg-type]
            reason=reason,
            actor=actor,
            actor_verified=not actor.startswith("local:"),
            issued_at=self.clock.now(),
            expires_at=self.clock.now() + timedelta(minutes=10),
            **more,  # type: ignore[arg-type]
        )

    def deliver(self, event: Event) -> Outcome | None:
        kind = type(event.payload)
        payload = decode(kind, json.loads(json.dumps(encode(event.payload))))  # as it comes over the wire
        return self.deliver_payload(payload)

    def deliver_payload(self, payload: object) -> Outcome | None:
        common = {"store": self.store, "bus": self.bus, "clock": self.clock, "ids": self.ids}
        hands = Hands(
            owner=self.ids.fresh(),
            store=self.store,
            bus=self.bus,
            providers=self.provider,
            clock=self.clock,
            ids=self.ids,
            limits=self.limits,
            rules=self.rules,
            release=self.release,
        )
        match payload:
            case TuningJobHint():
                return track_tuning_job(payload, providers=self.provider, rules_digest=self.rules.digest, **common)  # type: ignore[arg-type]
            case CheckpointSeen():
                return record_checkpoint(payload, rules=self.rules, since=self.since, **common)  # type: ignore[arg-type]
            case SmokeTestDue():
                return run_smoke_test(
                    payload,
                    providers=self.provider,
                    rules=self.rules,
                    limits=self.limits,
                    judge=judge,
                    prices=self.prices,
                    **common,  # type: ignore[arg-type]
                )
            case PromotionDue():
                return enforce_promotion(payload, hands)
            case Command():
                return obey_command(payload, hands)
            case _:
                return None

    # What is seen ----------------------------------------------------------------------------------------------------

    def alias(self, key: AliasKey = ALIAS) -> Alias:
        return load_alias(self.store, key).value

    def serving(self) -> int | None:
        current = self.alias().current
        return current.step if current else None

    def checkpoint(self, job: JobKey, number: int) -> Checkpoint:
        stored = load_keyed(self.store, Checkpoint, CheckpointKey(job, str(number)))
        assert stored is not None
        return stored.value

    def history(self, key: AliasKey = ALIAS) -> list[HistoryRow]:
        query = Query("history", equals={"alias": str(key)}, order="n", limit=200)
        return [decode(HistoryRow, dict(snapshot.data)) for snapshot in self.store.query(query)]

    def decisions(self) -> list[Decision]:
        query = Query("decisions", order="id", limit=200)
        found = [decode(Decision, dict(snapshot.data)) for snapshot in self.store.query(query)]
        return sorted(found, key=lambda decision: (decision.at, decision.generation, decision.outcome == "promoted"))

    def outcomes(self) -> list[str]:
        return [row.kind for row in self.history()]

    def sound(self) -> None:
        """The history is one chain, and leads to the alias as it is."""
        rows = self.history()
        assert verify(rows) is None
        assert fold(rows) == replace(self.alias(), next_look_at=None)
        walk = Walk(ALIAS)
        for row in rows:
            walk.step(encode(row))
        walk.end(self.alias())
        assert walk.findings == []


__all__ = ["ALIAS", "NoAnswer", "ProviderError", "World", "find_all", "policy", "rules"]
