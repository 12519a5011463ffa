"""Run one suite on one checkpoint, as evidence: reachable first, then cases, results stored as they finish.

A run belongs to whoever holds its lease. Whatever keeps the model from answering (404, 409, 429, 5xx, time-outs) is
not the model's fault: the run waits, and in the end is inconclusive, never failed.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ratchet import log
from ratchet.application.ask import Asking, Judge, ask, hardest, results_of
from ratchet.application.gather import ATTEMPTS
from ratchet.application.record_checkpoint import LOST_MESSAGE
from ratchet.application.state import Stored, load, load_keyed, remember_rule
from ratchet.domain.events import Event, PromotionDue, SmokeTestDue, Topic
from ratchet.domain.keys import AliasKey, JobKey, digest
from ratchet.domain.limits import DENIED_WAIT, Limits, backoff
from ratchet.domain.outcomes import Deferred, Ignored, Outcome, Recorded
from ratchet.domain.records import (
    Checkpoint,
    CheckpointState,
    Lease,
    Purpose,
    Rule,
    RunOutcome,
    SmokeRun,
    run_key,
)
from ratchet.domain.rules import Rules
from ratchet.domain.smoke import Price, calls_allowed, summarise
from ratchet.domain.spans import span_text
from ratchet.domain.suite import Suite
from ratchet.ports import (
    Bus,
    Clock,
    Commit,
    Denied,
    Ids,
    NotFound,
    PermanentError,
    ProviderError,
    ProviderPort,
    Providers,
    Store,
    Throttled,
)

FIRST = "-"
"""The occasion of a checkpoint's own gate run; whoever wants another one asks for it, and is told of its end."""
_SILENT = "the endpoint does not answer"


@dataclass(frozen=True, slots=True)
class _World:
    """What one handling works with."""

    store: Store
    bus: Bus
    clock: Clock
    ids: Ids
    limits: Limits


def run_smoke_test(
    due: SmokeTestDue,
    *,
    store: Store,
    bus: Bus,
    providers: Providers,
    clock: Clock,
    ids: Ids,
    rules: Rules,
    limits: Limits,
    judge: Judge,
    prices: Mapping[str, Price],
) -> Outcome:
    """`prices` are by base model. Raises: RetryableError, PermanentError: the checkpoint's job is not ours."""
    world = _World(store, bus, clock, ids, limits)
    stored = load_keyed(store, Checkpoint, due.checkpoint)
    if stored is None:
        return Ignored("unknown_checkpoint")
    port = providers.of(due.checkpoint.job)
    if due.purpose is Purpose.PROBE:
        return _confirm_gone(world, port, stored)
    suite = rules.suite_by_digest(due.suite)
    checkpoint = stored.value
    if suite is None:
        return Ignored("suite_superseded")
    if due.purpose is Purpose.GATE and due.occasion == FIRST and suite.digest in checkpoint.tested:
        _wake(world, checkpoint)
        return Ignored("known")
    if checkpoint.state is CheckpointState.GONE or checkpoint.target is None:
        return Ignored("no_target")
    remember_rule(store, ids, Rule(digest=suite.digest, kind="suite", name=suite.name, text=suite.text))
    run = _claim(world, checkpoint, suite, due)
    if not isinstance(run, Stored):
        return run
    try:
        with_probe = _probe(world, port, run, checkpoint.target, suite.patience)
        if not isinstance(with_probe, Stored):
            return with_probe
        price = prices.get(checkpoint.base_model)
        if price is None and suite.budget.usd is not None:
            words = f"the budget is in USD, and prices in ratchet.yaml lack {checkpoint.base_model}"
            return _finish(world, with_probe, RunOutcome.INCONCLUSIVE, words, last=True)
        asking = Asking(store, clock, ids, port, checkpoint.target, suite, price, judge, limits.slice)
        return _cases(world, asking, with_probe)
    except PermanentError as error:
        # The target is one that we may never call. The wait for it ends, or the timer would bring it back; once the
        # letter is kept, or whoever died before that would leave neither letter nor alarm.
        refused, code = run, error.code
        raise PermanentError(code, lambda: _finish(world, refused, RunOutcome.INCONCLUSIVE, code, last=True)) from error


def _claim(world: _World, checkpoint: Checkpoint, suite: Suite, due: SmokeTestDue) -> Stored[SmokeRun] | Outcome:
    """Take the lease of the attempt at hand, or make the next attempt; busy is not an error."""
    now = world.clock.now()
    owner = world.ids.fresh()
    until = now + world.clock.real(world.limits.lease)
    for attempt in range(1, ATTEMPTS + 1):
        key = run_key(checkpoint.key, suite.digest, due.purpose, due.occasion, attempt)
        stored = load(world.store, SmokeRun, key)
        if stored is None:
            fresh = SmokeRun(
                key=key,
                checkpoint=checkpoint.key,
                job=checkpoint.job,
                suite=suite.name,
                suite_digest=suite.digest,
                purpose=due.purpose,
                occasion=due.occasion,
                attempt=attempt,
                lease=Lease(owner, 1, until),
                started_at=now,
                alias=due.alias,
                next_look_at=until,
            )
            return _take(world, Stored(fresh, None), fresh)
        run = stored.value
        if run.last:
            _tell(world, run)
            return Ignored("known")
        if run.outcome is not None:
            continue
        if run.lease.until > now:
            return Deferred(run.lease.until)
        # Not `next_look_at`: the sweep that sent us here has already moved it.
        if run.not_before is not None and run.not_before > now:
            return Deferred(run.not_before)
        taken = replace(run, lease=Lease(owner, run.lease.fence + 1, until), next_look_at=until)
        return _take(world, stored, taken)
    return Ignored("attempts_spent")


def _take(world: _World, before: Stored[SmokeRun], run: SmokeRun) -> Stored[SmokeRun] | Outcome:
    if world.store.commit([before.write(run)], world.ids.fresh()) is Commit.CONFLICT:
        return Deferred(run.lease.until)
    log.emit(
        log.Event.RUN_STARTED, run=run.key[:6], checkpoint=str(run.checkpoint), suite=run.suite, fence=run.lease.fence
    )
    return _reread(world, run)


def _reread(world: _World, run: SmokeRun) -> Stored[SmokeRun] | Outcome:
    """The run as it stands after our own write, while the lease is still ours."""
    stored = load(world.store, SmokeRun, run.key)
    if stored is None or stored.value.lease != run.lease or stored.value.outcome is not None:
        return Ignored("superseded")
    return stored


def _probe(
    world: _World, port: ProviderPort, run: Stored[SmokeRun], target: str, patience: timedelta
) -> Stored[SmokeRun] | Outcome:
    """Does the endpoint answer at all? The first cases of a run say so at no cost; where they brought nothing, it is
    asked one small thing until it once answers. Silent for too long, the wait ends.
    """
    first = run.value.attempt == 1 and not run.value.waits
    if run.value.probed or first:
        return run
    try:
        port.probe(target)
    except ProviderError as error:
        return _wait(world, run, error, _SILENT, patience)
    return Stored(replace(run.value, probed=True), run.snapshot)


def _wait(world: _World, run: Stored[SmokeRun], error: ProviderError, what: str, patience: timedelta) -> Outcome:
    """Give the lease back and come again; after so long a silence, give up."""
    now = world.clock.now()
    code = type(error).__name__
    if now - run.value.started_at >= patience:
        return _finish(world, run, RunOutcome.INCONCLUSIVE, f"{what} for {span_text(patience)} ({code})", last=True)
    if isinstance(error, Denied):
        log.emit(log.Event.PROVIDER_DENIED, checkpoint=str(run.value.checkpoint))
        delay = DENIED_WAIT
    else:
        asked = error.retry_after if isinstance(error, Throttled) else None
        delay = backoff(run.value.waits, world.ids.fraction(), asked)
    waiting = replace(
        run.value,
        lease=replace(run.value.lease, until=now),
        waits=run.value.waits + 1,
        reason=f"{what} ({code})",
        not_before=now + delay,
        next_look_at=now + delay,
    )
    if world.store.commit([run.write(waiting)], world.ids.fresh()) is Commit.CONFLICT:
        return Ignored("superseded")
    return Deferred(now + delay)


def _cases(world: _World, asking: Asking, run: Stored[SmokeRun]) -> Outcome:
    """Ask what is still open, store what is answered, and see whether that settles the run."""
    suite = asking.suite
    asked_at = run.value.asked_at or world.clock.now()
    done = results_of(world.store, run.value)
    calls, allowed = suite.calls(), calls_allowed(suite)
    todo = [(case, repeat) for case, repeat in calls if (case.id, repeat) not in done]
    allowance = allowed - run.value.billed
    this_round = ask(asking, run.value, todo[: max(allowance, 0)], done.values(), asked_at)
    billed = run.value.billed + this_round.billed
    counts = Counter(run.value.unanswered) + Counter(str(silence.why) for silence in this_round.silences)
    unanswered = dict(sorted(counts.items()))
    done = results_of(world.store, run.value)
    asked = replace(run.value, billed=billed, unanswered=unanswered)
    if run.value.probed or done:
        asked = replace(asked, probed=True, asked_at=asked_at)
    run = Stored(asked, run.snapshot)
    missing = len(calls) - len(done)
    lacking = f"no answer to {missing} of {len(calls)} questions"
    if missing == 0:
        summary = summarise(tuple(done.values()), suite, asking.price)
        passed = not summary.failed
        run = Stored(replace(run.value, summary=summary), run.snapshot)
        return _finish(world, run, RunOutcome.PASS if passed else RunOutcome.FAIL, "", last=True)
    if this_round.spent:
        # Another attempt would spend as much again.
        reason = f"{this_round.spent}, {lacking}"
        return _finish(world, run, RunOutcome.INCONCLUSIVE, reason, last=True)
    if missing > allowed - run.value.billed:
        reason = f"{lacking} in {run.value.billed} calls"
        return _finish(world, run, RunOutcome.INCONCLUSIVE, reason, last=run.value.attempt == ATTEMPTS)
    if this_round.silences:
        what = lacking if run.value.probed else _SILENT
        return _wait(world, run, hardest(this_round.silences), what, suite.patience)
    return _continue(world, run)


def _continue(world: _World, run: Stored[SmokeRun]) -> Outcome:
    """The slice is spent: give the lease back in one commit, then publish, so nobody meets our own lease."""
    now = world.clock.now()
    rested = replace(run.value, lease=replace(run.value.lease, until=now), next_look_at=now)
    if world.store.commit([run.write(rested)], world.ids.fresh()) is Commit.CONFLICT:
        return Ignored("superseded")
    due = SmokeTestDue(
        checkpoint=rested.checkpoint,
        suite=rested.suite_digest,
        purpose=rested.purpose,
        occasion=rested.occasion,
        alias=rested.alias,
    )
    event_id = digest(Topic.SMOKE_TESTS, rested.key, str(rested.lease.fence))
    world.bus.publish(Event(topic=Topic.SMOKE_TESTS, id=event_id, source="run_smoke_test", payload=due))
    log.emit(log.Event.RUN_CONTINUED, run=rested.key[:6], checkpoint=str(rested.checkpoint))
    return Deferred(now)


def _finish(world: _World, run: Stored[SmokeRun], outcome: RunOutcome, reason: str, *, last: bool) -> Outcome:
    """The verdict, and the checkpoint's own entry struck, in one batch under the fence we hold."""
    now = world.clock.now()
    held = run
    while True:
        final = replace(
            run.value,
            lease=replace(run.value.lease, until=now),
            outcome=outcome,
            last=last,
            reason=reason,
            finished_at=now,
            next_look_at=None,
        )
        checkpoint = load_keyed(world.store, Checkpoint, final.checkpoint)
        assert checkpoint is not None
        struck = _struck(checkpoint.value, final, now) if last else _again(checkpoint.value, final, now, world)
        # A run to compare with, or of a watch, is no evidence of the checkpoint's own.
        own = [checkpoint.write(struck)] if final.purpose is Purpose.GATE else []
        if world.store.commit([held.write(final), *own], world.ids.fresh()) is Commit.COMMITTED:
            break
        # The checkpoint may have changed, which is no matter; or the run has another holder, and then it is theirs.
        reread = _reread(world, run.value)
        if not isinstance(reread, Stored):
            return reread
        held = reread
    facts = {
        "run": final.key[:6],
        "checkpoint": str(final.checkpoint),
        "suite": final.suite,
        "attempt": final.attempt,
        **_cost(final),
    }
    if outcome is not RunOutcome.INCONCLUSIVE:
        assert final.summary is not None
        log.emit(
            log.Event.RUN_FINISHED, **facts, outcome=outcome, passed=final.summary.passed, total=final.summary.total
        )
    else:
        log.emit(log.Event.RUN_GIVEN_UP if last else log.Event.RUN_INCONCLUSIVE, **facts, reason=reason)
    if last:
        _tell(world, final)
    if final.purpose is Purpose.GATE:
        _wake(world, struck)
    return Recorded()


def _cost(run: SmokeRun) -> dict[str, float | None]:
    """What the run took: time, calls, and of those that were summed up tokens and money."""
    assert run.finished_at is not None
    summary = run.summary
    return {
        "seconds": log.seconds(run.finished_at - run.started_at),
        "tokens": summary.tokens_in + summary.tokens_out if summary else None,
        "usd": summary.usd if summary else None,
    }


def _struck(checkpoint: Checkpoint, run: SmokeRun, now: datetime) -> Checkpoint:
    open_suites = tuple(suite for suite in checkpoint.open_suites if suite != run.suite_digest)
    struck = replace(
        checkpoint,
        open_suites=open_suites,
        tested=tuple(sorted({*checkpoint.tested, run.suite_digest})),
        runs={**checkpoint.runs, run.suite_digest: run.key},
    )
    return struck.looked_at(now + LOST_MESSAGE)


def _again(checkpoint: Checkpoint, run: SmokeRun, now: datetime, world: _World) -> Checkpoint:
    """The next attempt is the sweep's to start, by the checkpoint's timer."""
    return checkpoint.looked_at(now + backoff(4 + run.attempt, world.ids.fraction()))


def _tell(world: _World, run: SmokeRun) -> None:
    """Whoever asked for this run goes on: a decision on a job, or the watch of what serves."""
    if run.alias is None:
        return
    match run.purpose:
        case Purpose.GATE:
            job: JobKey | None = run.job
        case Purpose.BASELINE:
            job = JobKey.parse(run.occasion)
        case _:
            job = None
    due = PromotionDue(alias=run.alias, job=job, reason=f"{run.purpose} run ended")
    event_id = digest(Topic.PROMOTIONS, str(run.alias), run.key)
    world.bus.publish(Event(topic=Topic.PROMOTIONS, id=event_id, source="run_smoke_test", payload=due))


def _wake(world: _World, checkpoint: Checkpoint) -> None:
    if checkpoint.open_suites:
        return
    for alias in checkpoint.open_aliases:
        due = PromotionDue(alias=alias, job=checkpoint.job, reason="tested")
        event_id = digest(Topic.PROMOTIONS, str(alias), str(checkpoint.key), *checkpoint.tested)
        world.bus.publish(Event(topic=Topic.PROMOTIONS, id=event_id, source="run_smoke_test", payload=due))


def _confirm_gone(world: _World, port: ProviderPort, stored: Stored[Checkpoint]) -> Outcome:
    """Twice not listed, and the target says 404, if it ever had one: it is gone. Anything else leaves it as it is."""
    checkpoint = stored.value
    if checkpoint.state is CheckpointState.GONE:
        _tell_of_loss(world, checkpoint)
        return Ignored("known")
    if checkpoint.unlisted_since is None:
        return Ignored("listed")
    try:
        if checkpoint.target is None:
            raise NotFound
        port.probe(checkpoint.target)
    except NotFound:
        gone = replace(checkpoint, state=CheckpointState.GONE, open_suites=())
        gone = gone.looked_at(world.clock.now() + LOST_MESSAGE)
        if world.store.commit([stored.write(gone)], world.ids.fresh()) is Commit.CONFLICT:
            return Deferred(world.clock.now() + LOST_MESSAGE)
        log.emit(log.Event.CHECKPOINT_VANISHED, checkpoint=str(gone.key))
        _tell_of_loss(world, gone)
        return Recorded()
    except ProviderError:
        return Deferred(world.clock.now() + LOST_MESSAGE)
    # Not asked again and again: its job goes on to look for it, and so does whoever serves it.
    answering = replace(checkpoint, next_look_at=None)
    world.store.commit([stored.write(answering)], world.ids.fresh())
    return Ignored("answers")


def _tell_of_loss(world: _World, gone: Checkpoint) -> None:
    """Those who would still decide on it, and those who have: one of them may serve it."""
    _wake(world, gone)
    for alias in sorted(gone.decided):
        due = PromotionDue(alias=AliasKey.parse(alias), job=None, reason="gone")
        event_id = digest(Topic.PROMOTIONS, alias, str(gone.key), due.reason)
        world.bus.publish(Event(topic=Topic.PROMOTIONS, id=event_id, source="run_smoke_test", payload=due))
