"""Where messages die: the real queue in the store's file, pushed through the real door to the application."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ratchet.adapters.sqlite_queue import Lease, SqliteQueue, Subscription
from ratchet.application.park_dead_letter import park_dead_letter
from ratchet.application.state import load_keyed
from ratchet.domain.events import DeadLetter, Event, Topic, TuningJobHint
from ratchet.domain.keys import JobKey
from ratchet.domain.messages import Message, message_of
from ratchet.domain.outcomes import Outcome
from ratchet.domain.records import DeadLetterRecord
from ratchet.domain.topology import SUBSCRIBERS, subscription
from ratchet.ports import PermanentError, StoreUnavailable
from ratchet.runtime import push
from ratchet.runtime.envelope import unwrap
from ratchet_cli.delivery import envelope
from support.cli import Home
from support.world import World


@dataclass
class Yard:
    """`bug`: what the code of the day does wrong with every message, until somebody mends it.

    Without `handlers_park`, only what the bus gives up on is parked: the handlers find no store for it.
    """

    home: Home
    bug: Exception | None = field(default_factory=lambda: PermanentError("not_ours"))
    max_attempts: int = 2
    handlers_park: bool = True
    world: World = field(init=False)
    queue: SqliteQueue = field(init=False)

    def __post_init__(self) -> None:
        self.world = self.home.world()
        self.queue = SqliteQueue(
            self.home.database,
            [Subscription(subscription(t), t, self.max_attempts, min_backoff=0, max_backoff=0) for t in SUBSCRIBERS],
        )

    def hint(self, job: JobKey, id_: str = "hint-1") -> Message:
        event = Event(
            topic=Topic.TUNING_JOBS, id=id_, source="reconcile", payload=TuningJobHint(job=job, reason="test")
        )
        message = message_of(event, datetime.now(UTC), None)
        self.queue.send(Topic.TUNING_JOBS, message)
        return message

    def deliver(self) -> list[tuple[Topic, Message]]:
        """Everything that is due, until nothing is; what was delivered to somebody else than the parker."""
        delivered = []
        while names := self.queue.due(time.time()):
            for name in names:
                for lease in self.queue.lease(name, 10, time.time()):
                    topic = Topic(lease.subscription.topic)
                    if topic is not Topic.DEAD_LETTERS:
                        delivered.append((topic, lease.message))
                    self._answer(topic, lease)
        return delivered

    def row(self, event_id: str) -> DeadLetterRecord:
        found = load_keyed(self.world.store, DeadLetterRecord, event_id)
        assert found is not None, event_id
        return found.value

    def park(self, event_id: str, topic: str, data: str, reason: str, **attributes: str) -> None:
        self._park(DeadLetter(event_id=event_id, topic=topic, attributes=attributes, data=data, reason=reason))

    def run(self, *arguments: str) -> tuple[int, str]:
        """`ratchet dead-letters …`: its exit status, and all that it says."""
        result = self.home.run("dead-letters", *arguments)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result.exit_code, result.output

    def _answer(self, topic: Topic, lease: Lease) -> None:
        answer = push.settle(unwrap(envelope(lease)), topic, self._handle, self._park_at_once)
        if answer.status_code == 204:
            self.queue.acknowledge(lease)
        else:
            self.queue.refuse(lease, time.time())

    def _handle(self, payload: Any) -> Outcome:
        if isinstance(payload, DeadLetter):
            return self._park(payload)
        if self.bug is not None:
            raise self.bug
        outcome = self.world.deliver_payload(payload)
        assert outcome is not None
        return outcome

    def _park_at_once(self, letter: DeadLetter) -> Outcome:
        if not self.handlers_park:
            raise StoreUnavailable
        return self._park(letter)

    def _park(self, letter: DeadLetter) -> Outcome:
        return park_dead_letter(letter, store=self.world.store, clock=self.world.clock, ids=self.world.ids)


def bare(attributes: Mapping[str, str]) -> dict[str, str]:
    """Without what the bus adds to what it gives up."""
    return {name: value for name, value in attributes.items() if not name.startswith("CloudPubSub")}
