"""I15: what an event tells of is already recorded."""

from ratchet.domain.events import CheckpointSeen, Command, DecisionMade, Event, PromotionDue, SmokeTestDue
from ratchet.domain.keys import digest
from ratchet.domain.records import Purpose
from ratchet.ports import Key
from simulation.promises.watch import Watch


def published(watch: Watch, event: Event) -> None:
    match event.payload:
        case CheckpointSeen(checkpoint=checkpoint):
            job = watch.documents.get(Key("jobs", digest(str(checkpoint.job))))
            watch.expect("I15", bool(job) and checkpoint.id in job["checkpoint_ids"], "news of an unrecorded job")
        case SmokeTestDue(checkpoint=checkpoint, purpose=purpose, suite=suite):
            known = watch.documents.get(Key("checkpoints", digest(str(checkpoint))))
            watch.expect("I15", known is not None, "a test of a checkpoint that is not recorded")
            if known and purpose is Purpose.GATE:
                watch.expect(
                    "I15",
                    suite in {*known["open_suites"], *known["tested"]}
                    or known["state"] == "gone"
                    or bool(known["selected_under"]),
                    "a test that nobody asked for",
                )
        case DecisionMade(decision=decision):
            watch.expect("I15", Key("decisions", decision) in watch.documents, "an unrecorded decision was told")
        case PromotionDue() | Command():
            return
