"""Why not: for each checkpoint of a decision that does not serve, the reason, and the smallest change that turns it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ratchet.domain.choose import figure, parted
from ratchet.domain.evidence import PLACES, Candidate, in_order, measure
from ratchet.domain.flip import GOOD, Change, flip, flip_choice
from ratchet.domain.gates import Assessment, Verdict
from ratchet.domain.keys import CheckpointKey
from ratchet.domain.policy import Criterion
from ratchet.domain.records import CheckpointState
from ratchet_cli.telling.gates import missed, undecided, wanted
from ratchet_cli.telling.story import Story


@dataclass(frozen=True, slots=True, kw_only=True)
class WhyNot:
    """`changes`: the smallest that would have turned it, all of them together; `then`: what it then does."""

    checkpoint: CheckpointKey
    step: int | None
    reason: str
    changes: tuple[Change, ...] = ()
    then: str = ""

    @property
    def words(self) -> str:
        return self.reason + (f"; {wanted(self.changes)} would {self.then}" if self.changes else "")


def why_not(story: Story) -> Sequence[WhyNot]:
    """Of every checkpoint that was judged and not chosen, then of those that were not even judged."""
    return [*(_judged(story, each) for each in story.others), *_never_judged(story)]


def chosen_but_kept(story: Story) -> WhyNot | None:
    """The winner that did not beat what serves: what would have let it."""
    decision, found = story.decision, story.evidence
    if decision.candidate is None or found is None or story.policy is None or not story.by_policy:
        return None
    change = flip_choice(story.policy, found, story.standing, decision.candidate, decision.at)
    if change is None:
        return None
    return WhyNot(
        checkpoint=decision.candidate,
        step=decision.candidate_step,
        reason=decision.reason,
        changes=(change,),
        then="win",
    )


def _judged(story: Story, assessment: Assessment) -> WhyNot:
    failed = [gate for gate in assessment.gates if gate.counts and gate.verdict is Verdict.FAIL]
    if assessment.verdict in GOOD:
        return _lost(story, assessment)
    if failed:
        reason = "rejected: " + ", ".join(map(missed, failed))
        if assessment.missing:
            reason += f"; besides: {'; '.join(assessment.missing)}"
    else:
        # A gate whose number is missing says the same as the evidence that lacks it.
        open_gates = [undecided(g) for g in assessment.gates if g.counts and g.verdict is Verdict.INCONCLUSIVE]
        told = [words for words in open_gates if not any(words.endswith(f": {m}") for m in assessment.missing)]
        reason = "inconclusive: " + "; ".join([*assessment.missing, *told])
    made = WhyNot(checkpoint=assessment.checkpoint, step=assessment.step, reason=reason)
    if story.policy is None or story.evidence is None or story.candidate(assessment.checkpoint) is None:
        return made
    found = flip(story.policy, story.evidence, story.standing, assessment.checkpoint, story.decision.at)
    if found is None:
        return made
    return WhyNot(
        checkpoint=made.checkpoint, step=made.step, reason=reason, changes=found.changes, then=str(found.verdict)
    )


def _lost(story: Story, assessment: Assessment) -> WhyNot:
    """It passes, and another was chosen."""
    reason, change = _lost_by(story, assessment), None
    if story.policy is not None and story.evidence is not None and story.by_policy:
        change = flip_choice(story.policy, story.evidence, story.standing, assessment.checkpoint, story.decision.at)
    return WhyNot(
        checkpoint=assessment.checkpoint,
        step=assessment.step,
        reason=reason,
        changes=(change,) if change else (),
        then="keep it" if assessment.checkpoint == story.standing.current else "win",
    )


def _lost_by(story: Story, assessment: Assessment) -> str:
    decision, policy = story.decision, story.policy
    if decision.candidate is None:
        return "passes"
    named = f"step {decision.candidate_step}" if decision.candidate_step is not None else decision.candidate.id
    loser, winner = story.candidate(assessment.checkpoint), story.candidate(decision.candidate)
    if policy is None or loser is None or winner is None:
        trace = f" ({'; '.join(decision.trace)})" if decision.trace else ""
        return f"passes, but {named} was chosen{trace}"
    passing = [c for a in decision.assessments if a.verdict in GOOD and (c := story.candidate(a.checkpoint))]
    criterion = parted(passing, policy.choose, loser, decision.at)
    if criterion is None or criterion.metric in PLACES:
        return _tied(story, policy.choose, criterion, loser, winner, named)
    ours, theirs = (measure(each, criterion.metric, decision.at) for each in (loser, winner))
    if isinstance(ours, str) or isinstance(theirs, str):
        return f"passes, but has no {criterion.metric} to compare with {named}"
    metric = criterion.metric
    return f"passes, but {metric} {figure(metric, ours)} loses to {figure(metric, theirs)} of {named}"


def _tied(
    story: Story, choose: Sequence[Criterion], by: Criterion | None, loser: Candidate, winner: Candidate, named: str
) -> str:
    """What was measured did not part them: where they were made did."""
    before = choose if by is None else choose[: choose.index(by)]
    ties = [
        f"{criterion.tie:g}"
        for criterion in before
        if criterion.metric not in PLACES
        and not isinstance(measure(loser, criterion.metric, story.decision.at), str)
        and not isinstance(measure(winner, criterion.metric, story.decision.at), str)
    ]
    if by is not None:
        wins = f"the {'later' if by.higher_is_better else 'earlier'} {by.metric} wins"
    else:
        wins = "the earlier step wins" if winner.step != loser.step else "the smaller key wins"
    return f"tied with {named}{f' within {ties[0]}' if ties else ''}; {wins}"


def _never_judged(story: Story) -> Iterator[WhyNot]:
    """Checkpoints of the same job that did not come so far."""
    decision, found = story.decision, story.evidence
    if not decision.assessments or not story.by_policy or found is None:
        return
    judged = {assessment.checkpoint for assessment in decision.assessments}
    for candidate in sorted(found.candidates, key=in_order):
        if candidate.key not in judged:
            gone = candidate.state is CheckpointState.GONE and candidate.key not in story.standing.quarantine
            reason = "the provider no longer has it" if gone else "quarantined by a roll-back"
            yield WhyNot(checkpoint=candidate.key, step=candidate.step, reason=reason)
    known = {candidate.key.id for candidate in found.candidates}
    for id_ in found.job.checkpoint_ids:
        if id_ not in known:
            key = CheckpointKey(found.job.key, id_)
            yield WhyNot(checkpoint=key, step=None, reason=f"it was no candidate; see ratchet why {key}")
