"""What is true at the providers at one instant: a pure function of scenario, time and the changes made so far.

Both doors (`vertex`, `openai`) only put this into their provider's words.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ratchet_sim.scenario import Account, Checkpoint, Fact, Job, Spec

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    query: dict[str, str]
    token: str
    body: Any


@dataclass(frozen=True, slots=True)
class SetDefault:
    """A request's effect on Vertex."""

    model: str
    checkpoint: str


@dataclass(frozen=True, slots=True)
class WebhookEndpoint:
    """Where OpenAI sends an account's events, as it is since the last request: a request's effect on OpenAI.

    `secrets` are those that it has had, the newest first; the second is valid until `old_until`.
    """

    id: str
    account: str
    name: str
    url: str
    event_types: tuple[str, ...]
    created: float
    updated: float
    secrets: tuple[str, ...]
    old_until: float | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    body: Body
    effect: SetDefault | WebhookEndpoint | None = None


@dataclass(frozen=True, slots=True)
class DefaultChange:
    """Somebody set a model's default at `at`; reads show it from `visible` on."""

    model: str
    checkpoint: str
    at: timedelta
    visible: timedelta
    by: str


@dataclass(frozen=True, slots=True)
class World:
    spec: Spec
    changes: tuple[DefaultChange, ...]
    t: timedelta
    endpoints: tuple[WebhookEndpoint, ...] = ()

    def instant(self, offset: timedelta | None = None) -> datetime:
        return self.spec.clock.start + (self.t if offset is None else offset)

    def jobs(self, account: Account, location: str = "-") -> list[Job]:
        """The jobs an account sees, newest first."""
        mine = [
            j for j in self.spec.jobs
            if (j.provider, j.account, j.location) == (account.provider, account.account, location)
            and j.created <= self.t
        ]  # fmt: skip
        return sorted(mine, key=lambda job: (job.created, job.id), reverse=True)

    def state(self, job: Job) -> str:
        """queued, running, succeeded, failed or cancelled."""
        if job.ends and self.t >= job.ends.at:
            flips = [fact for fact in self.facts("flippedState", job) if fact.at is not None and self.t >= fact.at]
            return flips[-1].state if flips else job.ends.state
        return "queued" if job.running is not None and self.t < job.running else "running"

    def ended(self, job: Job) -> bool:
        return job.ends is not None and self.t >= job.ends.at

    def listed(self, job: Job) -> list[Checkpoint]:
        """The checkpoints that a list shows, lowest step first."""
        return [c for c in job.in_order() if (since := shown_at(job, c)) is not None and since <= self.t]

    def has_endpoint(self, checkpoint: Checkpoint) -> bool:
        return checkpoint.at is not None and self.t >= checkpoint.at + checkpoint.endpoint_after

    def answering(self, job: Job, checkpoint: Checkpoint) -> bool:
        since = shown_at(job, checkpoint)
        if since is None or self.t < since + max(checkpoint.answers_after, checkpoint.endpoint_after):
            return False
        lost = [*self.facts("neverReady", job, checkpoint.id), *self.facts("goneTarget", job, checkpoint.id)]
        return not self.model_deleted(job) and not any(fact.at is None or self.t >= fact.at for fact in lost)

    def model_exists(self, job: Job) -> bool:
        return self.ended(job) and job.ends is not None and job.ends.state == "succeeded" and bool(job.checkpoints)

    def model_deleted(self, job: Job) -> bool:
        return any(fact.at is not None and self.t >= fact.at for fact in self.facts("modelDeleted", job))

    def default(self, job: Job) -> DefaultChange | None:
        """The newest change that reads show by now; the provider crowns the last checkpoint when the job ends."""
        if not self.model_exists(job) or job.ends is None:
            return None
        name, end = model_name(job), job.ends.at
        known = [DefaultChange(name, job.in_order()[-1].id, end, end, "provider")]
        known += [
            DefaultChange(name, fact.checkpoint, fact.at, fact.at, "foreign")
            for fact in self.facts("foreignDefault", job)
            if fact.at is not None
        ]
        known += [change for change in self.changes if change.model == name]
        # Sorting is stable, so that of two changes at one instant (the clock may stand still) the later one wins.
        return sorted((c for c in known if c.visible <= self.t), key=lambda c: c.at)[-1]

    def facts(self, kind: str, job: Job, checkpoint: str = "") -> Iterator[Fact]:
        for fault in self.spec.faults:
            fact = fault.do
            if not isinstance(fact, Fact) or (fact.kind, fact.job) != (kind, job.id):
                continue
            if checkpoint in ("", fact.checkpoint):
                yield fact

    def answer(self, checkpoint: Checkpoint, prompt: str) -> str:
        """What this checkpoint says: a better one knows everything that a worse one knows, and more."""
        ranked = sorted(self.spec.knowledge, key=lambda entry: digest(self.spec.seed, entry.ask))
        known = int(checkpoint.quality * len(ranked) + 0.5)
        asked = [(len(e.ask), e.good if rank < known else e.bad) for rank, e in enumerate(ranked) if e.ask in prompt]
        if asked:
            return max(asked)[1]
        return "pong" if "pong" in prompt.lower() else "I do not know."


def shown_at(job: Job, checkpoint: Checkpoint) -> timedelta | None:
    """OpenAI shows checkpoints when the job ends, not per epoch, unless the scenario says otherwise."""
    if checkpoint.at is None:
        return job.ends.at if job.ends else None
    return checkpoint.at


def model_name(job: Job) -> str:
    """Vertex's name of a tuned model with its version, the key of its default."""
    number, _, version = job.model.partition("@")
    return f"projects/{job.account}/locations/{job.location}/models/{number}@{version or '1'}"


def tokens(text: str) -> int:
    return max(1, len(text) // 4)


def digest(*parts: object) -> str:
    """A stable number where a provider would draw one at random."""
    return hashlib.sha256(":".join(map(str, parts)).encode()).hexdigest()
