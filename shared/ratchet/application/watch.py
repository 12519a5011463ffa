"""See that what was promoted stays good: the suite again after a move, and whether the endpoint is still there.

A watch stores only what has come of its runs. Whether the next one is to be asked for is read from the run itself, so
that a lost message is sent again by the next look.
"""

from dataclasses import replace

from ratchet import log
from ratchet.application.carry_out import carry_out
from ratchet.application.decisions import announce, change, look_again, record, tell_of_hold
from ratchet.application.gather import ended, live_hold
from ratchet.application.hands import Hands
from ratchet.application.roll_back import roll_back
from ratchet.application.state import Stored, load, load_alias, load_keyed
from ratchet.domain.decision import Decision, Outcome
from ratchet.domain.events import Event, SmokeTestDue, Topic
from ratchet.domain.evidence import observe
from ratchet.domain.gates import Verdict, judge, worst
from ratchet.domain.keys import ALL_ALIASES, AliasKey, digest
from ratchet.domain.outcomes import Deferred, Recorded
from ratchet.domain.outcomes import Outcome as Handled
from ratchet.domain.policy import Policy, Trigger
from ratchet.domain.records import Alias, Checkpoint, CheckpointState, Purpose, SmokeRun, Watch
from ratchet.ports import Commit


def watch(hands: Hands, key: AliasKey, policy: Policy) -> Handled | None:
    """Ask for the run that is due, or count what came of it. None: nothing is due."""
    stored = load_alias(hands.store, key)
    alias = stored.value
    at_hand = alias.watch
    now = hands.clock.now()
    if at_hand is None or alias.intent is not None or alias.current is None or now < at_hand.due:
        return None
    if _held(hands, alias):
        return None
    if alias.gone:
        _changed(hands, stored, replace(alias, watch=None), "what was watched is there no more")
        return Recorded()
    suite = next((e.suite_digest for e in policy.evidence if e.suite == at_hand.plan.suite), None)
    if suite is None:
        _changed(hands, stored, replace(alias, watch=None), "the policy no longer names its suite")
        return Recorded()
    occasion = f"{at_hand.serial}.{at_hand.done + 1}"
    run = ended(hands, alias.current.checkpoint, suite, Purpose.WATCH, occasion)
    if run is not None:
        return _counted(hands, stored, at_hand, run, policy)
    due = SmokeTestDue(
        checkpoint=alias.current.checkpoint, suite=suite, purpose=Purpose.WATCH, occasion=occasion, alias=key
    )
    identity = digest(Topic.SMOKE_TESTS, str(due.checkpoint), suite, due.purpose, occasion)
    hands.bus.publish(Event(topic=Topic.SMOKE_TESTS, id=identity, source="enforce_promotion", payload=due))
    look_again(hands, stored)
    return Deferred(now)


def look_at_current(hands: Hands, key: AliasKey, policy: Policy) -> None:
    """What serves is there no more: it is told, once, and where the policy says so the last good takes its place."""
    stored = load_alias(hands.store, key)
    alias = stored.value
    if alias.current is None or alias.intent is not None:
        return
    if not alias.gone:
        found = load_keyed(hands.store, Checkpoint, alias.current.checkpoint)
        if found is None or found.value.state is not CheckpointState.GONE:
            return
        words = f"step {alias.current.step} of job {alias.current.checkpoint.job.id}, which serves, is there no more"
        if not change(hands, stored, replace(alias, gone=True, generation=alias.generation + 1), "gone", words):
            return
        current = str(alias.current.checkpoint)
        log.emit(log.Event.ALIAS_GONE, alias=str(key), candidate=current, step=alias.current.step)
        stored = load_alias(hands.store, key)
    if Trigger.ENDPOINT_GONE in policy.rollback.triggers and stored.value.gone and not _held(hands, stored.value):
        _roll_back(hands, stored, stored.value, policy, Trigger.ENDPOINT_GONE, "its endpoint is gone")


def _held(hands: Hands, alias: Alias) -> bool:
    """Automation is off, also that which rolls back."""
    return live_hold(alias.hold, load_alias(hands.store, ALL_ALIASES).value.hold, hands.clock.now()) is not None


def _counted(hands: Hands, stored: Stored[Alias], at_hand: Watch, run: SmokeRun, policy: Policy) -> Handled:
    plan, now = at_hand.plan, hands.clock.now()
    verdict, words = _verdict(hands, run, policy, at_hand)
    done = at_hand.done + 1
    after = replace(
        at_hand,
        done=done,
        failures=at_hand.failures + (verdict is Verdict.FAIL),
        inconclusive=at_hand.inconclusive + (verdict is Verdict.INCONCLUSIVE),
        due=now + plan.interval,
    )
    words = f"watch run {done} of {plan.count}: {words}"
    failed = after.failures >= plan.failures or after.inconclusive >= plan.inconclusive
    over = replace(stored.value, watch=None if failed or done >= plan.count else after)
    if failed and Trigger.WATCH_FAILED in policy.rollback.triggers:
        committed = _roll_back(hands, stored, over, policy, Trigger.WATCH_FAILED, words)
    else:
        committed = _changed(hands, stored, over, words)
    if not committed:
        return Deferred(now)
    facts = {"alias": str(stored.value.key), "run": run.key[:6], "serial": at_hand.serial, "reason": words}
    log.emit(log.Event.WATCH_FAILED if failed else log.Event.WATCH_COUNTED, **facts)
    return Recorded()


def _verdict(hands: Hands, run: SmokeRun, policy: Policy, at_hand: Watch) -> tuple[Verdict, str]:
    """By the policy's own gates on this suite, against their absolute limits: what it was promoted for must last."""
    checkpoint = load_keyed(hands.store, Checkpoint, run.checkpoint)
    assert checkpoint is not None
    suite = at_hand.plan.suite
    candidate = observe(checkpoint.value, {suite: run}, {}, against={})
    results = [
        judge(gate, candidate, None, hands.clock.now())
        for gate in policy.gates
        if gate.metric.startswith(f"suites.{suite}.")
    ]
    counted = [result for result in results if result.counts]
    verdict = worst([result.verdict for result in counted]) if counted else Verdict.INCONCLUSIVE
    bad = [result for result in counted if result.verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE)]
    if bad:
        return verdict, "; ".join(r.note or f"{r.id} {r.value:.3f} is not {r.limit}" for r in bad)
    return verdict, verdict if counted else "no gate of the policy judges it"


def _changed(hands: Hands, stored: Stored[Alias], after: Alias, words: str) -> bool:
    return change(hands, stored, replace(after, generation=after.generation + 1), "watched", words)


def _roll_back(hands: Hands, stored: Stored[Alias], after: Alias, policy: Policy, trigger: Trigger, why: str) -> bool:
    """By the policy, once for each serial and trigger, in the one batch that also says what was seen (`after`)."""
    alias, now = stored.value, hands.clock.now()
    identity = digest(str(alias.key), "rollback", trigger, str(alias.serial))
    # A promotion that was opened meanwhile is not its concern: it looks again when that is over.
    if alias.intent is not None or load(hands.store, Decision, identity) is not None:
        return False
    decision = Decision(
        id=identity,
        alias=alias.key,
        kind="rollback",
        outcome=Outcome.KEPT_CURRENT,
        reason=why,
        at=now,
        actor="policy",
        actor_verified=True,
        generation=alias.generation,
        serial=alias.serial,
        policy=policy.name,
        policy_digest=policy.digest,
    )
    answer = roll_back(hands, after, decision, policy, by_policy=True)
    writes = [*answer.writes, *record(stored, answer.alias, answer.decision)]
    if hands.store.commit(writes, hands.ids.fresh()) is Commit.CONFLICT:
        return False
    tell_of_hold(alias, answer.alias, decision.actor)
    announce(hands, answer.decision, alias.serial)
    if answer.alias.intent is not None:
        carry_out(hands, alias.key)
    return True
