"""Once a minute: wake whatever is due, visit jobs selected under older rules, discover jobs, and watch histories.

It holds no state of its own and decides nothing: it moves timers forward and publishes hints.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from ratchet import log
from ratchet.application.state import Stored, find, load_keyed
from ratchet.application.watch_history import watch_history
from ratchet.domain.codec import format_time
from ratchet.domain.events import Event, PromotionDue, SmokeTestDue, Topic, TuningJobHint
from ratchet.domain.keys import CANARY, CANARY_CHECKPOINT, AliasKey, digest
from ratchet.domain.limits import Limits
from ratchet.domain.outcomes import Outcome, Recorded
from ratchet.domain.records import Alias, Checkpoint, Job, Purpose, SmokeRun
from ratchet.ports import Bus, Clock, Commit, Ids, Postpone, ProviderError, Providers, Query, Store

PAGE = 200
SWEEP_SECONDS = 45.0
STUCK_AFTER = 20
DISCOVERED_BEFORE = timedelta(days=30)
CANARY_MINUTES = 15
_REVISITED_PER_SWEEP = 50

Timed = TypeVar("Timed", Alias, SmokeRun, Checkpoint, Job)


@dataclass(frozen=True, slots=True)
class _World:
    store: Store
    bus: Bus
    clock: Clock
    ids: Ids


def reconcile(
    *,
    store: Store,
    bus: Bus,
    providers: Providers,
    clock: Clock,
    ids: Ids,
    rules_digest: str,
    since: datetime,
    limits: Limits,
    canary: bool,
) -> Outcome:
    """`canary`: whether to send one on its way when it is time. Raises: RetryableError."""
    world = _World(store, bus, clock, ids)
    begun = clock.now()
    ends = clock.monotonic() + min(SWEEP_SECONDS, limits.budget)
    # In this order: what is nearest to serving is looked at first when time is short.
    swept = (
        _sweep(world, Alias, ends),
        _sweep(world, SmokeRun, ends),
        _sweep(world, Checkpoint, ends),
        _sweep(world, Job, ends),
    )
    revisited = _revisit(world, rules_digest)
    discovered = _discover(world, providers, since)
    if canary and begun.minute % CANARY_MINUTES == 0:
        _send_canary(world, begun)
    log.emit(
        log.Event.SWEEP_DONE,
        woken=sum(woken for woken, _ in swept),
        overdue_seconds=log.seconds(max(late for _, late in swept)),
        revisited=revisited,
        discovered=discovered,
    )
    # By the tick's own minute, however long the sweep took. Last: what cannot be read here must keep nobody asleep.
    watch_history(store, begun)
    return Recorded()


def _sweep(world: _World, kind: type[Timed], ends: float) -> tuple[int, timedelta]:
    """How many were woken, and for how long the first of them had been due."""
    woken, late = 0, timedelta(0)
    while True:
        now = world.clock.now()
        query = Query(kind.COLLECTION, order="next_look_at", at_most=format_time(now), limit=PAGE)
        due = find(world.store, kind, query)
        if due:
            late = max(late, now - (due[0].value.next_look_at or now))
        if world.clock.monotonic() >= ends:
            break
        for stored in due:
            if _postponed(world, stored, now):
                woken += _publish(world, _hints(stored.value), stored)
        if len(due) < PAGE:
            break
    return woken, late


def _postponed(world: _World, stored: Stored[Timed], now: datetime) -> bool:
    """Move the timer first, so that one who is killed here wakes nobody twice at once, and nobody never."""
    assert stored.snapshot is not None
    looks = stored.snapshot.looks
    if looks == STUCK_AFTER and not _waits_for_a_decision(stored.value):
        log.emit(log.Event.TIMER_STUCK, collection=stored.snapshot.key.collection, document=stored.snapshot.key.id[:6])
    delay = timedelta(days=1) if looks >= STUCK_AFTER else timedelta(minutes=min(2**looks, 60))
    postpone = Postpone(stored.snapshot.key, now + delay, stored.snapshot.token)
    return world.store.commit([postpone], world.ids.fresh()) is Commit.COMMITTED


def _waits_for_a_decision(record: Alias | SmokeRun | Checkpoint | Job) -> bool:
    """An approval or a hold may take days; the alias has a timer of its own, which tells when that is stuck."""
    return isinstance(record, Checkpoint) and not record.open_suites and bool(record.open_aliases)


def _hints(record: Alias | SmokeRun | Checkpoint | Job) -> Sequence[PromotionDue | SmokeTestDue | TuningJobHint]:
    match record:
        case Alias():
            # Their jobs may rest, and what serves, or is tested once more, may vanish long after.
            testing = {wait.job for wait in record.waiting if wait.tests_since is not None}
            compared = (*record.last_good[:1], record.best_of_line) if testing else ()
            jobs = testing | {at.checkpoint.job for at in (record.current, *compared) if at is not None}
            hints = [TuningJobHint(job=job, reason="in use") for job in sorted(jobs)]
            return [PromotionDue(alias=record.key, job=None, reason="due"), *hints]
        case SmokeRun():
            return [
                SmokeTestDue(
                    checkpoint=record.checkpoint,
                    suite=record.suite_digest,
                    purpose=record.purpose,
                    occasion=record.occasion,
                    alias=record.alias,
                )
            ]
        case Job():
            return [TuningJobHint(job=record.key, reason="due")]
    if record.in_doubt:
        return [SmokeTestDue(checkpoint=record.key, suite="-", purpose=Purpose.PROBE)]
    if record.open_suites:
        return [SmokeTestDue(checkpoint=record.key, suite=suite, purpose=Purpose.GATE) for suite in record.open_suites]
    return [PromotionDue(alias=alias, job=record.job, reason="undecided") for alias in record.open_aliases]


_TOPICS = {
    PromotionDue: Topic.PROMOTIONS,
    SmokeTestDue: Topic.SMOKE_TESTS,
    TuningJobHint: Topic.TUNING_JOBS,
}


def _publish(world: _World, hints: Sequence[PromotionDue | SmokeTestDue | TuningJobHint], stored: Stored[Timed]) -> int:
    assert stored.snapshot is not None
    snapshot = stored.snapshot
    for number, hint in enumerate(hints):
        topic = _TOPICS[type(hint)]
        identity = digest(topic, snapshot.key.id, str(snapshot.token.version), str(snapshot.looks), str(number))
        world.bus.publish(Event(topic=topic, id=identity, source="reconcile", payload=hint))
    return len(hints)


def _send_canary(world: _World, begun: datetime) -> None:
    """One event for each function that events drive; `track_tuning_job` tells `record_checkpoint`."""
    hints = (
        TuningJobHint(job=CANARY, reason="canary"),
        SmokeTestDue(checkpoint=CANARY_CHECKPOINT, suite="-", purpose=Purpose.PROBE),
        PromotionDue(alias=AliasKey("canary", "canary"), job=CANARY, reason="canary"),
    )
    for hint in hints:
        topic = _TOPICS[type(hint)]
        identity = digest(topic, str(CANARY), begun.isoformat(timespec="minutes"))
        world.bus.publish(Event(topic=topic, id=identity, source="reconcile", payload=hint))


def _revisit(world: _World, rules_digest: str) -> int:
    """Jobs last looked at under other policies or suites: that is how an edited file reaches what is known."""
    number = int(rules_digest, 16)
    below = Query("jobs", order="selected_under", at_most=f"{number - 1:064x}", limit=_REVISITED_PER_SWEEP)
    above = Query("jobs", order="selected_under", at_least=f"{number + 1:064x}", limit=_REVISITED_PER_SWEEP)
    jobs = [*find(world.store, Job, below), *find(world.store, Job, above)]
    for stored in jobs:
        hint = TuningJobHint(job=stored.value.key, reason="rules changed")
        identity = digest(Topic.TUNING_JOBS, str(stored.value.key), rules_digest)
        world.bus.publish(Event(topic=Topic.TUNING_JOBS, id=identity, source="reconcile", payload=hint))
    return len(jobs)


def _discover(world: _World, providers: Providers, since: datetime) -> int:
    """One account a minute, by a cursor that stores nothing: jobs that nobody told us of."""
    accounts = providers.all()
    if not accounts:
        return 0
    now = world.clock.now()
    account, port = accounts[int(now.timestamp() // 60) % len(accounts)]
    try:
        views = port.list_jobs(since - DISCOVERED_BEFORE)
    except ProviderError as error:
        log.emit(log.Event.PROVIDER_FAILED, account=str(account), code=type(error).__name__)
        return 0
    discovered = 0
    for view in views:
        known = load_keyed(world.store, Job, view.key)
        if known is None or known.value.state is not view.state:
            hint = TuningJobHint(job=view.key, reason="discovered")
            identity = digest(Topic.TUNING_JOBS, str(view.key), view.state)
            world.bus.publish(Event(topic=Topic.TUNING_JOBS, id=identity, source="reconcile", payload=hint))
            discovered += 1
    return discovered
