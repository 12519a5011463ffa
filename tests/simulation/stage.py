"""What one run is played on: the engine, the world, the ports behind their faults, and the checks that watch."""

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta

from ratchet import deadline
from ratchet.adapters.sqlite_queue import SqliteQueue, Subscription
from ratchet.domain.events import Event, Topic
from ratchet.domain.keys import AliasKey, digest
from ratchet.domain.messages import Message
from ratchet.domain.rules import Rules
from ratchet.domain.topology import SUBSCRIBERS, subscription
from ratchet.ports import Key
from simulation.chance import Chance
from simulation.engine import START, Engine, Killed, NamedIds, SkewedClock, Task
from simulation.plan import POISONED, Plan, plan
from simulation.ports import Bus, Interrupted, Providers, Store, queue_time
from simulation.promises.checks import Checks
from simulation.promises.watch import Document
from simulation.provider import World

SINCE = START - timedelta(hours=1)
_INSTANCES = 3
_ROLL_OUT = 120.0
"""Seconds by which the older of two revisions comes later to edited rules."""


class Stage:
    """`on_publish`, `on_intent`, `on_ask` and `on_stuck` are called, once they are set, when that has happened."""

    def __init__(self, seed: int, only: frozenset[str] | None) -> None:
        self.chance = Chance(seed, only)
        self.plan: Plan = plan(self.chance)
        self.engine = Engine()
        self.world = World(self.plan.jobs)
        self.on_publish: Callable[[], None] = lambda: None
        self.on_intent: Callable[[AliasKey, str | None, str], None] = lambda *_: None
        self.on_ask: Callable[[AliasKey, str], None] = lambda *_: None
        self.on_stuck: Callable[[str], None] = lambda _: None
        self.checks = Checks(
            self.engine,
            self.world,
            self.plan.limits,
            lambda *told: self.on_intent(*told),
            lambda *told: self.on_ask(*told),
        )
        for rules in (self.plan.rules, self.plan.edited):
            self.checks.policies |= {policy.digest: policy for policy in (rules.policies if rules else ())}
            self.checks.suites |= {suite.digest: suite for suite in (rules.suites.values() if rules else ())}
        at = Interrupted(self.engine, self.chance, self.checks, lambda name: self.on_stuck(name))
        for what, start, end in self.plan.outages:
            at.outages.setdefault(what, []).append((start, end))
        self.store = Store(at)
        self.queue = SqliteQueue(":memory:", list(self._subscriptions()), queue_time(self.engine))
        self.bus = Bus(at, self.queue, lambda: self.on_publish())
        self.mended = False
        """Whether the bug that one poisoned job brings out has been mended."""
        self.providers = Providers(at, self.world, lambda job: job == POISONED and not self.mended)

    def _subscriptions(self) -> Iterator[Subscription]:
        for topic in SUBSCRIBERS:
            yield Subscription(subscription(topic), topic, max_attempts=self.plan.attempts)

    def start(self, name: str, run: Callable[[Task], None]) -> None:
        """Run it as a task of one of the instances, which have their own clocks and, in a roll-out, their own code."""
        instance = int(self.chance.fraction(f"instance {name}") * _INSTANCES)
        release = 1 + int(self.plan.two_versions and instance > 0)
        box: list[Task] = []

        def body() -> None:
            task = box[0]
            task.began = self.engine.now
            try:
                with deadline.within(self.plan.limits.budget, lambda: self.engine.now - task.suspended):
                    run(task)
            except Killed:
                task.killed = True

        box.append(self.engine.start(name, self.plan.skew * (instance - 1), release, body))
        box[0].facts["newer"] = release == 2

    def hands(self, task: Task) -> tuple[SkewedClock, NamedIds, Rules]:
        """A task's own clock and ids, and the rules that its revision knows by now."""
        edited, delay = self.plan.edited, 0.0 if task.release == 2 else _ROLL_OUT
        in_force = edited if edited and self.engine.now >= self.plan.edited_at + delay else self.plan.rules
        return SkewedClock(self.engine, task.skew), NamedIds(task.name, self.chance.fraction), in_force

    def accept(self, event: Event) -> None:
        """A door has taken it."""
        self.queue.publish(event)
        self.on_publish()

    def forward(self, topic: Topic, data: bytes, attributes: Mapping[str, str]) -> None:
        """Raw bytes, as somebody sends them."""
        self.queue.send(topic, Message(data, attributes))
        self.on_publish()

    def alias(self, key: AliasKey) -> Document | None:
        return self.checks.documents.get(Key("aliases", digest(str(key))))
