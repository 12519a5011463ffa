"""The bus between the functions: it delivers late, twice, in any order, or not at all."""

from collections.abc import Callable

from ratchet.adapters.sqlite_queue import Lease
from ratchet.domain.events import Topic
from simulation.engine import START, Task
from simulation.stage import Stage

Handle = Callable[[Task, Topic, Lease], int]


class Delivery:
    """Takes from the real queue, and acknowledges or refuses as `handle` answers."""

    def __init__(self, stage: Stage, handle: Handle) -> None:
        self._stage = stage
        self._handle = handle
        self._pumping_at: float | None = None
        self._deliveries: dict[str, int] = {}
        self._running: dict[str, int] = {}
        stage.on_publish = self._wake

    def _wake(self) -> None:
        self._pump_at(self._stage.engine.now + 0.005)

    def _pump_at(self, time: float) -> None:
        if self._pumping_at is None or time < self._pumping_at:
            self._pumping_at = time
            self._stage.engine.at(time, lambda: self._pump(time))

    def _pump(self, time: float) -> None:
        """Hand out what is due, and come back when the next is."""
        if time != self._pumping_at:
            return  # An earlier one was asked for since, and has done it.
        self._pumping_at = None
        queue, now = self._stage.queue, START.timestamp() + self._stage.engine.now
        for name in queue.due(now):
            for lease in queue.lease(name, 10, now):
                self._dispatch(lease)
        following = queue.next_due()
        if following is not None:
            self._pump_at(following - START.timestamp() + 0.001)

    def _dispatch(self, lease: Lease) -> None:
        chance, engine = self._stage.chance, self._stage.engine
        ident = f"{lease.subscription.name}:{lease.message.attributes.get('ce-id', '')[:16]}"
        self._deliveries[ident] = count = self._deliveries.get(ident, 0) + 1
        name = f"{ident}#{count}"
        drawn, when = chance.pair(f"delivery {name}")
        fault = chance.strike(("lose", "duplicate", "delay", "acknowledgement lost"), name, drawn)
        # A person's command, and what is dead already, have nobody who would bring them again.
        precious = lease.subscription.topic in (Topic.COMMANDS, Topic.DEAD_LETTERS) or "poison" in ident
        if fault == "lose" and not precious:
            self._stage.checks.hit("a message was lost")
            self._stage.queue.acknowledge(lease)
            return
        delay = 60 + 2000 * when if fault == "delay" else 0.002 + 0.2 * when
        engine.at(engine.now + delay, lambda: self._deliver(name, lease, fault))
        if fault == "duplicate":
            for copy in range(1 + int(when * 4)):
                at = engine.now + delay + copy * 20 * when
                engine.at(at, lambda c=copy: self._deliver(f"{name}+{c}", lease, None))

    def _deliver(self, name: str, lease: Lease, fault: str | None) -> None:
        def run(task: Task) -> None:
            event = lease.message.attributes.get("ce-id", "")
            if self._running.get(event):
                self._stage.checks.hit("a duplicate arrived while the first was handled")
            self._running[event] = self._running.get(event, 0) + 1
            try:
                status = self._handle(task, Topic(lease.subscription.topic), lease)
            finally:
                self._running[event] -= 1
            if fault == "acknowledgement lost":
                return
            if status == 204:
                self._stage.queue.acknowledge(lease)
            else:
                self._stage.queue.refuse(lease, START.timestamp() + self._stage.engine.now)
                self._wake()

        self._stage.start(name, run)
