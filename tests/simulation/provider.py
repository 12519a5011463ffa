"""A provider as a function of time: what it shows is computed from when things happen, so a stale answer is an old one.

One model for both kinds: a Vertex account has models with a default; an OpenAI account has none.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from ratchet.domain.keys import JobKey, Provider, digest
from ratchet.domain.records import JobState, Measure
from ratchet.ports import Answer, CheckpointView, Finish, JobView, NotFound, Refused
from simulation.engine import START

TRIGGER = "tom"
"""Who started every job: his approval must count for nothing."""
CANARY = "canary-7f3a91-completion"
"""Stands in every completion: it may be found nowhere else."""
ANSWER_TOKENS = 6
"""Of one call, to and fro."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointPlan:
    """When a checkpoint shows, is complete, and answers; `passes` of the suite's cases it gets right.

    From `spoils` on, it gets all of them wrong.
    """

    id: str
    step: int
    passes: int
    shows: float
    complete: float
    answers: float
    later_metric: float | None = None
    spoils: float | None = None
    vanishes: float | None = None
    returns: float | None = None

    def listed(self, at: float) -> bool:
        gone = self.vanishes is not None and at >= self.vanishes and not (self.returns and at >= self.returns)
        return at >= self.shows and not gone


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPlan:
    key: JobKey
    line: str
    created: float
    ends: float
    end_state: JobState
    checkpoints: tuple[CheckpointPlan, ...]
    flips: float | None = None
    deleted: float | None = None

    @property
    def model(self) -> str | None:
        place = f"projects/{self.key.account}/locations/{self.key.location}"
        return f"{place}/models/{self.key.id}@1" if self.key.provider is Provider.VERTEX else None

    def target(self, checkpoint: CheckpointPlan) -> str:
        return f"{self.key.provider}-{self.key.id}-{checkpoint.id}"

    def state(self, at: float) -> JobState:
        if at < self.ends:
            return JobState.RUNNING if at >= self.created + 60 else JobState.PENDING
        return JobState.FAILED if self.flips is not None and at >= self.flips else self.end_state


@dataclass
class Default:
    """A model's default over time: (when, checkpoint id, who)."""

    changes: list[tuple[float, str, str]] = field(default_factory=list)

    def at(self, time: float) -> str | None:
        return next((value for when, value, _ in reversed(self.changes) if when <= time), None)


class World:
    """All accounts. Every method takes the time at which it is asked."""

    def __init__(self, jobs: Sequence[JobPlan]) -> None:
        self.jobs = {job.key: job for job in jobs}
        self.targets = {job.target(c): (job, c) for job in jobs for c in job.checkpoints}
        self.defaults: dict[str, Default] = {}
        self.calls: dict[str, int] = {}
        for job in jobs:
            if job.model and job.checkpoints:
                crowned = Default([(job.ends, job.checkpoints[-1].id, "provider")])
                self.defaults[job.model] = crowned

    def get_job(self, key: JobKey, at: float) -> JobView:
        job = self.jobs.get(key)
        if job is None or at < job.created or (job.deleted is not None and at >= job.deleted):
            raise NotFound
        return self._view(job, at)

    def list_jobs(self, account: JobKey, created_since: datetime, at: float) -> Sequence[JobView]:
        return [
            self._view(job, at)
            for job in self.jobs.values()
            if (job.key.provider, job.key.account) == (account.provider, account.account)
            and created_since <= _moment(job.created)
            and job.created <= at
            and not (job.deleted is not None and at >= job.deleted)
        ]

    def list_checkpoints(self, key: JobKey, at: float) -> Sequence[CheckpointView]:
        job = self.jobs.get(key)
        if job is None or at < job.created:
            raise NotFound
        return [
            CheckpointView(
                id=c.id,
                step=c.step if at >= c.complete else None,
                epoch=int(c.id),
                target=job.target(c) if at >= c.complete else None,
                metrics=self._metrics(c, at),
            )
            for c in job.checkpoints
            if c.listed(at)
        ]

    def probe(self, target: str, at: float) -> None:
        found = self.targets.get(target)
        if found is None or at < found[1].answers or not found[1].listed(at):
            raise NotFound

    def answer(self, index: int, target: str, number: int, at: float) -> Answer:
        """To the case of this number; a checkpoint that passes n cases passes the first n."""
        _, checkpoint = self.targets[target]
        spoiled = checkpoint.spoils is not None and at >= checkpoint.spoils
        text = f"{'right' if number < checkpoint.passes and not spoiled else 'wrong'} {CANARY}"
        return Answer(index, text, Finish.STOP, digest(text), 100, ANSWER_TOKENS - 1, 1)

    def get_default(self, model: str, at: float) -> str | None:
        if model not in self.defaults:
            raise NotFound
        return self.defaults[model].at(at)

    def set_default(self, model: str, checkpoint_id: str, at: float, who: str) -> None:
        listed = {
            c.id
            for job in self.jobs.values()
            if job.model == model and not (job.deleted is not None and at >= job.deleted)
            for c in job.checkpoints
            if c.listed(at)
        }
        if not listed:
            raise NotFound
        if checkpoint_id not in listed:
            raise Refused
        self.defaults[model].changes.append((at, checkpoint_id, who))

    def _view(self, job: JobPlan, at: float) -> JobView:
        state = job.state(at)
        return JobView(
            key=job.key,
            base_model="base",
            name=f"{job.line} {job.key.id}",
            state=state,
            labels={"ratchet-line": job.line, "ratchet-triggered-by": TRIGGER},
            datasets={"training": "train", "validation": "valid"},
            created_at=_moment(job.created),
            ended_at=_moment(job.ends) if state.terminal else None,
            model=job.model if state.terminal else None,
        )

    def _metrics(self, checkpoint: CheckpointPlan, at: float) -> Mapping[str, Measure]:
        if checkpoint.later_metric is not None and at >= checkpoint.later_metric:
            return {"loss": Measure(0.5, "checkpoint")}
        return {"loss": Measure(0.25, "checkpoint")}


def _moment(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def accounts(jobs: Mapping[JobKey, JobPlan]) -> Iterator[JobKey]:
    """Each account, as the key of a job without an id."""
    yield from sorted({JobKey(key.provider, key.account, key.location, "-") for key in jobs})
