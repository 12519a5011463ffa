"""Read what a decision is made from: two bounded queries, of one job's checkpoints and runs, and a handful of keys.

A line is never scanned: a decision on a line of ten thousand checkpoints reads what one on a line of ten does.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from ratchet import log
from ratchet.application.hands import Hands
from ratchet.application.state import Stored, find_all, load, load_alias, load_keyed
from ratchet.domain.alias import ask_of, tests_since
from ratchet.domain.decision import Standing
from ratchet.domain.evidence import DAYS_TO_SHUTDOWN, Candidate, Evidence, JobFacts, observe, with_neighbours
from ratchet.domain.keys import ALL_ALIASES, AliasKey, CheckpointKey, JobKey
from ratchet.domain.policy import BaselineUse, Policy, Rerun
from ratchet.domain.records import (
    Alias,
    Checkpoint,
    CheckpointState,
    Hold,
    Job,
    Pointer,
    Purpose,
    SmokeRun,
    run_key,
)
from ratchet.domain.renewal import compared_suites
from ratchet.ports import PermanentError, ProviderError

ATTEMPTS = 3

Runs = Mapping[str, SmokeRun]
"""By suite, the newest run that has ended for good."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """Everything that one decision was read from, and the time then. `alias` is the document that it changes."""

    now: datetime
    alias: Stored[Alias]
    job: Job
    checkpoints: Sequence[Stored[Checkpoint]]
    evidence: Evidence
    standing: Standing


def gather(hands: Hands, key: AliasKey, job_key: JobKey, policy: Policy) -> Gathered | None:
    """None: nobody has recorded this job."""
    job = load_keyed(hands.store, Job, job_key)
    if job is None:
        return None
    alias = load_alias(hands.store, key)
    # A shadow is judged by where the alias stands that it is the shadow of.
    serving = alias.value if key == key.served else _before(load_alias(hands.store, key.served).value, job_key)
    checkpoints = find_all(hands.store, Checkpoint, job=str(job_key))
    read = _Reader(hands, policy, job.value, checkpoints)
    read.all_runs()
    current, best = serving.current, serving.best_of_line
    baseline = _baseline(serving, policy.baseline.use)
    against = read.compared_runs(baseline.checkpoint) if baseline else {}
    candidates = [
        read.observed(stored.value, against)
        for stored in checkpoints
        # A checkpoint that this policy never selected, or no longer does, is not its candidate.
        if (key in stored.value.open_aliases or str(key) in stored.value.decided) and ripe(stored.value, policy)
    ]
    evidence = Evidence(
        job=_facts(job.value),
        candidates=with_neighbours(candidates),
        current=read.pointed(current) if current else None,
        baseline=read.pointed(baseline) if baseline else None,
        best_of_line=read.pointed(best) if best else None,
    )
    of_all = load_alias(hands.store, ALL_ALIASES).value.hold
    # After the reads: whoever was held up before them has another idea of the time than the alias that it changes.
    now = hands.clock.now()
    standing = Standing(
        current=current.checkpoint if current else None,
        quarantine=serving.quarantine,
        hold=live_hold(serving.hold, of_all, now),
        moves=serving.moves,
        approval=ask_of(alias.value, job_key),
        tests_since=tests_since(alias.value, job_key),
    )
    return Gathered(now=now, alias=alias, job=job.value, checkpoints=checkpoints, evidence=evidence, standing=standing)


def _before(alias: Alias, job: JobKey) -> Alias:
    """Where it stood before this job: what it has promoted of it already is no news to be compared with."""
    if alias.current is None or alias.current.checkpoint.job != job:
        return alias
    good = alias.last_good
    return replace(alias, current=good[0] if good else None, last_good=good[1:], moves=alias.moves[:-1])


def live_hold(own: Hold | None, of_all: Hold | None, now: datetime) -> Hold | None:
    return next((hold for hold in (own, of_all) if hold is not None and hold.live(now)), None)


def ripe(checkpoint: Checkpoint, policy: Policy) -> bool:
    """One by one, a checkpoint is judged when its own tests have ended; by the job, `settle` waits for all of them.

    Without this, the first one tested would decide of those still under test, for good.
    """
    if policy.waits_for_end:
        return True
    if checkpoint.state is not CheckpointState.READY:
        return checkpoint.state is CheckpointState.GONE
    return {evidence.suite_digest for evidence in policy.evidence} <= set(checkpoint.tested)


def candidate_of(hands: Hands, key: CheckpointKey, policy: Policy, against: CheckpointKey | None) -> Candidate | None:
    """One checkpoint with its evidence, by key; `against`: the one that it is compared with, case by case."""
    stored = load_keyed(hands.store, Checkpoint, key)
    job = load_keyed(hands.store, Job, key.job)
    if stored is None or job is None:
        return None
    read = _Reader(hands, policy, job.value, [stored])
    return read.observed(stored.value, read.compared_runs(against) if against else {})


def _baseline(alias: Alias, use: BaselineUse) -> Pointer | None:
    match use:
        case BaselineUse.CURRENT:
            return alias.current
        case BaselineUse.LAST_GOOD:
            return alias.last_good[0] if alias.last_good else None
        case BaselineUse.BEST_OF_LINE:
            return alias.best_of_line
        case BaselineUse.NONE:
            return None


def _facts(job: Job) -> JobFacts:
    return JobFacts(
        key=job.key,
        state=job.state,
        first_seen_at=job.first_seen_at,
        ended_at=job.ended_at,
        checkpoint_ids=job.checkpoint_ids,
        triggered_by=job.triggers,
    )


class _Reader:
    """Reads each checkpoint and run at most once."""

    def __init__(self, hands: Hands, policy: Policy, job: Job, checkpoints: Sequence[Stored[Checkpoint]]) -> None:
        self._hands = hands
        self._policy = policy
        self._job = job
        self._wanted = {evidence.suite: evidence.suite_digest for evidence in policy.evidence}
        # What the policy does not ask for is kept too, where it was measured: another policy may be tried on it.
        self._suites = {name: suite.digest for name, suite in hands.rules.suites.items()} | self._wanted
        self._checkpoints: dict[CheckpointKey, Checkpoint | None] = {c.value.key: c.value for c in checkpoints}
        self._gates: dict[CheckpointKey, Runs] = {}
        self._compared: dict[CheckpointKey, Runs] = {}
        self._shutdowns: dict[str, datetime | None] = {}

    def all_runs(self) -> None:
        """Those of all the job's checkpoints, in one query."""
        runs = [stored.value for stored in find_all(self._hands.store, SmokeRun, job=str(self._job.key))]
        self._gates = {key: self._newest(key, runs) for key in self._checkpoints}

    def observed(self, checkpoint: Checkpoint, against: Runs) -> Candidate:
        """By its own gates' runs."""
        return self._observed(checkpoint, self.gates_of(checkpoint.key), against)

    def pointed(self, pointer: Pointer) -> Candidate | None:
        """By what others are compared with."""
        checkpoint = self._checkpoint(pointer.checkpoint)
        return None if checkpoint is None else self._observed(checkpoint, self.compared_runs(checkpoint.key), {})

    def gates_of(self, key: CheckpointKey) -> Runs:
        if key not in self._gates:
            self._gates[key] = dict(self._by_name(key))
        return self._gates[key]

    def compared_runs(self, key: CheckpointKey) -> Runs:
        """Its newest gates' runs, or those made to be compared with this job's, where the policy asks for such."""
        if key not in self._compared:
            self._compared[key] = {**self.gates_of(key), **dict(self._renewed(key))}
        return self._compared[key]

    def _observed(self, checkpoint: Checkpoint, runs: Runs, against: Runs) -> Candidate:
        shutdown_at = self._shutdown_of(checkpoint)
        return observe(checkpoint, runs, self._wanted, against=against, shutdown_at=shutdown_at)

    def _by_name(self, key: CheckpointKey) -> Iterator[tuple[str, SmokeRun]]:
        checkpoint = self._checkpoint(key)
        for suite, digest in self._suites.items():
            if checkpoint is not None and digest in checkpoint.runs:
                stored = load(self._hands.store, SmokeRun, checkpoint.runs[digest])
                if stored is not None:
                    yield suite, stored.value

    def _renewed(self, key: CheckpointKey) -> Iterator[tuple[str, SmokeRun]]:
        if self._policy.baseline.rerun is Rerun.NEVER:
            return
        for suite in sorted(compared_suites(self._policy) & self._wanted.keys()):
            run = ended(self._hands, key, self._wanted[suite], Purpose.BASELINE, str(self._job.key))
            if run is not None:
                yield suite, run

    def _newest(self, key: CheckpointKey, runs: Sequence[SmokeRun]) -> Runs:
        found: dict[str, SmokeRun] = {}
        for suite, digest in self._suites.items():
            ours = [
                run
                for run in runs
                if run.checkpoint == key and run.suite_digest == digest and run.purpose is Purpose.GATE and run.last
            ]
            if ours:
                found[suite] = max(ours, key=lambda run: (occasion_number(run.occasion), run.attempt))
        return found

    def _checkpoint(self, key: CheckpointKey) -> Checkpoint | None:
        if key not in self._checkpoints:
            stored = load_keyed(self._hands.store, Checkpoint, key)
            self._checkpoints[key] = stored.value if stored else None
        return self._checkpoints[key]

    def _shutdown_of(self, checkpoint: Checkpoint) -> datetime | None:
        used = [gate.metric for gate in self._policy.gates] + [c.metric for c in self._policy.choose]
        if DAYS_TO_SHUTDOWN not in (*used, *self._policy.metrics):
            return None
        base = checkpoint.base_model
        if base not in self._shutdowns:
            try:
                self._shutdowns[base] = self._hands.providers.of(checkpoint.job).shutdown_date(base)
            except (ProviderError, PermanentError) as error:
                log.emit(log.Event.PROVIDER_FAILED, checkpoint=str(checkpoint.key), code=type(error).__name__)
                self._shutdowns[base] = None
        return self._shutdowns[base]


def ended(hands: Hands, key: CheckpointKey, suite_digest: str, purpose: Purpose, occasion: str) -> SmokeRun | None:
    """The run of this purpose and occasion that has ended for good; None while it has not."""
    for attempt in range(1, ATTEMPTS + 1):
        stored = load(hands.store, SmokeRun, run_key(key, suite_digest, purpose, occasion, attempt))
        if stored is None:
            return None
        if stored.value.last:
            return stored.value
    return None


def occasion_number(occasion: str) -> int:
    """Which renewal of a gate's run it was; the first run is none."""
    return int(occasion) if occasion.isdecimal() else 0
