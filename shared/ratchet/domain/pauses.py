"""The last stages, hold, window, cooldown and approval: may what was chosen be promoted now?"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from ratchet.domain import approval
from ratchet.domain.decision import Outcome, Ruling, Stage, Standing, waiting
from ratchet.domain.evidence import Evidence
from ratchet.domain.gates import Verdict
from ratchet.domain.policy import Policy
from ratchet.domain.windows import closed_by, opens

_DAY = timedelta(hours=24)


def pauses(policy: Policy, standing: Standing, now: datetime) -> Iterator[Ruling]:
    """What keeps this alias from moving at all, whatever is chosen."""
    hold = standing.hold
    if hold is not None and hold.live(now):
        yield waiting(Stage.HOLD, f"held by {hold.actor}: {hold.reason}", hold.until)
    closed = closed_by(policy.windows, now)
    if closed is not None:
        until = opens(policy.windows, now)
        if until is None:
            never = f"{closed}, and none ever opens again"
            yield Ruling(outcome=Outcome.REJECTED, stage=Stage.WINDOW, reason=never)
            return
        yield waiting(Stage.WINDOW, closed, until)
    paced = _paced(policy, standing, now)
    if paced is not None:
        yield waiting(Stage.COOLDOWN, *paced)


def stops(policy: Policy, evidence: Evidence, standing: Standing, chosen: Ruling, now: datetime) -> Iterator[Ruling]:
    """What keeps the chosen one from being promoted, in the order of the stages."""
    for pause in pauses(policy, standing, now):
        yield replace(chosen, outcome=pause.outcome, stage=pause.stage, reason=pause.reason, until=pause.until)
        if pause.outcome is Outcome.REJECTED:
            return
    verdict = next(a.verdict for a in chosen.assessments if a.checkpoint == chosen.candidate)
    why = approval.needed(
        policy,
        warns=verdict is Verdict.WARN,
        first=standing.current is None,
        without_baseline=evidence.baseline is None,
    )
    if why is None:
        return
    assert chosen.candidate is not None
    triggers = evidence.job.triggered_by
    answer = approval.answer(policy, standing.approval, chosen.candidate, evidence.digest, triggers, now)
    if answer.refused:
        yield replace(chosen, outcome=Outcome.REJECTED, stage=Stage.APPROVAL, reason=answer.words)
    elif not answer.granted:
        words = f"waits for approval: {why}; {answer.words}"
        yield replace(chosen, outcome=Outcome.WAITING, stage=Stage.APPROVAL, reason=words, until=answer.until)


def _paced(policy: Policy, standing: Standing, now: datetime) -> tuple[str, datetime] | None:
    """Why the pace of moves forbids another one, and until when. A roll-back is nobody's pace."""
    moves = [move.at for move in standing.moves if not move.rolled_back]
    pacing = policy.pacing
    found: list[tuple[datetime, str]] = []
    if pacing.cooldown is not None and moves:
        found.append((moves[-1] + pacing.cooldown, f"it moved less than {pacing.cooldown} ago"))
    if pacing.max_per_day is not None:
        recent = [at for at in moves if now - at < _DAY]
        if len(recent) >= pacing.max_per_day:
            times = "time" if len(recent) == 1 else "times"
            found.append((recent[-pacing.max_per_day] + _DAY, f"it moved {len(recent)} {times} within 24 hours"))
    until, words = max(found, default=(now, ""))
    return (words, until) if until > now else None
