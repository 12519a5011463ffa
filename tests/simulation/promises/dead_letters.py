"""I16: a dead letter keeps what arrived, and counts each death and each replay once."""

from base64 import b64decode
from collections.abc import Mapping

from ratchet.ports import Key
from simulation.promises.change import Change
from simulation.promises.watch import Document, Watch


def dead_letter(watch: Watch, change: Change) -> None:
    before, after = change.before, change.after
    if before is None:
        watch.expect("I16", (after["attempts"], after["replays"]) == (1, 0), "a dead letter began with a past")
        return
    kept = all(after[name] == before[name] for name in ("event_id", "topic", "attributes", "data"))
    watch.expect("I16", kept, "a dead letter's bytes, attributes or topic changed")
    died, replayed = (after[name] - before[name] for name in ("attempts", "replays"))
    watch.expect("I16", (died, replayed) in ((1, 0), (0, 1)), "a dead letter's row counted wrong")
    if died:
        watch.expect("I16", after["replayed_at"] is None, "a second death does not show")
        if before["replays"]:
            watch.hit("a replayed event died again")


def tells_of(documents: Mapping[Key, Document], job: str) -> bool:
    """Whether a dead letter names this job."""
    letters = [document for key, document in documents.items() if key.collection == "dead_letters"]
    return any(job in b64decode(letter["data"]).decode(errors="replace") for letter in letters)
