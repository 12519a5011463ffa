"""I8, I9, I10, I12, I22: an alias and a model's recorded default move by intents alone, one at a time, and forward.

Or after somebody else, where the policy says so: then the provider shows what the alias follows.
"""

from collections.abc import Callable
from datetime import timedelta

from ratchet.domain.codec import encode, parse_time
from ratchet.domain.keys import ALL_ALIASES, AliasKey, CheckpointKey, digest
from ratchet.domain.records import Alias
from ratchet.ports import Key
from simulation.engine import Task
from simulation.promises import history
from simulation.promises.change import Change
from simulation.promises.watch import HOLD_OF_ALL, Document, Watch

Opened = Callable[[AliasKey, str | None, str], None]
"""Is told of every intent: its alias, model and decision."""
Asked = Callable[[AliasKey, str], None]
"""Is told of every promotion that people are asked about: its alias and decision."""
_SHOWN_LATE = 360.0
"""Seconds for which a reply of the provider's, or its reader, may be behind."""


def alias(watch: Watch, change: Change, opened: Opened, asked: Asked) -> None:
    after = change.after
    isolated(watch, change.task, change.key)
    watch.expect("I4", change.key.id == digest(after["key"]), "an alias under a foreign key")
    was: Document = change.before or encode(Alias(key=AliasKey.parse(after["key"])))
    row = history.told(watch, change, was)
    if row is None:
        return
    if was["policy_digest"] not in (None, "", after["policy_digest"]):
        watch.hit("an alias was decided under edited rules")
    _moved(watch, change.task, was, after, row)
    _intent(watch, change, was, row, opened)
    if change.key == HOLD_OF_ALL and not (was["hold"] and after["hold"]):
        watch.held_at = watch.now
    if after["hold"] and after["hold"] != was["hold"] and "roll-backs within" in after["hold"]["reason"]:
        watch.hit("the breaker held an alias")
    known = {ask["decision"] for ask in was["approvals"]}
    for ask in after["approvals"]:
        if ask["decision"] not in known:
            asked(AliasKey.parse(after["key"]), ask["decision"])


def isolated(watch: Watch, task: Task, key: Key) -> None:
    """I22: an event for one alias touches no other."""
    if task.alias is not None:
        served = AliasKey.parse(task.alias).served
        allowed = {digest(task.alias), digest(str(served)), digest(str(ALL_ALIASES))}
        watch.expect("I22", key.id in allowed, f"an event for {task.alias} touched another alias")


def model(watch: Watch, change: Change) -> None:
    before, after = change.before, change.after
    if before is None:
        return
    owners = (before["owner"], after["owner"])
    watch.expect("I9", None in owners or owners[0] == owners[1], f"a model went from {owners[0]} to {owners[1]}")
    if before["default"] != after["default"]:
        kinds = [row["kind"] for row in change.rows(after["owner"])]
        known = "applied" in kinds or "command.adopt" in kinds
        watch.expect("I8", known, "a recorded default changed without a move")


def _moved(watch: Watch, task: Task, was: Document, after: Document, row: Document) -> None:
    applied, adopted = row["kind"] == "applied", row["kind"] == "command.adopt"
    rises = after["serial"] - was["serial"] == int(applied or adopted)
    watch.expect("I10", rises, f"serial {was['serial']} -> {after['serial']}")
    watch.expect("I10", after["fence"] >= was["fence"], "a fence fell")
    if adopted:
        _followed(watch, after)
        return
    if not applied:
        watch.expect("I8", after["current"] == was["current"], f"{row['kind']} moved the alias")
        return
    intent = was["intent"]
    assert intent is not None
    decision = watch.documents[Key("decisions", intent["decision"])]
    to = after["current"]["checkpoint"]
    allowed = decision["outcome"] in ("promoted", "rolledBack") and decision["candidate"] == to
    watch.expect("I8", allowed and intent["to"]["checkpoint"] == to, "the alias moved to what nobody decided")
    watch.expect("I8", intent["direction"] == "forward", "an intent that was turned back was applied")
    if intent["model"] is not None:
        shown = task.facts.get("shown")
        watch.expect("I12", shown == CheckpointKey.parse(to).id, "applied without having read the default back")
    if task.facts.get("conflicted"):
        watch.hit("applied after a lost race")


def _followed(watch: Watch, after: Document) -> None:
    """I13: an alias follows nobody but who did set the default."""
    current = after["current"]
    now, to = watch.engine.now, CheckpointKey.parse(current["checkpoint"]).id
    changes = watch.world.defaults[current["model"]].changes
    shown = {
        value
        for n, (_, value, _) in enumerate(changes)
        if n + 1 == len(changes) or changes[n + 1][0] >= now - _SHOWN_LATE
    }
    watch.expect("I13", to in shown, f"{to} was adopted, and nobody had set it")


def _intent(watch: Watch, change: Change, was: Document, row: Document, opened: Opened) -> None:
    task, after = change.task, change.after
    old, new = was["intent"], after["intent"]
    if new and new["lease"]["owner"] == task.facts.get("owner"):
        task.facts["holds"] = new["decision"]
    if old and new:
        watch.expect("I9", old["decision"] == new["decision"], "an intent was replaced by another")
        if new["direction"] == "restore":
            watch.hit("a default was being restored")
        if row["kind"] == "intent.taken-over":
            over = parse_time(old["lease"]["until"]) <= watch.now + timedelta(seconds=max(task.skew, 0.0))
            watch.expect("I9", over, "an intent was taken over while its lease was live")
            watch.hit("an intent was taken over")
        if row["kind"] == "intent.aborting":
            watch.hit("an intent was turned back")
    if new and not old:
        decided = Key("decisions", new["decision"])
        watch.expect("I8", decided in change.batch or decided in watch.documents, "an intent without a decision")
        others = [
            document["key"]
            for key, document in watch.documents.items()
            if key.collection == "aliases" and document["key"] != after["key"] and document["intent"]
            if new["model"] is not None and document["intent"]["model"] == new["model"]
        ]
        watch.expect("I9", not others, f"two aliases write one model's default: {others}")
        if new["not_before"] is not None:
            watch.hit("a write waits until a model is quiet")
        opened(AliasKey.parse(after["key"]), new["model"], new["decision"])
