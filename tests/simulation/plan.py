"""What a seed brings: jobs and checkpoints, who meddles and when, which faults exist and how often.

Each seed draws its own mixture (a swarm): most leave most faults out, so that those that remain can go far.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from ratchet.domain.events import Verb
from ratchet.domain.keys import AliasKey, CheckpointKey, JobKey, Provider
from ratchet.domain.limits import Limits
from ratchet.domain.records import JobState
from ratchet.domain.rules import Rules
from ratchet.domain.smoke import Price
from simulation.chance import Chance
from simulation.promises.watch import CASES, NEEDED
from simulation.provider import CheckpointPlan, JobPlan
from simulation.rules import BETA, CANARY, PROD, prices, rules

FAULTS_END = 3000.0
"""Seconds; from then on nothing goes wrong any more."""

POISONED = JobKey(Provider.OPENAI, "proj", "-", "ftjob-poison")

_FAULTS = {
    "kill before": 0.02,
    "kill after": 0.02,
    "freeze before": 0.02,
    "freeze after": 0.02,
    "store unavailable": 0.03,
    "uncertain before": 0.03,
    "uncertain after": 0.03,
    "ambiguous before": 0.05,
    "ambiguous after": 0.05,
    "bus unavailable": 0.03,
    "bus uncertain": 0.03,
    "throttled": 0.1,
    "unavailable": 0.1,
    "unavailable after": 0.3,
    "late to show": 0.4,
    "denied": 0.01,
    "stale": 0.2,
    "not found": 0.1,
    "duplicate": 0.2,
    "delay": 0.1,
    "lose": 0.1,
    "acknowledgement lost": 0.1,
    "tick missed": 0.3,
    "hesitate": 0.5,
}
"""The highest rate at which a seed may draw each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What an operator asks for, and when."""

    at: float
    verb: Verb
    alias: AliasKey
    checkpoint: CheckpointKey | None = None
    force: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`nobody` is a job that is announced, and that its provider never knows."""

    jobs: tuple[JobPlan, ...]
    nobody: JobKey | None
    hints: tuple[tuple[float, JobKey], ...]
    orders: tuple[Order, ...]
    console: tuple[tuple[float, str, str], ...]
    outages: tuple[tuple[str, float, float], ...]
    rules: Rules
    prices: Mapping[str, Price]
    edited: Rules | None
    edited_at: float
    limits: Limits
    attempts: int
    two_versions: bool
    skew: float


def plan(chance: Chance) -> Plan:
    for kind, highest in _FAULTS.items():
        present, rate = chance.pair(f"rate {kind}")
        chance.rates[kind] = highest * rate**2 if present < 0.5 else 0.0
    jobs = tuple(_jobs(chance))
    in_force = rules(chance, edited=False)
    nobody = replace(jobs[0].key, id="nobody") if chance.happens("announce", "nobody's job", 0.1) else None
    return Plan(
        jobs=jobs,
        nobody=nobody,
        hints=(*_hints(chance, jobs), *((time, nobody) for time in (300, 301, 900, 2700) if nobody)),
        orders=tuple(_orders(chance, jobs)),
        console=tuple(_console(chance, jobs)),
        outages=tuple(_outages(chance)),
        rules=in_force,
        prices=prices(chance),
        edited=rules(chance, edited=True) if chance.happens("edit", "rules", 0.25) else None,
        edited_at=chance.between("edited at", 600, FAULTS_END - 300),
        limits=_limits(chance),
        attempts=5 if chance.fraction("attempts") < 0.3 else 30,
        two_versions=chance.fraction("two versions") < 0.4,
        skew=10.0 if chance.fraction("skew") < 0.5 else 0.0,
    )


def _limits(chance: Chance) -> Limits:
    if chance.fraction("limits") < 0.7:
        return Limits()
    # A slice that ends after the first answers, so that runs go on in a next event.
    return Limits(slice=0.02)


def _jobs(chance: Chance) -> Iterator[JobPlan]:
    for number in range(1, 3 + int(chance.fraction("jobs") * 3)):
        name = f"job {number}"
        vertex = chance.fraction(f"{name} provider") < 0.65
        key = JobKey(Provider.VERTEX, "42", "here", f"{number}") if vertex else _openai(f"ftjob-{number}")
        created = chance.between(f"{name} created", 0, 1200)
        ends = created + chance.between(f"{name} lasts", 300, 1200)
        checkpoints = tuple(
            _checkpoint(chance, f"{name}.{n}", n, created, ends)
            for n in range(1, 3 + int(chance.fraction(f"{name} checkpoints") * 2))
        )
        yield JobPlan(
            key=key,
            line="alpha" if vertex else "beta",
            created=created,
            ends=ends,
            end_state=chance.pick(f"{name} end", (JobState.SUCCEEDED,) * 8 + (JobState.FAILED, JobState.CANCELLED)),
            checkpoints=checkpoints,
            flips=ends + 200 if chance.happens("flip", name, 0.05) else None,
        )
    if chance.happens("poison", "job", 0.2):
        yield JobPlan(
            key=POISONED, line="beta", created=100, ends=400, end_state=JobState.SUCCEEDED,
            checkpoints=(_checkpoint(chance, "poisoned.1", 1, 100, 400),),
        )  # fmt: skip


def _openai(name: str) -> JobKey:
    return JobKey(Provider.OPENAI, "proj", "-", name)


def _checkpoint(chance: Chance, name: str, number: int, created: float, ends: float) -> CheckpointPlan:
    shows = chance.between(f"{name} shows", created + 30, ends)
    plain = CheckpointPlan(
        id=str(number),
        step=100 * number,
        passes=chance.pick(f"{name} passes", (CASES, CASES, NEEDED, NEEDED - 1, 0)),
        shows=shows,
        complete=shows,
        answers=shows,
    )
    if chance.happens("incomplete", name, 0.2):
        plain = replace(plain, complete=shows + 400, answers=shows + 400)
    if chance.happens("silent", name, 0.2):
        plain = replace(plain, answers=plain.complete + chance.between(f"{name} silent", 60, 900))
    if chance.happens("other metric", name, 0.1):
        plain = replace(plain, later_metric=shows + 400)
    if chance.happens("spoil", name, 0.12):
        plain = replace(plain, spoils=chance.between(f"{name} spoils", ends, FAULTS_END - 300))
    if chance.happens("vanish", name, 0.15):
        vanishes = chance.between(f"{name} vanishes", shows, FAULTS_END - 600)
        plain = replace(plain, vanishes=vanishes)
        if chance.happens("return", name, 0.4):
            plain = replace(plain, returns=vanishes + chance.between(f"{name} returns", 60, 2400))
    return plain


def _hints(chance: Chance, jobs: tuple[JobPlan, ...]) -> Iterator[tuple[float, JobKey]]:
    """Webhooks and audit entries: most jobs are announced, several times, some before they can be seen."""
    for job in jobs:
        if chance.happens("announce", f"{job.key.id} start", 0.6):
            yield max(0.0, job.created + chance.between(f"{job.key.id} told", -20, 60)), job.key
        for time in (job.ends, job.ends + 30):
            if chance.happens("announce", f"{job.key.id} {time:.0f}", 0.7):
                yield time, job.key


def _orders(chance: Chance, jobs: tuple[JobPlan, ...]) -> Iterator[Order]:
    for number in range(6):
        name = f"order {number}"
        if not chance.happens("order", name, 0.3):
            continue
        alias = chance.pick(f"{name} alias", (PROD, PROD, PROD, BETA, CANARY))
        at = chance.between(f"{name} at", 600, FAULTS_END - 60)
        verb = chance.pick(f"{name} verb", (Verb.HOLD, Verb.ROLL_BACK, Verb.PROMOTE, Verb.PROMOTE, "hold all"))
        if verb == "hold all":
            yield Order(at=at, verb=Verb.HOLD, alias=AliasKey("*", ""))
            yield Order(at=at + chance.between(f"{name} lasts", 30, 600), verb=Verb.RELEASE, alias=AliasKey("*", ""))
        elif verb is Verb.PROMOTE:
            of_line = [job for job in jobs if job.line == alias.line]
            if of_line:
                job = chance.pick(f"{name} job", of_line)
                checkpoint = CheckpointKey(job.key, chance.pick(f"{name} checkpoint", job.checkpoints).id)
                force = chance.fraction(f"{name} force") < 0.7
                yield Order(at=at, verb=verb, alias=alias, checkpoint=checkpoint, force=force)
        else:
            yield Order(at=at, verb=verb, alias=alias)
            if chance.fraction(f"{name} released") < 0.7:
                lasts = chance.between(f"{name} lasts", 30, 900)
                yield Order(at=at + lasts, verb=Verb.RELEASE, alias=alias)


def _console(chance: Chance, jobs: tuple[JobPlan, ...]) -> Iterator[tuple[float, str, str]]:
    """Somebody sets a default by hand."""
    for job in jobs:
        if job.model and chance.happens("console", job.key.id, 0.25):
            at = chance.between(f"console {job.key.id} at", job.ends, FAULTS_END - 60)
            yield at, job.model, chance.pick(f"console {job.key.id} to", job.checkpoints).id


def _outages(chance: Chance) -> Iterator[tuple[str, float, float]]:
    for what in ("store", "bus", "provider", "key"):
        if chance.happens("outage", what, 0.08):
            start = chance.between(f"outage {what} at", 300, FAULTS_END - 900)
            yield what, start, start + chance.between(f"outage {what} lasts", 60, 900)
