"""One document of a commit that has taken effect, as the checks of its collection see it."""

from collections.abc import Mapping
from dataclasses import dataclass

from ratchet.ports import Key, Write
from simulation.engine import Task
from simulation.promises.watch import Document


@dataclass(frozen=True, slots=True)
class Change:
    """`before` is None where the document is new; `batch`: all that was written together with it."""

    task: Task
    key: Key
    before: Document | None
    after: Document
    batch: Mapping[Key, Write]

    def rows(self, alias: str | None) -> list[Document]:
        """The history rows of this alias in the same commit."""
        return [
            write.data  # type: ignore[union-attr]
            for key, write in self.batch.items()
            if key.collection == "history" and write.data["alias"] == alias  # type: ignore[union-attr]
        ]
