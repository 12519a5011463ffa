"""I4, I5, I11, I23: jobs and checkpoints stand under their own keys, forget nothing, and move along the state graph."""

from ratchet.domain.keys import digest
from simulation.promises.change import Change
from simulation.promises.watch import Watch

_ONCE = ("key", "job", "step", "epoch", "target", "model", "base_model", "labels", "job_created_at", "recorded_at")


def job(watch: Watch, change: Change) -> None:
    before, after = change.before, change.after
    watch.expect("I4", change.key.id == digest(after["key"]), "a job under a foreign key")
    if before is None:
        return
    for name in ("key", "first_seen_at"):
        watch.expect("I5", before[name] == after[name], f"a job's {name} changed")
    for name in ("model", "created_at"):
        watch.expect("I5", before[name] in (None, after[name]), f"a job's {name} changed")
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
