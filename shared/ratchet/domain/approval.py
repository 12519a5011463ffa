"""Who must agree to a promotion, and whether they have: bound to the candidate, the evidence and the policy."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase

from ratchet.domain.keys import CheckpointKey
from ratchet.domain.policy import Approval, ApprovalWhen, BaselineUse, Policy, WhenMissing
from ratchet.domain.records import Ask, Vote


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """How far the asking has come, in words; `until` is when it expires."""

    words: str
    until: datetime
    granted: bool = False
    refused: bool = False


def needed(policy: Policy, *, warns: bool, first: bool, without_baseline: bool) -> str | None:
    """Why somebody must agree; None when nobody has to."""
    when = policy.approval.when
    if when is ApprovalWhen.ALWAYS:
        return "the policy always asks"
    if when is ApprovalWhen.ON_WARN and warns:
        return "it warns"
    if when is ApprovalWhen.FIRST_PROMOTION and first:
        return "nothing serves yet"
    use = policy.baseline
    if without_baseline and use.when_missing is WhenMissing.APPROVAL and use.use is not BaselineUse.NONE:
        return "there is no baseline"
    return None


def answer(
    policy: Policy, ask: Ask | None, candidate: CheckpointKey, evidence: str, triggers: Collection[str], now: datetime
) -> Answer:
    """What the votes say. An ask about anything else is void: it is asked anew, from now on."""
    wanted = policy.approval
    if ask is None or not about(ask, candidate, evidence, policy.digest):
        return Answer(words=_counted(wanted, 0), until=now + wanted.expires)
    votes = [v for v in ask.votes if v.at < ask.until and objection(wanted, v.actor, triggers) is None]
    against = next((vote for vote in votes if not vote.approves), None)
    if against is not None:
        return Answer(words=f"{against.actor} rejected it: {against.reason}", until=ask.until, refused=True)
    agreed = {vote.actor.casefold() for vote in votes}
    if len(agreed) >= wanted.least:
        return Answer(words=_agreed(votes), until=ask.until, granted=True)
    if now >= ask.until:
        words = f"the approval expired: {len(agreed)} of {wanted.least} had agreed"
        return Answer(words=words, until=ask.until, refused=True)
    return Answer(words=_counted(wanted, len(agreed)), until=ask.until)


def about(ask: Ask, candidate: CheckpointKey, evidence: str, policy: str) -> bool:
    return (ask.candidate, ask.evidence, ask.policy) == (candidate, evidence, policy)


def objection(wanted: Approval, actor: str, triggers: Collection[str]) -> str | None:
    """Why this person's word does not count; None when it does."""
    if wanted.not_by_trigger and any(same_person(actor, trigger) for trigger in triggers):
        return "nobody approves what they triggered"
    if wanted.approvers and not any(fnmatchcase(actor.casefold(), one.casefold()) for one in wanted.approvers):
        return f"the policy asks {', '.join(wanted.approvers)}"
    return None


def same_person(actor: str, trigger: str) -> bool:
    """A label of Vertex holds no `@` and no dot: whoever wrote an address into one wrote dashes."""
    return _as_label(actor) == _as_label(trigger)


def _as_label(text: str) -> str:
    return re.sub(r"[^a-z0-9_-]", "-", text.casefold())


def _counted(wanted: Approval, agreed: int) -> str:
    people = f" of {', '.join(wanted.approvers)}" if wanted.approvers else ""
    return f"{agreed} of {wanted.least}{people} agreed"


def _agreed(votes: list[Vote]) -> str:
    return f"agreed: {', '.join(sorted({vote.actor for vote in votes}))}"
