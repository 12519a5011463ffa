"""I4, I25, and what the store may answer: a commit that stands is told of as such, and no other is."""

from collections.abc import Sequence

from ratchet.ports import Commit, Create, Key, Write
from simulation.promises.change import Change
from simulation.promises.watch import LATER, Watch


def written(watch: Watch, change: Change) -> None:
    """Any document: made once, from nothing, and without loss of what a newer version wrote."""
    key, before = change.key, change.before
    created = isinstance(change.batch[key], Create)
    watch.expect("I4", (before is None) == created, f"{key} created over, or from nothing")
    if before is not None and LATER in before:
        watch.expect("I25", LATER in change.after, f"{key.collection}: a field of the newer version was dropped")


class Commits:
    """Which commits have happened, and whose write stands last in each document."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._happened: set[str] = set()
        self._last: dict[Key, str] = {}

    def happened(self, op_id: str) -> None:
        self._happened.add(op_id)

    def stands(self, key: Key, op_id: str) -> None:
        self._last[key] = op_id

    def answered(
        self, writes: Sequence[Write], op_id: str, result: Commit, *, applied: bool, fault: str | None
    ) -> None:
        watch = self._watch
        if result is Commit.COMMITTED:
            watch.expect("store", op_id in self._happened, "a commit that never happened was reported")
            if fault == "ambiguous after" and applied:
                watch.hit("an ambiguous commit recognised as one's own")
            return
        mine = any(self._last.get(write.key) == op_id for write in writes)
        watch.expect("store", not mine, "a commit that happened, and stands, was reported as lost")
        collections = {write.key.collection for write in writes}
        if collections == {"jobs"} and any(isinstance(write, Create) for write in writes):
            watch.hit("two hints made the same record, and one lost")
        if "aliases" in collections:
            watch.hit("a race for an alias was lost, and decided again")
