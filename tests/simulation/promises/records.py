"""I4, I5, I11, I16, I23: jobs and checkpoints have a record each, that forgets nothing and keeps to the states."""

from datetime import timedelta

from ratchet.domain.codec import parse_time
from ratchet.domain.keys import digest
from simulation.promises.change import Change
from simulation.promises.dead_letters import tells_of
from simulation.promises.watch import Watch

_RECHECKS = 3
_LOOKED_FOR = timedelta(hours=1, seconds=-30)
"""So often, and within that time (clocks differ), a job that its provider does not know is looked for again."""
_ONCE = ("key", "job", "step", "epoch", "target", "model", "base_model", "labels", "job_created_at", "recorded_at")
_TOLD = ("name", "labels", "datasets")
"""What a job says of itself, whenever it does: the first stays."""


def job(watch: Watch, change: Change) -> None:
    before, after = change.before, change.after
    watch.expect("I4", change.key.id == digest(after["key"]), "a job under a foreign key")
    if after["rechecks"] >= _RECHECKS > (before or {"rechecks": 0})["rechecks"]:
        told = tells_of(watch.documents, after["key"])
        watch.expect("I16", told, "a job was marked as dead before any letter tells of it")
        waited = watch.now - parse_time(after["first_seen_at"])
        watch.expect("row 28", waited >= _LOOKED_FOR, f"a job was given up after {waited}")
        watch.hit("a job that its provider does not know was given up")
    if before is None:
        return
    for name in ("key", "first_seen_at"):
        watch.expect("I5", before[name] == after[name], f"a job's {name} changed")
    for name in ("model", "created_at", *_TOLD, "started_by", "triggered_by"):
        watch.expect("I5", not before[name] or before[name] == after[name], f"a job's {name} changed")
    watch.expect("I5", set(before["checkpoint_ids"]) <= set(after["checkpoint_ids"]), "a job forgot a checkpoint")
    watch.expect("I5", before["state"] == after["state"] or after["state"] != "unknown", "a known job unknown again")
    if (before["state"], after["state"]) == ("succeeded", "failed"):
        watch.hit("a job flipped from succeeded to failed")


def checkpoint(watch: Watch, change: Change) -> None:
    before, after = change.before, change.after
    watch.expect("I4", change.key.id == digest(after["key"]), "a checkpoint under a foreign key")
    open_still = after["open_suites"] and after["state"] == "ready" and not after["unlisted_since"]
    watch.expect("I11", not open_still or after["next_look_at"] is not None, "an untested checkpoint without timer")
    if before is None:
        return
    for name in _ONCE:
        watch.expect("I5", before[name] in (None, after[name]), f"a checkpoint's {name} changed")
    for name in _TOLD:
        watch.expect("I5", not before[name] or before[name] == after[name], f"a checkpoint's {name} changed")
    for name, measure in before["metrics"].items():
        watch.expect("I5", after["metrics"].get(name) == measure, f"the metric {name} changed")
    for name in ("tested", "decided"):
        watch.expect("I5", set(before[name]) <= set(after[name]), f"a checkpoint's {name} shrank")
    known = [tuple(sorted(conflict.items())) for conflict in after["conflicts"]]
    kept = all(tuple(sorted(conflict.items())) in known for conflict in before["conflicts"])
    watch.expect("I5", kept, "a conflict was forgotten")
    if len(after["conflicts"]) > len(before["conflicts"]):
        watch.hit("a conflicting later value was kept apart")
    if (before["state"], after["state"]) == ("ready", "gone"):
        watch.hit("a checkpoint is gone")
        wanted = watch.checkpoint(after["key"])
        vanished = wanted is None or not wanted[1].listed(watch.engine.now)
        watch.expect("I23", vanished, "a checkpoint that is listed was called gone")
    if before["state"] == "gone" and after["state"] != "gone":
        watch.hit("a checkpoint that was gone is listed again")
        watch.expect("I5", after["unlisted_since"] is None, "a checkpoint came back without being listed")
