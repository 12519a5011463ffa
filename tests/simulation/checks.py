"""The promises, checked at every step: what may be committed, published and written at the provider, and by whom.

The checks read raw documents and the provider's truth, and decide by themselves; of the product they use its keys, its
hash and its clock format alone. A violation names the promise (reliability, section 1).
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from hashlib import blake2b
from typing import Any

from ratchet.domain.alias import row_hash
from ratchet.domain.codec import decode, encode, format_time, parse_time
from ratchet.domain.events import CheckpointSeen, Command, DecisionMade, Event, PromotionDue, SmokeTestDue
from ratchet.domain.keys import ALL_ALIASES, AliasKey, CheckpointKey, digest
from ratchet.domain.limits import Limits
from ratchet.domain.records import Alias, HistoryRow, Purpose
from ratchet.ports import Commit, Create, Key, Postpone, Write
from simulation.engine import START, Engine, Task
from simulation.provider import World

CASES = 4
NEEDED = 3
"""Cases that a checkpoint must pass; every policy of the simulation asks for this rate."""
LATER = "added_later"
"""A field that only the newer of two code versions writes."""

_TIMERS = frozenset({"next_look_at", "head", LATER})
_ONCE = ("key", "job", "step", "epoch", "target", "model", "base_model", "labels", "job_created_at", "recorded_at")

Document = Mapping[str, Any]


class Checks:
    """`opened` is told of every intent: its alias, model and decision."""

    def __init__(
        self, engine: Engine, world: World, limits: Limits, opened: Callable[[AliasKey, str | None, str], None]
    ) -> None:
        self.engine = engine
        self.world = world
        self.limits = limits
        self._opened = opened
        self.documents: dict[Key, dict[str, Any]] = {}
        self.policies: dict[str, Any] = {}
        self.violation: str | None = None
        self.hits: Counter[str] = Counter()
        self.trace: list[str] | None = None
        self.steps = 0
        self._hash = blake2b(digest_size=8)
        self._operations: dict[str, set[Key]] = {}
        self._last: dict[Key, str] = {}

    # What is told ----------------------------------------------------------------------------------------------------

    def began(self, task: Task, what: str) -> None:
        """A handler begins a call."""
        late = self.engine.now - task.suspended - task.began - self.limits.budget
        self.expect("I19", late <= 0, f"{what} began {late:.0f} s after the time of its event")
        if task.facts.get("thawed"):
            self.hit("a handler that had been frozen went on in time")

    def step(self, words: str) -> None:
        self.steps += 1
        line = f"{self.engine.now:10.3f} {words}"
        self._hash.update(line.encode())
        if self.trace is not None:
            self.trace.append(line)

    @property
    def hash(self) -> str:
        return self._hash.hexdigest()

    def hit(self, state: str) -> None:
        """A rare state was reached."""
        self.hits[state] += 1

    def fail(self, promise: str, words: str) -> None:
        if self.violation is None:
            self.violation = f"{promise}: {words}"
            self.step(f"VIOLATION {promise}: {words}")

    def expect(self, promise: str, holds: bool, words: str) -> None:
        if not holds:
            self.fail(promise, words)

    # The store -------------------------------------------------------------------------------------------------------

    def read(self, task: Task, key: Key) -> None:
        if key.collection == "aliases":
            self._isolated(task, key)

    def committed(self, task: Task, writes: Sequence[Write], op_id: str) -> None:
        """These writes have taken effect, now and together."""
        self._operations[op_id] = {write.key for write in writes}
        batch = {write.key: write for write in writes}
        for key, write in batch.items():
            if isinstance(write, Postpone):
                self._postponed(key, write)
                continue
            self._last[key] = op_id
            before, after = self.documents.get(key), dict(write.data)  # type: ignore[union-attr]
            self.expect("I4", (before is None) == isinstance(write, Create), f"{key} created over, or from nothing")
            if before is not None and LATER in before:
                self.expect("I25", LATER in after, f"{key.collection}: a field of the newer version was dropped")
            check = getattr(self, f"_{key.collection}", None)
            if check is not None:
                check(task, key, before, after, batch)
        for key, write in batch.items():
            if not isinstance(write, Postpone):
                self.documents[key] = dict(write.data)  # type: ignore[union-attr]

    def answered(
        self, task: Task, writes: Sequence[Write], op_id: str, result: Commit, *, applied: bool, fault: str | None
    ) -> None:
        if result is Commit.COMMITTED:
            self.expect("store", op_id in self._operations, "a commit that never happened was reported")
            if fault == "ambiguous after" and applied:
                self.hit("an ambiguous commit recognised as one's own")
            return
        mine = any(self._last.get(write.key) == op_id for write in writes)
        self.expect("store", not mine, "a commit that happened, and stands, was reported as lost")
        collections = {write.key.collection for write in writes}
        if collections == {"jobs"} and any(isinstance(write, Create) for write in writes):
            self.hit("two hints made the same record, and one lost")
        if "aliases" in collections:
            self.hit("a race for an alias was lost, and decided again")

    def _postponed(self, key: Key, write: Postpone) -> None:
        document = self.documents[key]
        document["next_look_at"] = format_time(write.next_look_at)

    # Records ---------------------------------------------------------------------------------------------------------

    def _jobs(self, task: Task, key: Key, before: Document | None, after: Document, batch: Any) -> None:
        self.expect("I4", key.id == digest(after["key"]), "a job under a foreign key")
        if before is None:
            return
        for name in ("key", "first_seen_at"):
            self.expect("I5", before[name] == after[name], f"a job's {name} changed")
        for name in ("model", "created_at"):
            self.expect("I5", before[name] in (None, after[name]), f"a job's {name} changed")
        self.expect("I5", set(before["checkpoint_ids"]) <= set(after["checkpoint_ids"]), "a job forgot a checkpoint")
        self.expect("I5", before["state"] == after["state"] or after["state"] != "unknown", "a known job unknown again")
        if (before["state"], after["state"]) == ("succeeded", "failed"):
            self.hit("a job flipped from succeeded to failed")

    def _checkpoints(self, task: Task, key: Key, before: Document | None, after: Document, batch: Any) -> None:
        self.expect("I4", key.id == digest(after["key"]), "a checkpoint under a foreign key")
        open_still = after["open_suites"] and after["state"] == "ready" and not after["unlisted_since"]
        self.expect("I11", not open_still or after["next_look_at"] is not None, "an untested checkpoint without timer")
        if before is None:
            return
        for name in _ONCE:
            self.expect("I5", before[name] in (None, after[name]), f"a checkpoint's {name} changed")
        for name, measure in before["metrics"].items():
            self.expect("I5", after["metrics"].get(name) == measure, f"the metric {name} changed")
        for name in ("tested", "decided"):
            self.expect("I5", set(before[name]) <= set(after[name]), f"a checkpoint's {name} shrank")
        known = [tuple(sorted(conflict.items())) for conflict in after["conflicts"]]
        kept = all(tuple(sorted(conflict.items())) in known for conflict in before["conflicts"])
        self.expect("I5", kept, "a conflict was forgotten")
        if len(after["conflicts"]) > len(before["conflicts"]):
            self.hit("a conflicting later value was kept apart")
        if (before["state"], after["state"]) == ("ready", "gone"):
            self.hit("a checkpoint is gone")
            wanted = self._checkpoint(after["key"])
            vanished = wanted is None or not wanted[1].listed(self.engine.now)
            self.expect("I23", vanished, "a checkpoint that is listed was called gone")
        if before["state"] == "gone" and after["state"] != "gone":
            self.hit("a checkpoint that was gone is listed again")
            self.expect("I5", after["unlisted_since"] is None, "a checkpoint came back without being listed")

    def _smoke_runs(self, task: Task, key: Key, before: Document | None, after: Document, batch: Any) -> None:
        fences = task.facts.setdefault("fences", {})
        self.expect("I6", after["attempt"] <= 3, "a fourth attempt")
        open_still = after["outcome"] is None
        self.expect("I11", not open_still or after["next_look_at"] is not None, "an open run without a timer")
        self.expect("I20", after["billed"] <= CASES * 3 + 12, f"{after['billed']} calls were paid for one attempt")
        if before is not None:
            self.expect("I6", before["outcome"] is None, "a verdict was changed")
            self.expect("I6", before["lease"]["fence"] <= after["lease"]["fence"], "a fence fell")
            self.expect("I7", before["suite_digest"] == after["suite_digest"], "a run changed its suite")
        if before is None or after["lease"]["owner"] != before["lease"]["owner"]:
            fences[key.id] = after["lease"]["fence"]
            if before is not None:
                rested = parse_time(before["lease"]["until"]) <= self._now()
                self.expect("I6", rested or task.skew > 0, "a live lease was taken")
                self.hit("a smoke run was taken over" if before["lease"]["until"] else "")
            return
        held = fences.get(key.id) == before["lease"]["fence"]
        self.expect("I6", held, "a run was written by one who does not hold its lease")
        if after["outcome"] == "inconclusive":
            self.hit("a smoke run was inconclusive")
        if after["outcome"] in ("pass", "fail"):
            found = self._checkpoint(after["checkpoint"])
            assert found is not None
            right, summary = found[1].passes, after["summary"]
            told = (summary["total"], summary["passed"], summary["errors"])
            self.expect("I7", told == (CASES, right, 0), f"a verdict of {told}, where {right} of {CASES} are right")
            if after["lease"]["fence"] > 1:
                self.hit("a verdict by a later holder, from the results of all")

    def _case_results(self, task: Task, key: Key, before: Document | None, after: Document, batch: Any) -> None:
        run = self.documents[Key("smoke_runs", after["run"])]
        found = self._checkpoint(run["checkpoint"])
        assert found is not None
        right = int(after["case"].removeprefix("case-")) < found[1].passes
        truth = "pass" if right else "fail"
        self.expect("I7", after["outcome"] == truth, f"a case's result is {after['outcome']}, the model was {truth}")

    def _dead_letters(self, task: Task, key: Key, before: Document | None, after: Document, batch: Any) -> None:
        if before is None:
            self.expect("I16", (after["attempts"], after["replays"]) == (1, 0), "a dead letter began with a past")
            return
        kept = all(after[name] == before[name] for name in ("event_id", "topic", "attributes", "data"))
        self.expect("I16", kept, "a dead letter's bytes, attributes or topic changed")
        died, replayed = (after[name] - before[name] for name in ("attempts", "replays"))
        self.expect("I16", (died, replayed) in ((1, 0), (0, 1)), "a dead letter's row counted wrong")
        if died:
            self.expect("I16", after["replayed_at"] is None, "a second death does not show")
            if before["replays"]:
                self.hit("a replayed event died again")

    def _decisions(self, task: Task, key: Key, before: Document | None, after: Document, batch: Any) -> None:
        rows = self._rows(batch, after["alias"])
        told = len(rows) == 1 and rows[0]["decision"] == key.id
        self.expect("I14", told, "a decision without its history row")
        if len(after["suites"]) > 1:
            self.hit("a decision from two suites")
        if "belongs to" in after["reason"]:
            self.hit("a model's default belonged to another alias")
        if after["outcome"] == "promoted" and after["kind"] == "policy":
            found = self._checkpoint(after["candidate"])
            assert found is not None
            self.expect("I8", found[1].passes >= NEEDED, "a checkpoint that fails its gate was promoted by policy")
            self.expect("I8", after["policy_digest"] in self.policies, "promoted under a policy that nobody wrote")
            alias = next(w.data for k, w in batch.items() if k.collection == "aliases")
            self.expect("I8", alias["hold"] is None, "a policy promoted a held alias")
        if after["outcome"] == "promoted" and after["kind"] == "promote":
            found = self._checkpoint(after["candidate"])
            if found is not None and found[1].passes < NEEDED:
                self.hit("a checkpoint that fails was promoted by force")

    def _models(self, task: Task, key: Key, before: Document | None, after: Document, batch: Any) -> None:
        if before is None:
            return
        owners = (before["owner"], after["owner"])
        self.expect("I9", None in owners or owners[0] == owners[1], f"a model went from {owners[0]} to {owners[1]}")
        if before["default"] != after["default"]:
            kinds = [row["kind"] for row in self._rows(batch, after["owner"])]
            known = "applied" in kinds or "drifted" in kinds
            self.expect("I8", known, "a recorded default changed without a move")

    def _history(self, task: Task, key: Key, before: Document | None, after: Document, batch: Any) -> None:
        self.expect("I14", before is None, "a history row was rewritten")
        alias = Key("aliases", digest(after["alias"]))
        self.expect("I14", alias in batch, "a history row apart from its change")

    def _aliases(self, task: Task, key: Key, before: Document | None, after: Document, batch: Any) -> None:
        self._isolated(task, key)
        self.expect("I4", key.id == digest(after["key"]), "an alias under a foreign key")
        was: Document = before or _blank(after)
        changed = {name for name in after if was.get(name) != after[name]} - _TIMERS
        rows = self._rows(batch, after["key"])
        if not changed:
            self.expect("I14", not rows, "a history row without a change")
            return
        if len(rows) != 1:
            self.fail("I14", f"{after['key']} changed ({', '.join(sorted(changed))}) with {len(rows)} history rows")
            return
        row = rows[0]
        self.expect("I14", row["n"] == was["history"] + 1 == after["history"], "history numbers are not gapless")
        self.expect("I14", row["previous"] == was["head"], "a broken chain")
        self.expect("I14", row["hash"] == row_hash(decode(HistoryRow, dict(row))) == after["head"], "a wrong hash")
        folded = {**was, **row["change"]}
        same = all(folded.get(name) == after[name] for name in after if name not in _TIMERS)
        self.expect("I14", same, f"{after['key']}: folding the rows does not give the document")
        if was["policy_digest"] not in (None, "", after["policy_digest"]):
            self.hit("an alias was decided under edited rules")
        self._moved(task, was, after, row)
        self._intent(task, was, after, batch, row)

    def _moved(self, task: Task, was: Document, after: Document, row: Document) -> None:
        applied = row["kind"] == "applied"
        self.expect(
            "I10", after["serial"] - was["serial"] == int(applied), f"serial {was['serial']} -> {after['serial']}"
        )
        self.expect("I10", after["fence"] >= was["fence"], "a fence fell")
        if not applied:
            self.expect("I8", after["current"] == was["current"], f"{row['kind']} moved the alias")
            return
        intent = was["intent"]
        assert intent is not None
        decision = self.documents[Key("decisions", intent["decision"])]
        to = after["current"]["checkpoint"]
        allowed = decision["outcome"] in ("promoted", "rolledBack") and decision["candidate"] == to
        self.expect("I8", allowed and intent["to"]["checkpoint"] == to, "the alias moved to what nobody decided")
        self.expect("I8", intent["direction"] == "forward", "an intent that was turned back was applied")
        if intent["model"] is not None:
            shown = task.facts.get("shown")
            self.expect("I12", shown == CheckpointKey.parse(to).id, "applied without having read the default back")
        if task.facts.get("conflicted"):
            self.hit("applied after a lost race")

    def _intent(self, task: Task, was: Document, after: Document, batch: Any, row: Document) -> None:
        old, new = was["intent"], after["intent"]
        if new and new["lease"]["owner"] == task.facts.get("owner"):
            task.facts["holds"] = new["decision"]
        if old and new:
            self.expect("I9", old["decision"] == new["decision"], "an intent was replaced by another")
            if row["kind"] == "intent.taken-over":
                over = parse_time(old["lease"]["until"]) <= self._now() + timedelta(seconds=max(task.skew, 0.0))
                self.expect("I9", over, "an intent was taken over while its lease was live")
                self.hit("an intent was taken over")
            if row["kind"] == "intent.aborting":
                self.hit("an intent was turned back")
        if new and not old:
            decided = Key("decisions", new["decision"])
            self.expect("I8", decided in batch or decided in self.documents, "an intent without a decision")
            others = [
                document["key"]
                for key, document in self.documents.items()
                if key.collection == "aliases" and document["key"] != after["key"] and document["intent"]
                if new["model"] is not None and document["intent"]["model"] == new["model"]
            ]
            self.expect("I9", not others, f"two aliases write one model's default: {others}")
            if new["not_before"] is not None:
                self.hit("a write waits until a model is quiet")
            self._opened(AliasKey.parse(after["key"]), new["model"], new["decision"])

    # The bus ---------------------------------------------------------------------------------------------------------

    def published(self, task: Task, event: Event) -> None:
        """What an event tells of is already recorded."""
        match event.payload:
            case CheckpointSeen(checkpoint=checkpoint):
                job = self.documents.get(Key("jobs", digest(str(checkpoint.job))))
                self.expect("I15", bool(job) and checkpoint.id in job["checkpoint_ids"], "news of an unrecorded job")
            case SmokeTestDue(checkpoint=checkpoint, purpose=purpose, suite=suite):
                known = self.documents.get(Key("checkpoints", digest(str(checkpoint))))
                self.expect("I15", known is not None, "a test of a checkpoint that is not recorded")
                if known and purpose is Purpose.GATE:
                    self.expect(
                        "I15",
                        suite in {*known["open_suites"], *known["tested"]}
                        or known["state"] == "gone"
                        or bool(known["selected_under"]),
                        "a test that nobody asked for",
                    )
            case DecisionMade(decision=decision):
                self.expect("I15", Key("decisions", decision) in self.documents, "an unrecorded decision was told")
            case PromotionDue() | Command():
                return

    # The provider ----------------------------------------------------------------------------------------------------

    def writes(self, task: Task, model: str, checkpoint_id: str) -> None:
        """A handler is about to write a default."""
        self.expect("I12", "shown" in task.facts, "a default was written unseen")
        if "shown" in task.facts:
            del task.facts["shown"]
        alias = self._writer(model)
        if alias is None:
            self.fail("I12", "a default was written without an open intent")
            return
        lease = alias["intent"]["lease"]
        held = alias["intent"]["decision"] == task.facts.get("holds")
        self.expect("I12", held, "a default was written by one who never held the intent")
        if lease["owner"] == task.facts.get("owner"):
            ends = parse_time(lease["until"]) + timedelta(seconds=self.limits.skew)
            in_time = self._now() + timedelta(seconds=self.limits.provider_timeout) < ends
            self.expect("I19", in_time, "a write started too near to the end of its lease")
        held = self.documents.get(Key("aliases", digest(str(ALL_ALIASES))))
        if held and held["hold"] and not alias["intent"]["roll_back"] and alias["intent"]["direction"] == "forward":
            late = self._now() - parse_time(held["hold"]["since"])
            limit = timedelta(seconds=self.limits.provider_timeout + self.limits.skew)
            self.expect("I24", late <= limit, f"a write started {late} after the hold of all")

    def written(self, task: Task, model: str, checkpoint_id: str, before: str | None) -> None:
        """The provider has taken it."""
        alias = self._writer(model)
        recorded = self.documents.get(Key("models", digest(model)))
        if alias is None or alias["intent"]["lease"]["owner"] != task.facts.get("owner"):
            self.hit("a write by one who had lost the lease arrived")
        wanted = {recorded["default"]} if recorded else set()
        if alias is not None:
            forward = alias["intent"]["direction"] == "forward"
            to = CheckpointKey.parse(alias["intent"]["to"]["checkpoint"]).id
            wanted.add(to if forward else alias["intent"]["default_before"])
        self.expect(
            "I12", checkpoint_id in wanted, f"{checkpoint_id} was written, wanted is {sorted(map(str, wanted))}"
        )
        if alias is not None and before not in (checkpoint_id, alias["intent"]["default_before"]):
            self.hit("somebody else changed the default during an intent")

    def died(self, task: Task, what: str) -> None:
        if what == "set_default":
            self.hit("dead between the provider's write and the commit")

    # Helpers ---------------------------------------------------------------------------------------------------------

    def _isolated(self, task: Task, key: Key) -> None:
        if task.alias is not None:
            allowed = {digest(task.alias), digest(str(ALL_ALIASES))}
            self.expect("I22", key.id in allowed, f"an event for {task.alias} touched another alias")

    def _writer(self, model: str) -> Document | None:
        for key, document in self.documents.items():
            if key.collection == "aliases" and document["intent"] and document["intent"]["model"] == model:
                return document
        return None

    def _rows(self, batch: Mapping[Key, Write], alias: str | None) -> list[Document]:
        return [
            write.data  # type: ignore[union-attr]
            for key, write in batch.items()
            if key.collection == "history" and write.data["alias"] == alias  # type: ignore[union-attr]
        ]

    def _checkpoint(self, key: str) -> Any:
        found = CheckpointKey.parse(key)
        job = self.world.jobs.get(found.job)
        return next(((job, c) for c in job.checkpoints if c.id == found.id), None) if job else None

    def _now(self) -> Any:
        return START + timedelta(seconds=self.engine.now)


def _blank(after: Document) -> Document:
    return encode(Alias(key=AliasKey.parse(after["key"])))
