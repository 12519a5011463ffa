"""I12, I19, I24: a default is written by who holds the intent, in time, having looked, and not while all is held."""

from datetime import timedelta

from ratchet.domain.codec import parse_time
from ratchet.domain.keys import CheckpointKey, digest
from ratchet.ports import Key
from simulation.engine import Task
from simulation.promises.watch import HOLD_OF_ALL, Watch


def begins(watch: Watch, task: Task, model: str) -> None:
    """A handler is about to write a default."""
    watch.expect("I12", "shown" in task.facts, "a default was written unseen")
    if "shown" in task.facts:
        del task.facts["shown"]
    alias = watch.writer(model)
    if alias is None:
        watch.fail("I12", "a default was written without an open intent")
        return
    lease = alias["intent"]["lease"]
    held = alias["intent"]["decision"] == task.facts.get("holds")
    watch.expect("I12", held, "a default was written by one who never held the intent")
    if lease["owner"] == task.facts.get("owner"):
        ends = parse_time(lease["until"]) + timedelta(seconds=watch.limits.skew)
        in_time = watch.now + timedelta(seconds=watch.limits.provider_timeout) < ends
        watch.expect("I19", in_time, "a write started too near to the end of its lease")
    all_ = watch.documents.get(HOLD_OF_ALL)
    by_person = alias["intent"]["roll_back"] and not alias["intent"]["by_policy"]
    if all_ and all_["hold"] and not by_person and alias["intent"]["direction"] != "back":
        late = watch.now - watch.held_at
        limit = timedelta(seconds=watch.limits.provider_timeout + watch.limits.skew)
        watch.expect("I24", late <= limit, f"a write started {late} after the hold of all")


def arrived(watch: Watch, task: Task, model: str, checkpoint_id: str, before: str | None) -> None:
    """The provider has taken it."""
    alias = watch.writer(model)
    recorded = watch.documents.get(Key("models", digest(model)))
    if alias is None or alias["intent"]["lease"]["owner"] != task.facts.get("owner"):
        watch.hit("a write by one who had lost the lease arrived")
    wanted = {recorded["default"]} if recorded else set()
    if alias is not None:
        intent = alias["intent"]
        to = CheckpointKey.parse(intent["to"]["checkpoint"]).id
        wanted.add(to if intent["direction"] != "back" else intent["default_before"])
        if intent["direction"] == "back" and checkpoint_id == to != intent["default_before"]:
            # Of one who was about to write when it was turned back: who writes back waits for as long as that may take.
            skew = timedelta(seconds=watch.limits.skew)
            in_time = intent["not_before"] is not None and watch.now <= parse_time(intent["not_before"]) + skew
            watch.expect("I12", in_time, "a promotion that was turned back was written late")
            watch.hit("a promotion was turned back while its write was on its way")
            wanted.add(to)
    known = checkpoint_id in wanted
    watch.expect("I12", known, f"{checkpoint_id} was written, wanted is {sorted(map(str, wanted))}")
    if alias is not None and before not in (checkpoint_id, alias["intent"]["default_before"]):
        watch.hit("somebody else changed the default during an intent")
