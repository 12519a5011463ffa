"""Who acts from outside: senders of hints, an operator, somebody at the provider's own console, applications."""

from dataclasses import replace

from ratchet.application.replay_dead_letter import replay_dead_letter
from ratchet.application.resolve_alias import resolve_alias
from ratchet.application.state import load_keyed
from ratchet.domain.events import Command, Event, Topic, TuningJobHint, Verb
from ratchet.domain.keys import ALL_ALIASES, AliasKey, CheckpointKey, digest
from ratchet.domain.records import DeadLetterRecord
from ratchet.ports import Key, NotFound, Refused, RetryableError, StoreUnavailable
from ratchet.runtime.replay import NotReplayable, revive
from simulation.engine import Task
from simulation.plan import BETA, CANARY, FAULTS_END, PROD
from simulation.promises.watch import Document
from simulation.stage import Stage

_FROM_DOOR = {"ce-source": "//ratchet/receive_webhook", "ce-type": "ratchet.TuningJobHint", "schema_version": "1"}
_UNREADABLE = "poison-1"
_ROUNDS = 8
"""How often a person looks for what is held once the faults are over."""
_REPLAY_EVERY = 600.0
"""Seconds after which an operator, while everything fails, looks for what is dead and tries it again."""


class People:
    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._seen: dict[AliasKey, int] = {}
        self.commands: list[Command] = []
        stage.on_intent = self._meddle
        stage.on_ask = self._asked
        stage.on_stuck = self._brake

    def plan(self) -> None:
        """Put what they will do into the calendar."""
        at, planned = self._stage.engine.at, self._stage.plan
        for number, (time, job) in enumerate(planned.hints):
            hint = TuningJobHint(job=job, reason="announced")
            event = Event(topic=Topic.TUNING_JOBS, id=f"hint-{number}", source="receive_webhook", payload=hint)
            at(time, lambda event=event: self._stage.accept(event))
        for number, order in enumerate(planned.orders):
            self._order(order.at, f"order-{number}", order.verb, order.alias, order.checkpoint, force=order.force)
        for time, model, checkpoint in planned.console:
            at(time, lambda model=model, checkpoint=checkpoint: self._console(model, checkpoint))
        for number in range(int(FAULTS_END // 300)):
            at(300.0 * number + 7, lambda number=number: self._ask(number))
        for number in range(1, int(FAULTS_END // _REPLAY_EVERY) + 1):
            at(_REPLAY_EVERY * number + 11, self._replay)
        if self._stage.chance.happens("poison", "bytes", 0.2):
            unreadable = {"ce-id": _UNREADABLE, **_FROM_DOOR}
            at(700, lambda: self._stage.forward(Topic.TUNING_JOBS, b"{", unreadable))

    def mend(self) -> None:
        """The faults have ended: a person looks at what is left, releases what is held, and replays what is dead."""
        now = self._stage.engine.now
        for number in range(_ROUNDS):
            self._stage.engine.at(now + 60 + 900 * number, lambda number=number: self._release(number))
        for delay in (120, 1200):
            self._stage.engine.at(now + delay, lambda: self._replay(again=True))

    def _release(self, number: int) -> None:
        """Whatever is held, also what a watch or a late drift has held since."""
        for key, document in self._stage.checks.documents.items():
            if key.collection == "aliases" and document["hold"]:
                alias = AliasKey.parse(document["key"])
                self._order(self._stage.engine.now, f"release-{alias}-{number}", Verb.RELEASE, alias)

    def _replay(self, *, again: bool = False) -> None:
        """What is dead, or with `again` whatever ever was: one after the other, as the command does it."""
        rows = [row for key, row in self._stage.checks.documents.items() if key.collection == "dead_letters"]
        wanted = [row["event_id"] for row in rows if again or row["replayed_at"] is None]

        def replay(task: Task) -> None:
            for event_id in wanted:
                try:
                    self._replay_one(task, event_id)
                except NotReplayable:
                    self._stage.checks.hit("a dead event was refused a replay")
                except RetryableError:
                    self._stage.checks.hit("a replay failed half way")

        if wanted:
            self._stage.start(f"replay-{self._stage.engine.now:.0f}", replay)

    def _replay_one(self, task: Task, event_id: str) -> None:
        stage, (clock, ids, _) = self._stage, self._stage.hands(task)
        stored = load_keyed(stage.store, DeadLetterRecord, event_id)
        assert stored is not None
        topic, message = revive(stored.value, clock.now())
        stage.checks.hit("a dead event was replayed")
        row = replay_dead_letter(
            stored, topic, message, actor="local:ana", bus=stage.bus, store=stage.store, clock=clock, ids=ids
        )
        if row.died_again:
            stage.checks.hit("a replay died before it was marked")

    def _order(
        self,
        time: float,
        ident: str,
        verb: Verb,
        alias: AliasKey,
        checkpoint: CheckpointKey | None = None,
        *,
        force: bool = False,
        decision: str | None = None,
        actor: str = "ana",
    ) -> None:
        def send() -> None:
            self._send(
                Command(
                    id=ident,
                    verb=verb,
                    alias=alias,
                    reason="simulated",
                    actor=actor,
                    actor_verified=True,
                    issued_at=self._stage.engine.moment(),
                    expires_at=self._stage.engine.moment(600),
                    checkpoint=checkpoint,
                    decision=decision,
                    force=force,
                )
            )

        self._stage.engine.at(time, send)

    def _send(self, command: Command) -> None:
        document = self._stage.alias(command.alias)
        if document and document["intent"] and command.verb in (Verb.HOLD, Verb.ROLL_BACK):
            self._stage.checks.hit(f"a {command.verb} was asked for during a change")
            if command.verb is Verb.ROLL_BACK and self._stage.chance.happens("ends", command.id, 0.6):
                command = replace(command, decision=document["intent"]["decision"])
        self.commands.append(command)
        self._stage.accept(Event(topic=Topic.COMMANDS, id=command.id, source="receive_command", payload=command))

    def _brake(self, name: str) -> None:
        """A promotion hangs, and somebody stops everything."""
        chance, now = self._stage.chance, self._stage.engine.now
        if chance.calm or not chance.happens("brake", name, 0.4):
            return
        at, ident = now + chance.between(f"brake {name} at", 0, 60), digest(name)[:8]
        self._order(at, f"brake-{ident}", Verb.HOLD, ALL_ALIASES)
        until = at + chance.between(f"brake {name} lasts", 60, 600)
        self._order(until, f"unbrake-{ident}", Verb.RELEASE, ALL_ALIASES)

    def _meddle(self, alias: AliasKey, model: str | None, decision: str) -> None:
        """Somebody acts just while a change is under way, or regrets it soon after."""
        chance, name = self._stage.chance, decision[:8]
        if chance.calm or not chance.happens("meddle", name, 0.25):
            return
        at = self._stage.engine.now + chance.between(f"meddle {name} at", 0, 2.5) ** 4
        until = at + chance.between(f"meddle {name} lasts", 60, 600)
        match chance.pick(f"meddle {name} how", ("hold", "hold all", "roll back", "regret", "console", "console")):
            case "console" if model is not None:
                job = next(job for job in self._stage.plan.jobs if job.model == model)
                to = chance.pick(f"meddle {name} to", job.checkpoints).id
                self._stage.engine.at(at, lambda: self._console(model, to))
            case "hold" | "hold all" as how:
                held = alias if how == "hold" else ALL_ALIASES
                self._order(at, f"meddle-{name}", Verb.HOLD, held)
                self._order(until, f"release-{name}", Verb.RELEASE, held)
            case "roll back" | "regret" as how:
                later = 120 if how == "regret" else 0
                self._order(at + later, f"meddle-{name}", Verb.ROLL_BACK, alias)
                self._order(until + later, f"release-{name}", Verb.RELEASE, alias)

    def _asked(self, alias: AliasKey, decision: str) -> None:
        """Some agree, one refuses, who triggered it tries, some come too late; and many never answer."""
        chance, now, name = self._stage.chance, self._stage.engine.now, f"{alias} {decision[:8]}"
        if chance.calm:
            return
        way = chance.pick(f"ask {name}", ("agree", "agree", "agree", "refuse", "late", "silent"))
        if way == "silent":
            return
        at = now + chance.between(f"ask {name} at", 5, 400) + (1200 if way == "late" else 0)
        for number, actor in enumerate(("tom", "ana", "bob", "eve")):
            verb = Verb.REJECT if way == "refuse" and actor == "ana" else Verb.APPROVE
            if chance.fraction(f"ask {name} {actor}") < 0.75:
                ident = f"vote-{digest(name)[:8]}-{actor}"
                self._order(at + 7 * number, ident, verb, alias, decision=decision, actor=actor)

    def _console(self, model: str, checkpoint: str) -> None:
        """Somebody sets a default by hand, where there is anything to set."""
        ours: Document | None = self._stage.checks.documents.get(Key("models", digest(model)))
        if ours and ours["default"] not in (None, checkpoint):
            self._stage.checks.hit("somebody else changed a default that is ours")
        try:
            self._stage.world.set_default(model, checkpoint, self._stage.engine.now, "console")
        except (NotFound, Refused):
            return

    def _ask(self, number: int) -> None:
        """An application asks what serves."""
        alias = self._stage.chance.pick(f"ask {number}", (PROD, CANARY, BETA))

        def ask(task: Task) -> None:
            try:
                found = resolve_alias(alias, store=self._stage.store)
            except StoreUnavailable:
                return
            serial, seen = found.serial if found else 0, self._seen.get(alias, 0)
            older = serial < seen and "thawed" not in task.facts
            self._stage.checks.expect("I10", not older, "an application saw an older serial")
            self._seen[alias] = max(serial, seen)
            document = self._stage.alias(alias)
            if document and document["intent"]:
                self._stage.checks.hit("an application asked during a change")

        self._stage.start(f"ask-{number}", ask)
