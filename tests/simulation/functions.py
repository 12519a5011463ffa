"""The functions, from the message that was let in to the answer, and what they log."""

import json
import logging
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from greenlet import getcurrent

from ratchet.adapters.sqlite_queue import Lease
from ratchet.application.enforce_promotion import enforce_promotion
from ratchet.application.hands import Hands
from ratchet.application.obey_command import obey_command
from ratchet.application.park_dead_letter import park_dead_letter
from ratchet.application.reconcile import reconcile
from ratchet.application.record_checkpoint import record_checkpoint
from ratchet.application.run_smoke_test import run_smoke_test
from ratchet.application.track_tuning_job import track_tuning_job
from ratchet.domain.events import (
    CheckpointSeen,
    Command,
    DeadLetter,
    PromotionDue,
    SmokeTestDue,
    Topic,
    TuningJobHint,
)
from ratchet.domain.grading import Grade
from ratchet.domain.outcomes import Outcome
from ratchet.domain.records import CaseOutcome
from ratchet.domain.suite import Case
from ratchet.ports import Answer, RetryableError
from ratchet.runtime import push
from ratchet.runtime.envelope import unwrap
from simulation.engine import Task
from simulation.provider import CANARY
from simulation.stage import SINCE, Stage

_HEARD = {
    "event.retried schema_new": "an event of a newer version waited for the newer code",
    "event.retried unavailable": "an event was delivered again after an outage",
    "event.retried unexpected": "a bug's event was delivered again",
    "event.settled superseded": "a handler found itself superseded",
    "event.settled attempts_spent": "all attempts of a run were spent",
    "event.settled raced": "two commands raced, and one gave way",
    "event.settled answers": "a checkpoint that is not listed still answered",
    "run.continued": "a smoke run went on in a next slice",
    "run.given_up": "a smoke run was given up",
    "promotion.refused refused: the command had expired": "a command came too late",
    "promotion.refused refused: another promotion": "a command met an open promotion",
    "promotion.aborted ana": "a person's roll-back turned a promotion back",
    "promotion.refused refused: a promotion": "a roll-back met an open promotion, and was refused",
    "promotion.refused refused: what stood": "a roll-back met another, and was refused",
    "promotion.refused refused: this promotion": "a roll-back came too late for the promotion that it named",
    "promotion.refused refused: nothing served": "a roll-back had nothing to go back to",
    "promotion.refused cannot be compared": "the current could not be compared with",
    "promotion.aborted": "a promotion was aborted",
    "promotion.stalled": "a promotion stalled, and was told of",
    "alias.rolled_back": "an alias was rolled back",
    "decision.made waits for hold": "a promotion waits for a hold",
    "alias.drifted": "a foreign default was recorded",
    "alias.adopted": "a foreign default was adopted",
    "alias.held policy": "an alias was held for somebody else's default",
    "alias.gone": "what an alias serves is gone, and it was told",
    "promotion.needs_approval": "people were asked for their approval",
    "promotion.refused the approval expired": "an approval expired",
    "promotion.refused ana rejected": "a person rejected a promotion",
    "promotion.refused refused: nothing waits for this": "a vote came too late, or for other evidence",
    "promotion.refused refused: nobody approves what they triggered": "who triggered it wanted to approve it",
    "decision.made waits for window": "a promotion waits for a window",
    "decision.made waits for cooldown": "a promotion waits for a cooldown",
    "decision.made waits for settle: the evidence is renewed": "a decision asked for tests of its own",
    "decision.made waits for settle: nothing new": "a decision waits until nothing new comes",
    "promotion.would_promote": "a shadow would have promoted",
    "watch.counted": "a watch run was counted",
    "watch.failed": "a watch failed",
    "timer.stuck": "a timer was called stuck",
    "job.foreign": "a job of nobody was ignored",
}
"""Which log lines, with the beginning of their reason or code, tell of a rare state."""


class Functions:
    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.dead: dict[str, str] = {}
        """The events that were acknowledged as dead, and their bytes."""

    def handle(self, task: Task, topic: Topic, lease: Lease) -> int:
        """Answer one push, as the door does behind its authentication."""
        checks = self._stage.checks
        response = push.settle(
            unwrap(self._envelope(task, topic, lease)),
            topic,
            lambda payload: self._apply(task, payload),
            lambda letter: self._park(task, letter),
        )
        told = task.facts.pop("told", [])
        checks.step(f"{task.name} answered {response.status_code} {' '.join(told)}")
        checks.handled(topic, response.status_code, told)
        letter = task.facts.pop("letter", None)
        # One that could not be kept has not died: it is delivered again, and may find that all is well by then.
        if letter is not None and response.status_code == 204:
            self.dead[letter.event_id] = letter.data
        return response.status_code

    def _envelope(self, task: Task, topic: Topic, lease: Lease) -> bytes:
        attributes = dict(lease.message.attributes)
        ident = attributes.get("ce-id", "")
        task.facts["replayed"] = "replay_of" in attributes
        mixed = self._stage.plan.two_versions and topic is Topic.TUNING_JOBS
        if mixed and self._stage.chance.fraction(f"schema {ident}") < 0.1:
            # A newer revision published it: only the newer reads it.
            attributes["schema_version"] = "1" if task.release == 2 else "2"
        data = b64encode(lease.message.data).decode()
        message = {"data": data, "attributes": attributes, "messageId": ident or lease.message_id}
        return json.dumps({"message": message, "deliveryAttempt": lease.attempt}).encode()

    def tick(self, minute: int) -> None:
        """`reconcile`, once a minute."""
        stage = self._stage
        if stage.chance.strike(("tick missed",), f"tick {minute}", stage.chance.fraction(f"tick {minute}")):
            return

        def run(task: Task) -> None:
            clock, ids, rules = stage.hands(task)
            try:
                reconcile(
                    store=stage.store,
                    bus=stage.bus,
                    providers=stage.providers,
                    clock=clock,
                    ids=ids,
                    rules_digest=rules.digest,
                    since=SINCE,
                    limits=stage.plan.limits,
                    canary=False,
                )
            except RetryableError:
                return  # The next minute is another.

        stage.start(f"tick-{minute}", run)

    def _park(self, task: Task, letter: DeadLetter) -> Outcome:
        clock, ids, _ = self._stage.hands(task)
        self._stage.checks.hit("a message was parked as dead")
        task.facts["letter"] = letter
        return park_dead_letter(letter, store=self._stage.store, clock=clock, ids=ids)

    def _apply(self, task: Task, payload: Any) -> Outcome:
        stage = self._stage
        clock, ids, rules = stage.hands(task)
        ports: dict[str, Any] = {"store": stage.store, "bus": stage.bus, "clock": clock, "ids": ids}
        match payload:
            case TuningJobHint():
                return track_tuning_job(payload, providers=stage.providers, rules_digest=rules.digest, **ports)
            case CheckpointSeen():
                return record_checkpoint(payload, rules=rules, since=SINCE, **ports)
            case SmokeTestDue():
                return run_smoke_test(
                    payload,
                    providers=stage.providers,
                    rules=rules,
                    limits=stage.plan.limits,
                    judge=_judge,
                    prices=stage.plan.prices,
                    **ports,
                )
            case DeadLetter():
                stage.checks.hit("a message was given up by the bus")
                return park_dead_letter(payload, store=stage.store, clock=clock, ids=ids)
            case PromotionDue() | Command():
                hands = Hands(
                    owner=ids.fresh(),
                    providers=stage.providers,
                    limits=stage.plan.limits,
                    rules=rules,
                    release=task.release,
                    **ports,
                )
                task.alias, task.facts["owner"] = str(payload.alias), hands.owner
                if isinstance(payload, Command):
                    return obey_command(payload, hands)
                if (stage.alias(payload.alias) or {"release": 0})["release"] > task.release:
                    stage.checks.hit("an older release stood back from what a newer one had decided")
                return enforce_promotion(payload, hands)
        raise AssertionError(payload)

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Every log line of the product, while this lasts."""
        ear = logging.Handler()
        ear.emit = lambda record: self._hear(record.getMessage(), getattr(record, "facts", {}))  # type: ignore[method-assign]
        logger = logging.getLogger("ratchet")
        level, propagate = logger.level, logger.propagate
        logger.addHandler(ear)
        logger.setLevel(logging.INFO)
        logger.propagate = False
        try:
            yield
        finally:
            logger.removeHandler(ear)
            logger.setLevel(level)
            logger.propagate = propagate

    def _hear(self, label: str, facts: Mapping[str, Any]) -> None:
        checks, task = self._stage.checks, getcurrent()
        words = f"{label} {facts.get('reason', '') or facts.get('code', '') or facts.get('actor', '')}".strip()
        checks.step(f"log {words}")
        checks.expect("I21", CANARY not in str(facts), "a completion was logged")
        for beginning, state in _HEARD.items():
            if words.startswith(beginning):
                checks.hit(state)
        if not isinstance(task, Task):
            return
        if label in ("event.settled", "event.retried", "handler.crashed"):
            task.facts.setdefault("told", []).append(label)
        if task.facts.get("replayed") and facts.get("outcome") == "recorded":
            checks.hit("a dead event was replayed, and recorded")
        if label == "handler.crashed" and facts["exception"][0] != ZeroDivisionError.__name__:
            checks.fail("I16", f"a handler crashed: {facts['exception']} at {facts['at'][-1:]}")


def _judge(case: Case, answer: Answer) -> Grade:
    return Grade(CaseOutcome.PASS) if answer.text.startswith("right") else Grade(CaseOutcome.FAIL, "equals", 0.0)
