"""I7, I8, I14: a decision comes with its history row, and can be made again from what it holds; a policy promotes what
passes, by known rules, and only when nothing forbids it.
"""

from datetime import timedelta

from ratchet.application.drift import ADOPT
from ratchet.domain.codec import decode, parse_time
from ratchet.domain.decide import decide
from ratchet.domain.decision import Decision
from ratchet.domain.policy import ApprovalWhen, DriftUse, Policy
from simulation.promises.change import Change
from simulation.promises.watch import NEEDED, Document, Watch
from simulation.provider import TRIGGER


def decision(watch: Watch, change: Change) -> None:
    after = change.after
    rows = change.rows(after["alias"])
    told = len(rows) == 1 and rows[0]["decision"] == change.key.id
    watch.expect("I14", told, "a decision without its history row")
    ahead = timedelta(seconds=abs(change.task.skew))
    watch.expect("I7", parse_time(after["at"]) <= watch.now + ahead, "a decision is dated later than it was made")
    if after["kind"] == "policy":
        _again(watch, after)
    if len(after["suites"]) > 1:
        watch.hit("a decision from two suites")
    if "belongs to" in after["reason"]:
        watch.hit("a model's default belonged to another alias")
    if after["outcome"] == "promoted" and after["kind"] == "policy":
        found = watch.checkpoint(after["candidate"])
        assert found is not None
        watch.expect("I8", found[1].passes >= NEEDED, "a checkpoint that fails its gate was promoted by policy")
        watch.expect("I8", after["policy_digest"] in watch.policies, "promoted under a policy that nobody wrote")
        _allowed(watch, change)
    if after["kind"] == ADOPT:
        adopts = watch.policies[after["policy_digest"]].drift is DriftUse.ADOPT
        watch.expect("I8", adopts, "a policy adopted what it should not")
    if after["kind"] == "rollback" and after["actor"] == "policy":
        watch.hit(f"a policy's own roll-back: {after['outcome']}")
    if after["outcome"] == "promoted" and after["kind"] == "promote":
        found = watch.checkpoint(after["candidate"])
        if found is not None and found[1].passes < NEEDED:
            watch.hit("a checkpoint that fails was promoted by force")


def _again(watch: Watch, after: Document) -> None:
    """I7: who has the rules and what was stored comes to the same, whatever the time is then."""
    made = decode(Decision, dict(after))
    assert made.evidence is not None
    assert made.standing is not None
    ruling = decide(watch.policies[made.policy_digest], made.evidence, made.standing, made.at)
    first = (made.outcome, made.stage, made.candidate, made.until, made.assessments, made.trace)
    second = (ruling.outcome, ruling.stage, ruling.candidate, ruling.until, ruling.assessments, ruling.trace)
    watch.expect("I7", first == second, f"decided again, {made.outcome} is {ruling.outcome}")


def _allowed(watch: Watch, change: Change) -> None:
    """I8: no hold, no closed window, no haste, and nobody's approval is missing."""
    after, now = change.after, watch.now
    policy: Policy = watch.policies[after["policy_digest"]]
    key = next(k for k in change.batch if k.collection == "aliases")
    was = watch.documents.get(key)
    if was is None:
        return
    hold, skew = was["hold"], timedelta(seconds=abs(change.task.skew))
    held = hold is not None and (hold["until"] is None or parse_time(hold["until"]) > now + skew)
    watch.expect("I8", not held, "a policy promoted a held alias")
    moves = [parse_time(move["at"]) for move in was["moves"] if not move["rolled_back"]]
    cooldown = policy.pacing.cooldown
    soon = cooldown is not None and moves and parse_time(after["at"]) - moves[-1] < cooldown
    watch.expect("I8", not soon, "a policy promoted within its cooldown")
    if policy.approval.when is ApprovalWhen.ALWAYS:
        about = (after["candidate"], after["evidence_digest"], after["policy_digest"])
        asks = [ask for ask in was["approvals"] if (ask["candidate"], ask["evidence"], ask["policy"]) == about]
        votes = [vote for ask in asks for vote in ask["votes"] if vote["actor"] != TRIGGER]
        agreed = {vote["actor"] for vote in votes if vote["approves"]}
        watch.expect(
            "I8", len(agreed) >= policy.approval.least, "promoted without the approvals that the policy asks for"
        )
        watch.expect("I8", all(vote["approves"] for vote in votes), "promoted although somebody had rejected it")
        watch.hit("a promotion was approved")
