"""Two runs: a storm over everything at once, and a bus that keeps losing all that it holds."""

import math
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from chaos import plot
from chaos.evidence import Evidence, Sent
from chaos.load import Apps, Operator, Senders
from chaos.machine import Machine, running
from chaos.promises.judge import judge
from chaos.promises.records import COLLECTIONS, late
from chaos.promises.settled import still_open
from chaos.proxy import Fault
from chaos.storm import Storm

DRAINED_WITHIN = 120.0
KILLS_PER_SECOND = 1 / 3
"""At least: a storm that hardly strikes proves nothing."""
_COPIES = 3
_JOBS_PER_SECOND, _SENT_PER_SECOND = 0.5, 4.0
_BUS_JOBS, _BUS_SECONDS, _BUS_LOST_EVERY = 8, 20.0, 5.0
_CALM_SECONDS = 2.0
_POLL_SECONDS = 1.0
_WATCHED = ("jobs", "checkpoints", "smoke_runs", "aliases", "dead_letters")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """`drained`: seconds from the last disturbance until nothing was open; None when that never came."""

    evidence: Evidence
    broken: Mapping[str, Sequence[str]]
    drained: float | None
    figures: Mapping[str, object]

    @property
    def good(self) -> bool:
        return self.drained is not None and not any(self.broken.values())


def storm(folder: Path, seed: int, seconds: float, say: Callable[[str], None]) -> Ended:
    """Raises: NoEmulators, NotReady."""
    chance = random.Random(seed)
    jobs = plot.draw(chance, seconds, max(4, round(seconds * _JOBS_PER_SECOND)))
    with running(folder, seed, jobs, _COPIES) as machine:
        say(f"{len(machine.victims)} processes, {len(jobs)} jobs, {seconds:.0f} s of storm")
        weather = Storm(machine, random.Random(chance.random()), seconds)
        senders = Senders(machine, random.Random(chance.random()), jobs, seconds, _SENT_PER_SECOND)
        operator = Operator(machine, random.Random(chance.random()))
        apps = Apps(machine)
        over, done = threading.Event(), threading.Event()
        threads = [
            threading.Thread(target=weather.rage, args=[over]),
            threading.Thread(target=senders.run, args=[over]),
            threading.Thread(target=operator.work, args=[seconds, over]),
        ]
        asking = [threading.Thread(target=apps.ask, args=[alias, done]) for alias in plot.ALIASES]
        try:
            for thread in (*threads, *asking):
                thread.start()
            threads[0].join()
            say(f"{weather.kills.total()} kills, {weather.freezes.total()} freezes; now it must settle")
            found = _Found(machine, jobs, lambda: (*senders.sent, *operator.sent), apps)
            drained = _drain(found, weather.last, operator, say)
        finally:
            over.set()
            senders.give_up()
            done.set()
            for thread in (*threads, *asking):
                thread.join()
        evidence = found.evidence(final=True)
    figures = {
        "workers killed": weather.kills.total(),
        "workers frozen past their lease": weather.freezes.total(),
        **_counted("store connections", machine.store_proxy.counts),
        **_counted("provider connections", machine.provider_proxy.counts),
    }
    enough = math.ceil(seconds * KILLS_PER_SECOND)
    few = [f"{weather.kills.total()} kills"] if weather.kills.total() < enough else []
    broken = {**judge(evidence), f"at least {enough} workers are killed": few}
    return Ended(evidence=evidence, broken=broken, drained=drained, figures=figures)


def bus_loss(folder: Path, seed: int, say: Callable[[str], None]) -> Ended:
    """Nobody sends a webhook, and every few seconds all messages are lost. Raises: NoEmulators, NotReady."""
    chance = random.Random(seed)
    jobs = plot.draw(chance, _BUS_SECONDS, _BUS_JOBS)
    with running(folder, seed, jobs, 1) as machine:
        origin = machine.virtual()[1]
        say(f"{len(jobs)} jobs that nobody tells of, {_BUS_SECONDS:.0f} s of a bus that forgets")
        losses = 0
        while time.time() < origin + _BUS_SECONDS:
            time.sleep(_BUS_LOST_EVERY)
            machine.lose_bus()
            losses += 1
        last = time.time()
        apps = Apps(machine)
        found = _Found(machine, jobs, lambda: (), apps)
        drained = _drain(found, last, Operator(machine, chance), say)
        evidence = found.evidence(final=True)
    shown = {f"{job.key}/{name}": origin + at for job in jobs for name, at in job.checkpoints.items()}
    broken = {**judge(evidence), "recorded in time": list(late(evidence, shown, last))}
    return Ended(evidence=evidence, broken=broken, drained=drained, figures={"times the bus lost all": losses})


@dataclass(frozen=True, slots=True)
class _Found:
    """Where the evidence of a run is gathered from."""

    machine: Machine
    jobs: Sequence[plot.Job]
    sent: Callable[[], Sequence[Sent]]
    apps: Apps

    def evidence(self, *, final: bool) -> Evidence:
        """All of it, or while it goes on what tells whether it is over."""
        machine = self.machine
        return Evidence(
            rows=machine.rows(COLLECTIONS if final else _WATCHED),
            lines=list(machine.lines),
            requests=machine.simulator.requests() if final else (),
            sent=self.sent(),
            reads=list(self.apps.reads),
            workers=machine.workers,
            checkpoints={job.key: list(job.checkpoints) for job in self.jobs},
            defaults=machine.defaults(),
            calls_allowed=plot.CALLS_ALLOWED,
            virtual=machine.virtual(),
        )


def _drain(found: _Found, last: float, operator: Operator, say: Callable[[str], None]) -> float | None:
    """Seconds from `last` until nothing was open any more, for good."""
    calm_since: float | None = None
    while True:
        evidence = found.evidence(final=False)
        now = time.time()
        left = list(still_open(evidence, now))
        if left:
            calm_since = None
        elif calm_since is None:
            calm_since = now
        elif now - calm_since >= _CALM_SECONDS:
            return calm_since - last
        if now - last > DRAINED_WITHIN:
            say("\n".join([f"not settled: {len(left)} things are open", *left[:20]]))
            return None
        operator.release([row.data["key"] for row in evidence.rows["aliases"] if row.data["hold"] is not None])
        time.sleep(_POLL_SECONDS)


def _counted(what: str, counts: Mapping[Fault, int]) -> Mapping[str, int]:
    return {f"{what}: {fault}": count for fault, count in sorted(counts.items())}
