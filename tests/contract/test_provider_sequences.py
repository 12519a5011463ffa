"""Any sequence of calls and misfortunes looks the same at both providers: the jobs of each are made alike."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ratchet.adapters.openai import OpenAIProvider
from ratchet.adapters.vertex import VertexProvider
from ratchet.domain.keys import JobKey, Provider
from ratchet.ports import Answer, JobView, NoAnswer, Prompt, ProviderError, ProviderPort, Throttled
from ratchet_sim.server import serve
from support.depth import LONG, deep, pytest_command
from support.figures import record
from support.sim_clients import KEY, endpoint, small

START = datetime(2026, 11, 22, 12, tzinfo=UTC)
SPAN = 100
"""Minutes that each sequence has to itself: its two jobs begin in its first and end before its last."""
MOMENTS = (0.5, 2.0, 10.0, 60.0, 61.0, 80.0)
"""Not yet there, pending, running, and ended: here both say the same."""
ENDS = ("succeeded", "succeeded", "failed", "cancelled")
FAULTS: list[Any] = [
    *({"kind": "status", "code": code} for code in (400, 401, 403, 404, 408, 409, 422, 429, 500, 502, 503, 504)),
    *({"kind": "status", "code": 429, "headers": {"Retry-After": said}} for said in ("7", "0", "-1", "1e9", "99999")),
    *({"kind": kind} for kind in ("reset", "truncatedJson", "htmlWith200", "quota403", "revokedKey401", "extraFields")),
    {"kind": "bigCompletion", "bytes": 50_000},
    {"kind": "hostileCompletion"},
    {"kind": "unknownEnum", "value": "paused"},
]
QUESTIONS = ("Where is my refund?", "Cancel my order", "Opening hours?", "Who are you?")


@dataclass(frozen=True)
class Step:
    """One call, at its own minute, and what befalls it."""

    minute: float
    call: Callable[["Side", "Step"], Any]
    which: int
    fault: Any


@dataclass(frozen=True)
class Side:
    """A provider, and its job of the sequence at hand."""

    port: ProviderPort
    job: JobKey
    targets: Sequence[str]

    def get_job(self, step: Step) -> Any:
        return _job(self.port.get_job(self.job))

    def list_jobs(self, step: Step) -> Any:
        since = START + timedelta(minutes=step.minute // SPAN * SPAN)
        return [_job(job) for job in self.port.list_jobs(since)]

    def list_checkpoints(self, step: Step) -> Any:
        found = self.port.list_checkpoints(self.job)
        return [(each.step, self.targets.index(each.target) if each.target else None) for each in found]

    def probe(self, step: Step) -> Any:
        return self.port.probe(self.targets[step.which])

    def generate(self, step: Step) -> Any:
        batches = self.port.generate(self.targets[step.which], [Prompt(each) for each in QUESTIONS], 2, 30)
        return sorted(_answer(answer) for batch in batches for answer in batch)


CALLS = [Side.get_job, Side.list_jobs, Side.list_checkpoints, Side.probe, Side.generate]


def _job(job: JobView) -> Any:
    return (job.state, job.name, dict(job.labels), dict(job.datasets), job.created_at, job.ended_at)


def _answer(answer: Answer | NoAnswer) -> Any:
    if isinstance(answer, Answer):
        return (answer.index, answer.text, answer.finish, answer.sha256)
    return (answer.index, answer.why, answer.retry_after, answer.maybe_billed)


def seen(side: Side, step: Step) -> Any:
    try:
        return step.call(side, step)
    except Throttled as error:
        return ("Throttled", error.retry_after)
    except ProviderError as error:
        return type(error).__name__


class Play:
    """One sequence, the `number`th of its simulator: its steps, and the two jobs that they are about."""

    def __init__(self, seed: int, number: int) -> None:
        chance = random.Random(seed)
        self.number, self.begins, self.end = number, number * SPAN, chance.choice(ENDS)
        minutes = {self.begins + chance.choice(MOMENTS) + chance.randrange(10) / 100 for _ in range(8)}
        self.steps = [
            Step(minute, chance.choice(CALLS), chance.randrange(3), chance.choice([chance.choice(FAULTS), None]))
            for minute in sorted(minutes)
        ]
        self.endpoints = [endpoint(10_000 + 10 * number + n) for n in range(3)]
        last = f"ft:gpt-4.1-mini-2025-04-14:acme:x:n{number}"
        self.models = [f"{last}:ckpt-step-100", f"{last}:ckpt-step-200", last]

    def sides(self, vertex: ProviderPort, openai: ProviderPort) -> tuple[Side, Side]:
        at_vertex = JobKey(Provider.VERTEX, "123456789012", "us-central1", str(1000 + self.number))
        at_openai = JobKey(Provider.OPENAI, "proj_a1", "-", f"ftjob-{self.number}")
        return Side(vertex, at_vertex, self.endpoints), Side(openai, at_openai, self.models)

    def jobs(self, vertex: Any, openai: Any) -> list[Any]:
        """Jobs such as these, with the same life."""
        life = {
            "created": f"{self.begins + 1}m",
            "running": f"{self.begins + 3}m",
            "ends": {"at": f"{self.begins + 45}m", "state": self.end},
            "display_name": f"job {self.number}",
            "datasets": {"training": f"data {self.number}", "validation": "data"} if self.number % 2 else {},
        }
        tuned = [{"epoch": n, "step": n * 100, "quality": n / 4} for n in (1, 2, 3)]
        exported = [
            {"id": str(n), "at": f"{self.begins + 44}m", "endpoint": name.rpartition("/")[2]}
            for n, name in enumerate(self.endpoints, 1)
        ]
        named = [{"id": f"ftckpt_{self.number}x{n}", "target": name} for n, name in enumerate(self.models, 1)]
        return [
            vertex
            | life
            | {"id": str(1000 + self.number), "model": str(7000 + self.number), "checkpoints": _each(tuned, exported)},
            openai | life | {"id": f"ftjob-{self.number}", "webhooks": [], "checkpoints": _each(tuned, named)},
        ]

    def faults(self) -> list[Any]:
        """Each in the half second of its own step."""
        return [
            {
                "id": f"fault{self.number}x{n}",
                "when": {"after": f"{step.minute * 60:g}s", "before": f"{step.minute * 60 + 0.5:g}s"},
                "do": step.fault,
            }
            for n, step in enumerate(self.steps)
            if step.fault
        ]


def _each(some: Sequence[Any], others: Sequence[Any]) -> list[Any]:
    return [one | other for one, other in zip(some, others, strict=True)]


def test_any_sequence_looks_the_same_at_both_providers(tmp_path: Path) -> None:
    sequences, at_a_time, calls = deep(100, 5000), 50, 0
    for first in range(0, sequences, at_a_time):
        plays = [Play(first + number, number) for number in range(at_a_time)]

        def change(spec: Any, plays: Sequence[Play] = plays) -> None:
            spec["jobs"] = [job for play in plays for job in play.jobs(*spec["jobs"])]

        faults = [fault for play in plays for fault in play.faults()]
        with serve(small(change, faults=faults), tmp_path / str(first)) as sim:
            vertex = VertexProvider("123456789012", "acme-ml", "us-central1", base_url=sim.vertex_url, timeout=5)
            openai = OpenAIProvider("proj_a1", KEY, base_url=sim.openai_url, timeout=5)
            now = 0.0
            for play in plays:
                for step in play.steps:
                    sim.advance((step.minute - now) * 60)
                    now = step.minute
                    said = [seen(side, step) for side in play.sides(vertex, openai)]
                    assert said[0] == said[1], (first, step)
                    calls += 2
    if LONG:
        record("Provider contract", pytest_command(__file__), {"sequences": sequences, "calls": calls, "unlike": 0})
