"""I6, I7, I11, I20: a run is written by who holds its lease, is accepted once, says what is true, and costs so much."""

from ratchet.domain.codec import parse_time
from ratchet.ports import Key
from simulation.promises.change import Change
from simulation.promises.watch import CASES, Watch
from simulation.provider import ANSWER_TOKENS


def run(watch: Watch, change: Change) -> None:
    task, before, after = change.task, change.before, change.after
    fences = task.facts.setdefault("fences", {})
    watch.expect("I6", after["attempt"] <= 3, "a fourth attempt")
    open_still = after["outcome"] is None
    watch.expect("I11", not open_still or after["next_look_at"] is not None, "an open run without a timer")
    watch.expect("I20", after["billed"] <= CASES * 3 + 12, f"{after['billed']} calls were paid for one attempt")
    if before is not None:
        watch.expect("I6", before["outcome"] is None, "a verdict was changed")
        watch.expect("I6", before["lease"]["fence"] <= after["lease"]["fence"], "a fence fell")
        watch.expect("I7", before["suite_digest"] == after["suite_digest"], "a run changed its suite")
    if before is None or after["lease"]["owner"] != before["lease"]["owner"]:
        fences[change.key.id] = after["lease"]["fence"]
        if before is not None:
            rested = parse_time(before["lease"]["until"]) <= watch.now
            watch.expect("I6", rested or task.skew > 0, "a live lease was taken")
            watch.hit("a smoke run was taken over" if before["lease"]["until"] else "")
        return
    held = fences.get(change.key.id) == before["lease"]["fence"]
    watch.expect("I6", held, "a run was written by one who does not hold its lease")
    if after["waits"] and after["unanswered"] and not after["probed"]:
        watch.hit("an endpoint answered none of the first cases")
    if after["outcome"] == "inconclusive":
        watch.hit("a smoke run was inconclusive")
        if after["reason"].startswith("the budget"):
            watch.hit("a smoke run ended with its budget")
            watch.expect("I20", after["last"], "a run whose budget is spent is tried again")
    if after["outcome"] in ("pass", "fail"):
        found = watch.checkpoint(after["checkpoint"])
        assert found is not None
        right, summary = found[1].passes, after["summary"]
        told = (summary["total"], summary["passed"], summary["errors"])
        # One that spoils meanwhile is right in some of its answers.
        allowed = range(0 if found[1].spoils is not None else right, right + 1)
        known = told in {(CASES, passed, 0) for passed in allowed}
        watch.expect("I7", known, f"a verdict of {told}, where {right} of {CASES} are right")
        if after["purpose"] != "gate" or after["occasion"] != "-":
            watch.hit(f"a run was made as {after['purpose']}, because somebody asked for it")
        if after["lease"]["fence"] > 1:
            watch.hit("a verdict by a later holder, from the results of all")


def case_result(watch: Watch, change: Change) -> None:
    after = change.after
    run = watch.documents[Key("smoke_runs", after["run"])]
    found = watch.checkpoint(run["checkpoint"])
    assert found is not None
    right = int(after["case"].removeprefix("case-")) < found[1].passes
    spoiled = found[1].spoils is not None and watch.engine.now >= found[1].spoils
    truths = {"pass"} if right and not spoiled else {"fail"} if not right else {"pass", "fail"}
    watch.expect("I7", after["outcome"] in truths, f"a case's result is {after['outcome']}, the model was {truths}")
    budget = watch.suites[run["suite_digest"]].budget
    if budget.tokens is not None:
        results = [key for key in watch.documents if key.collection == "case_results"]
        asked = 1 + sum(watch.documents[key]["run"] == after["run"] for key in results)
        # Each holder had one call under way at most when another one spent the last of it.
        most = -(-budget.tokens // ANSWER_TOKENS) + run["lease"]["fence"] - 1
        watch.expect("I20", asked <= most, f"{asked} calls with a budget of {budget.tokens} tokens")
