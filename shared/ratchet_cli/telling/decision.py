"""A decision as people read it: what came out, the gates, why not the others, what it rests on, and what to type."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from ratchet.domain import approval
from ratchet.domain.alias import ask_of
from ratchet.domain.codec import encode
from ratchet.domain.decide import decide
from ratchet.domain.decision import Decision, Outcome, Stage
from ratchet.domain.flip import unhindered
from ratchet.domain.records import Alias, Ask, Direction
from ratchet_cli.render import moment, place
from ratchet_cli.telling.gates import change_document, table
from ratchet_cli.telling.reasons import WhyNot, chosen_but_kept, why_not
from ratchet_cli.telling.story import Story

SHORT = 6
_WORDS = {
    Outcome.PROMOTED: "PROMOTED",
    Outcome.WOULD_PROMOTE: "WOULD PROMOTE",
    Outcome.KEPT_CURRENT: "KEPT CURRENT",
    Outcome.REJECTED: "REJECTED",
    Outcome.INCONCLUSIVE: "INCONCLUSIVE",
    Outcome.WAITING: "WAITING",
    Outcome.ROLLED_BACK: "ROLLED BACK",
}
_DONE_BY_COMMAND = {
    "hold": "HELD",
    "release": "RELEASED",
    "approve": "APPROVED",
    "reject": "VOTED AGAINST",
    "rollback": "TURNED BACK",
}


def render(story: Story) -> str:
    """Raises nothing: whatever is missing is left out."""
    decision = story.decision
    lines = [_head(story)]
    lines += [f"  {words}" for words in _reason(story)]
    if story.chosen is not None and story.chosen.gates:
        lines.append(table(story.chosen, story.policy, story.baseline, decision.at))
    lines += [f"Why not {story.name(each.checkpoint, each.step)}?  {each.words}" for each in why_not(story)]
    lines.append(_foot(story))
    lines += _next(story)
    return "\n".join(lines)


def document(story: Story) -> Mapping[str, Any]:
    """The same facts."""
    reasons = [*why_not(story), *([kept] if (kept := _kept(story)) else [])]
    return {
        **encode(story.decision),
        "short": story.decision.short,
        "serial_after": moved_to(story.alias, story.decision),
        "replaced": str(story.replaced) if story.replaced else None,
        "why_not": {str(each.checkpoint): each.words for each in reasons},
        "would_turn": {
            str(each.checkpoint): {"changes": [change_document(change) for change in each.changes], "then": each.then}
            for each in reasons
            if each.changes
        },
        "next": list(_next(story)),
    }


def carried(alias: Alias, decision: Decision) -> str:
    """How far a promotion or a roll-back has come."""
    serial = moved_to(alias, decision)
    if serial is not None:
        return f"serial {serial - 1} -> {serial}"
    if alias.intent is not None and alias.intent.decision == decision.id:
        return "is being turned back" if alias.intent.direction is Direction.BACK else "is being carried out"
    # An alias remembers its last twenty moves; an older one is known by its serial alone.
    if alias.moves and decision.serial + 1 < alias.moves[0].serial:
        return f"serial {decision.serial} -> {decision.serial + 1}"
    return "was not carried out"


def moved_to(alias: Alias, decision: Decision) -> int | None:
    return next((move.serial for move in alias.moves if move.decision == decision.id), None)


def votes(ask: Ask) -> str:
    """`2 votes: ana agrees, bo does not (too slow)`."""
    if not ask.votes:
        return "no vote yet"
    said = [f"{v.actor} agrees" if v.approves else f"{v.actor} does not ({v.reason})" for v in ask.votes]
    return f"{len(said)} vote{'' if len(said) == 1 else 's'}: {', '.join(said)}"


def _head(story: Story) -> str:
    decision = story.decision
    head = f"{decision.short}  {decision.alias}  {_outcome(decision)}"
    if decision.outcome is Outcome.KEPT_CURRENT and story.standing.current is not None and story.by_policy:
        current = story.evidence.current if story.evidence else None
        head += f" {place(story.standing.current, current.step if current else None)}, on {_job(decision)}"
    elif decision.candidate is not None and decision.outcome is not Outcome.KEPT_CURRENT:
        head += f" {'to ' if decision.outcome is Outcome.ROLLED_BACK else ''}"
        head += place(decision.candidate, decision.candidate_step)
    elif decision.job is not None:
        head += f" on {_job(decision)}"
    if decision.outcome is Outcome.REJECTED and decision.stage in (Stage.APPROVAL, Stage.WINDOW):
        head += f" at stage {decision.stage}"
    if decision.outcome not in (Outcome.PROMOTED, Outcome.ROLLED_BACK):
        return head
    if story.replaced is not None:
        step = story.replaced_step
        named = f"checkpoint {story.replaced.id}" if step is None else f"step {step}"
        head += f", replacing {named} of job {story.replaced.job.id}"
    return f"{head}   {carried(story.alias, decision)}"


def _outcome(decision: Decision) -> str:
    if decision.kind == "promote" and decision.reason.startswith("forced"):
        return "FORCED"
    if decision.kind == "adopt":
        return "ADOPTED"
    if decision.outcome is Outcome.KEPT_CURRENT and decision.kind in _DONE_BY_COMMAND:
        return _DONE_BY_COMMAND[decision.kind]
    return _WORDS[decision.outcome]


def _job(decision: Decision) -> str:
    return f"{decision.job.provider} job {decision.job.id}" if decision.job else "no job"


def _reason(story: Story) -> Iterator[str]:
    """What the gates and the reasons below do not say."""
    decision = story.decision
    if not story.by_policy or not decision.assessments:
        yield decision.reason
    elif decision.outcome in (Outcome.PROMOTED, Outcome.WOULD_PROMOTE):
        yield from _beyond_the_choice(story)
    elif decision.stage is not Stage.GATES:
        kept = _kept(story)
        yield kept.words if kept is not None else decision.reason


def _kept(story: Story) -> WhyNot | None:
    return chosen_but_kept(story) if story.decision.outcome is Outcome.KEPT_CURRENT else None


def _beyond_the_choice(story: Story) -> Iterator[str]:
    """Why it was chosen is told by the gates; the reason also holds what would follow, or could not be done."""
    decision = story.decision
    if story.policy is None or story.evidence is None:
        yield decision.reason
        return
    free = replace(story.standing, hold=None)
    chosen = decide(unhindered(story.policy), story.evidence, free, decision.at).reason
    beyond = decision.reason.removeprefix(chosen).removeprefix("; ")
    if beyond:
        yield beyond
    ask, found = story.standing.approval, story.evidence
    if decision.outcome is Outcome.PROMOTED and ask is not None and decision.candidate is not None:
        digest, triggers = decision.evidence_digest, found.job.triggered_by
        answer = approval.answer(story.policy, ask, decision.candidate, digest, triggers, decision.at)
        if answer.granted:
            yield answer.words


def _foot(story: Story) -> str:
    decision = story.decision
    parts = []
    if decision.policy_digest:
        parts.append(f"policy {decision.policy_digest[:SHORT]}")
    if decision.evidence_digest:
        parts.append(f"evidence {decision.evidence_digest[:SHORT]}")
    parts.append(f"by {decision.actor}{'' if decision.actor_verified else ' (not verified)'}")
    parts.append(moment(decision.at))
    if decision.outcome is Outcome.WAITING and decision.until is not None:
        parts.append(f" {'expires' if decision.stage is Stage.APPROVAL else 'until'} {moment(decision.until)}")
    serves = story.alias.current is not None and story.alias.current.decision == decision.id
    if decision.outcome is Outcome.PROMOTED and serves:
        parts.append(f" undo: ratchet rollback {decision.alias} --reason ...")
    return "  ".join(parts)


def _next(story: Story) -> Iterator[str]:
    """What to type, and what stands now where that is not this decision."""
    decision, alias = story.decision, story.alias
    waits = decision.outcome is Outcome.WAITING and any(wait.job == decision.job for wait in alias.waiting)
    ask = ask_of(alias, decision.job) if waits else None
    if ask is not None and decision.stage is Stage.APPROVAL:
        one = "" if len(alias.approvals) == 1 else f" --decision d-{ask.decision[:SHORT]}"
        yield f"{votes(ask)}   agree: ratchet approve {alias.key}{one} --reason ..."
        yield f"refuse: ratchet reject {alias.key}{one} --reason ..."
    if alias.hold is not None:
        until = f" until {moment(alias.hold.until)}" if alias.hold.until else ""
        which = "--all" if not alias.key.alias else str(alias.key)
        yield f"held by {alias.hold.actor}{until}   back to automatic: ratchet release {which} --reason ..."
    elif waits and decision.stage is Stage.HOLD:
        yield "back to automatic: ratchet release --all --reason ..."
    if waits and decision.stage in (Stage.WINDOW, Stage.COOLDOWN) and decision.candidate is not None:
        yield f"now all the same: ratchet promote {decision.candidate} {alias.key} --force --reason ..."
    if alias.current is not None and alias.current.decision != decision.id:
        named = place(alias.current.checkpoint, alias.current.step)
        yield f"serving now: {named} (ratchet why d-{alias.current.decision[:SHORT]})"
