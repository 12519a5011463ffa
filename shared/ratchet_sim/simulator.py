"""The simulator without its sockets: one request in, one reply out, everything remembered in the store."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qsl

from ratchet_sim import faults, webhooks
from ratchet_sim.clock import ScenarioClock
from ratchet_sim.scenario import ZERO, Fact, Scenario, StaleReadBack
from ratchet_sim.store import Store
from ratchet_sim.world import Body, Request, SetDefault, WebhookEndpoint, World, model_name, shown_at


class Simulator:
    def __init__(self, scenario: Scenario, state: Path, real: Callable[[], float] = time.time) -> None:
        self.spec = scenario.spec
        self._real = real
        clock = ScenarioClock(self.spec.clock.start, real(), self.spec.clock.factor)
        self.store = Store(state, scenario.metadata.name, clock)
        self._deliveries = webhooks.planned(self.spec)
        self._changed = threading.Event()
        self.stopping = threading.Event()

    def now(self) -> datetime:
        return self.store.clock().now(self._real())

    def _world(self) -> World:
        return World(self.spec, self.store.changes(), self.now() - self.spec.clock.start, self.store.endpoints())

    def handle(self, method: str, path: str, query: str, token: str, body: str) -> faults.Wire:
        """Answer as the provider that the path names, unless a fault has it otherwise."""
        prefix = next(prefix for prefix in faults.DOORS if path.startswith(prefix + "/"))
        door = faults.DOORS[prefix]
        with self.store.transaction():
            world = self._world()
            fault, count = faults.choose(self.spec.faults, method, path, body, world.t, self.store.hit) or (None, 0)
            do = fault.do if fault else None
            request = Request(method, path.removeprefix(prefix), dict(parse_qsl(query)), token, _parsed(body))
            reply = faults.instead(do, door.error)
            if reply is None:
                answered = door.reply(faults.asked(do, request), world)
                reply = faults.denied(do, answered, door.error)
                match reply.effect:
                    case SetDefault(model, checkpoint):
                        visible = world.t + (do.for_ if isinstance(do, StaleReadBack) else ZERO)
                        self.store.change_default(model, checkpoint, world.t, visible)
                    case WebhookEndpoint() as endpoint:
                        self.store.put_endpoint(endpoint)
            spoiled = faults.spoiled(do, reply.body, request)
            wire = faults.wire(do, type(reply)(reply.status, spoiled))
            number = self.store.log(
                at=world.instant().isoformat(), real=self._real(), method=method, path=path, query=query, body=body,
                status=0 if wire.how in ("reset", "late") else wire.status,
                fault=fault.id if fault else None, applied=int(reply.effect is not None),
            )  # fmt: skip
            if fault:
                self.store.fire(fault.id, count, world.instant(), number)
        return wire

    def clock(self) -> Body:
        clock = self.store.clock()
        start, now = clock.start.isoformat(), clock.now(self._real()).isoformat()
        return {"now": now, "start": start, "factor": clock.factor, "origin": clock.origin}

    def advance(self, seconds: float) -> Body:
        with self.store.transaction():
            self.store.set_clock(self.store.clock().advanced(seconds))
        self._changed.set()
        return self.clock()

    def set_webhook_url(self, url: str) -> None:
        with self.store.transaction():
            self.store.set_meta("webhook-url", url)
        self._changed.set()

    def requests(self, after: int = 0) -> list[Body]:
        rows = self.store.rows("SELECT * FROM requests WHERE n > ? ORDER BY n LIMIT 1000", after)
        return [row | {"body": _parsed(row["body"]), "applied": bool(row["applied"])} for row in rows]

    def state(self) -> Body:
        world, attempts = self._world(), self.store.attempts()
        defaults = {model_name(j): d for j in self.spec.jobs if j.provider == "vertex" and (d := world.default(j))}
        fired = self.store.rows("SELECT fault AS id, n, at, request FROM fired ORDER BY rowid")
        for fault in self.spec.faults:
            if isinstance(fault.do, Fact) and (since := fault.do.at or ZERO) <= world.t:
                fired.append({"id": fault.id, "n": 1, "at": world.instant(since).isoformat(), "request": None})
        return {
            "now": world.instant().isoformat(),
            "defaults": {
                name: {"checkpoint": d.checkpoint, "by": d.by, "at": world.instant(d.at).isoformat()}
                for name, d in defaults.items()
            },
            "fired": fired,
            "webhooks": [self._delivery_state(world, delivery, attempts) for delivery in self._deliveries],
            "exhausted": world.t >= self._last_moment(world) and self._due(attempts) is None,
        }

    def _delivery_state(
        self, world: World, delivery: webhooks.Delivery, attempts: dict[str, list[tuple[float, int]]]
    ) -> Body:
        mine = attempts.get(delivery.key, [])
        return {
            "id": delivery.webhook_id,
            "type": delivery.type,
            "job": delivery.job,
            "forged": delivery.forged,
            "due": world.instant(delivery.due).isoformat(),
            "attempts": [{"at": world.instant(timedelta(seconds=at)).isoformat(), "status": s} for at, s in mine],
            "done": webhooks.next_attempt(delivery, mine) is None,
        }

    def _last_moment(self, world: World) -> timedelta:
        """After this nothing happens by itself any more."""
        moments = [change.visible for change in world.changes]
        for job in self.spec.jobs:
            moments += [job.created, job.running or job.created, job.ends.at if job.ends else job.created]
            shown = [(c, shown_at(job, c)) for c in job.checkpoints]
            moments += [at + max(c.answers_after, c.endpoint_after) for c, at in shown if at is not None]
        moments += [fault.do.at for fault in self.spec.faults if isinstance(fault.do, Fact) and fault.do.at is not None]
        return max(moments, default=ZERO)

    def _due(self, attempts: dict[str, list[tuple[float, int]]]) -> tuple[timedelta, webhooks.Delivery] | None:
        """The next webhook to send. Without an address nobody has registered, so there is none."""
        if self.store.meta("webhook-url") is None:
            return None
        waiting = [(webhooks.next_attempt(d, attempts.get(d.key, [])), d) for d in self._deliveries]
        return min(((at, d) for at, d in waiting if at is not None), key=lambda pair: pair[0], default=None)

    def send_webhooks(self) -> None:
        """Send what is due until `stopping`; runs in a thread of its own."""
        while not self.stopping.is_set():
            self._changed.clear()
            due = self._due(self.store.attempts())
            wait = self.store.clock().real_seconds(due[0] - self._world().t) if due else float("inf")
            if due and due[0] <= self._world().t:
                self._send(due[1])
            else:
                self._changed.wait(min(wait, 0.5))

    def _send(self, delivery: webhooks.Delivery) -> None:
        world = self._world()
        job = next(job for job in self.spec.jobs if job.id == delivery.job)
        ended = world.instant(job.ends.at if job.ends else None)
        body, headers = webhooks.message(delivery, ended, world.instant())
        status = webhooks.post(self.store.meta("webhook-url"), body, headers)
        if not self.stopping.is_set():
            with self.store.transaction():
                self.store.attempted(delivery.key, world.t, status)

    def stop(self) -> None:
        self.stopping.set()
        self._changed.set()


def _parsed(body: str) -> object:
    try:
        return json.loads(body) if body else None
    except ValueError:
        return body
