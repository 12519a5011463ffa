"""I8, I14: a decision comes with its history row; a policy promotes what passes, by known rules, no held alias."""

from simulation.promises.change import Change
from simulation.promises.watch import NEEDED, Watch


def decision(watch: Watch, change: Change) -> None:
    after = change.after
    rows = change.rows(after["alias"])
    told = len(rows) == 1 and rows[0]["decision"] == change.key.id
    watch.expect("I14", told, "a decision without its history row")
    if len(after["suites"]) > 1:
        watch.hit("a decision from two suites")
    if "belongs to" in after["reason"]:
        watch.hit("a model's default belonged to another alias")
    if after["outcome"] == "promoted" and after["kind"] == "policy":
        found = watch.checkpoint(after["candidate"])
        assert found is not None
        watch.expect("I8", found[1].passes >= NEEDED, "a checkpoint that fails its gate was promoted by policy")
        watch.expect("I8", after["policy_digest"] in watch.policies, "promoted under a policy that nobody wrote")
        alias = next(w.data for k, w in change.batch.items() if k.collection == "aliases")  # type: ignore[union-attr]
        watch.expect("I8", alias["hold"] is None, "a policy promoted a held alias")
    if after["outcome"] == "promoted" and after["kind"] == "promote":
        found = watch.checkpoint(after["candidate"])
        if found is not None and found[1].passes < NEEDED:
            watch.hit("a checkpoint that fails was promoted by force")
