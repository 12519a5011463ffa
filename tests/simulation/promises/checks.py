"""The promises, checked at every step: the ports tell what happens, and each file beside this one answers one question.

What must be true in the end, once the faults are over, is in `settled.py`.
"""

from collections.abc import Callable, Mapping, Sequence

from ratchet.domain.codec import format_time
from ratchet.domain.events import Event
from ratchet.domain.limits import Limits
from ratchet.ports import Commit, Key, Postpone, Write
from simulation.engine import Engine, Task
from simulation.promises import (
    aliases,
    bus,
    commits,
    dead_letters,
    decisions,
    handlings,
    history,
    provider_writes,
    records,
    smoke_tests,
)
from simulation.promises.change import Change
from simulation.promises.watch import Watch
from simulation.provider import World

_Check = Callable[[Watch, Change], None]

_BY_COLLECTION: Mapping[str, _Check] = {
    "jobs": records.job,
    "checkpoints": records.checkpoint,
    "smoke_runs": smoke_tests.run,
    "case_results": smoke_tests.case_result,
    "dead_letters": dead_letters.dead_letter,
    "decisions": decisions.decision,
    "models": aliases.model,
    "history": history.row,
}


class Checks(Watch):
    """`opened` is told of every intent: its alias, model and decision; `asked` of every ask: its alias and decision."""

    def __init__(
        self, engine: Engine, world: World, limits: Limits, opened: aliases.Opened, asked: aliases.Asked
    ) -> None:
        super().__init__(engine, world, limits)
        self._opened = opened
        self._asked = asked
        self._commits = commits.Commits(self)

    def began(self, task: Task, what: str) -> None:
        """A handler begins a call."""
        handlings.called(self, task, what)

    def died(self, what: str) -> None:
        handlings.died(self, what)

    def handled(self, topic: str, status: int, told: Sequence[str]) -> None:
        """A push was answered."""
        handlings.answered(self, topic, status, told)

    def read(self, task: Task, key: Key) -> None:
        if key.collection == "aliases":
            aliases.isolated(self, task, key)

    def committed(self, task: Task, writes: Sequence[Write], op_id: str) -> None:
        """These writes have taken effect, now and together."""
        self._commits.happened(op_id)
        batch = {write.key: write for write in writes}
        for key, write in batch.items():
            if isinstance(write, Postpone):
                self.documents[key]["next_look_at"] = format_time(write.next_look_at)
                continue
            self._commits.stands(key, op_id)
            change = Change(task, key, self.documents.get(key), dict(write.data), batch)  # type: ignore[union-attr]
            commits.written(self, change)
            if key.collection == "aliases":
                aliases.alias(self, change, self._opened, self._asked)
            elif key.collection in _BY_COLLECTION:
                _BY_COLLECTION[key.collection](self, change)
        for key, write in batch.items():
            if not isinstance(write, Postpone):
                self.documents[key] = dict(write.data)  # type: ignore[union-attr]

    def answered(
        self, writes: Sequence[Write], op_id: str, result: Commit, *, applied: bool, fault: str | None
    ) -> None:
        """The store has said what came of these writes."""
        self._commits.answered(writes, op_id, result, applied=applied, fault=fault)

    def published(self, event: Event) -> None:
        bus.published(self, event)

    def writes(self, task: Task, model: str) -> None:
        """A handler is about to write a default."""
        provider_writes.begins(self, task, model)

    def written(self, task: Task, model: str, checkpoint_id: str, before: str | None) -> None:
        """The provider has taken it."""
        provider_writes.arrived(self, task, model, checkpoint_id, before)
