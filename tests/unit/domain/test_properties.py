"""What holds of every decision, whatever the policy, the evidence, and where the alias stands."""

from collections import Counter
from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from ratchet.domain.codec import canonical, decode, encode
from ratchet.domain.decide import decide
from ratchet.domain.decision import Decision, Outcome, Stage
from ratchet.domain.evidence import DAYS_TO_SHUTDOWN, Candidate, Evidence, Measured, suite_of
from ratchet.domain.gates import Verdict
from ratchet.domain.keys import CheckpointKey
from ratchet.domain.policy import Criterion, Mode
from ratchet.domain.records import CheckpointState
from ratchet.domain.windows import closed_by
from support.decisions import ALIAS, DAY, JOB, PASS_RATE, Question, gate, key, number, questions, rate
from support.depth import BRIEF, LONG, deep, pytest_command
from support.figures import record

COMMON: dict[str, Any] = {
    "derandomize": not LONG,
    "database": None,
    "deadline": None,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.filter_too_much],
}
SEARCH = settings(max_examples=deep(300, 20_000), **COMMON)
WIDE = settings(max_examples=deep(4_000, 100_000), **COMMON)
LEAST = 50
WAITS = (Stage.SETTLE, Stage.HOLD, Stage.WINDOW, Stage.COOLDOWN, Stage.APPROVAL)


def promoted(question: Question, candidate: CheckpointKey) -> bool:
    ruling = question.ruling
    return ruling.outcome is Outcome.PROMOTED and ruling.candidate == candidate


def test_decide_answers_every_question_and_comes_to_every_outcome_and_every_wait() -> None:
    outcomes: Counter[Outcome] = Counter()
    waits: Counter[Stage] = Counter()

    @WIDE
    @given(questions())
    def answers(question: Question) -> None:
        ruling = question.ruling
        outcomes[ruling.outcome] += 1
        if ruling.outcome is Outcome.WAITING:
            waits[ruling.stage] += 1
            assert (ruling.until is None) is (ruling.stage is Stage.HOLD and question.standing.hold.until is None)  # type: ignore[union-attr]
            assert ruling.until is None or ruling.until > question.now
        else:
            assert (ruling.until, ruling.tests) == (None, ())
        assert ruling.reason

    answers()
    figures = {f"{outcome}": outcomes[outcome] for outcome in Outcome if outcome is not Outcome.ROLLED_BACK}
    figures |= {f"waiting for {stage}": waits[stage] for stage in WAITS}
    if BRIEF:
        return
    record("Decisions by chance", pytest_command(__file__), {"decisions": outcomes.total(), **figures})
    assert set(waits) == set(WAITS)
    assert min(figures.values()) >= LEAST, figures


@SEARCH
@given(questions())
def test_a_promotion_is_of_a_candidate_that_may_serve_at_a_time_when_it_may(question: Question) -> None:
    ruling, standing = question.ruling, question.standing
    if ruling.outcome is not Outcome.PROMOTED:
        return
    (winner,) = (each for each in question.evidence.candidates if each.key == ruling.candidate)
    (assessment,) = (each for each in ruling.assessments if each.checkpoint == ruling.candidate)
    assert winner.state is CheckpointState.READY
    assert winner.key not in standing.quarantine
    assert winner.key != standing.current
    assert not assessment.missing
    assert any(result.counts for result in assessment.gates)
    for rule, result in zip(question.policy.gates, assessment.gates, strict=True):
        assert result.id == rule.id
        assert not result.counts or result.verdict in (Verdict.PASS, Verdict.WARN)
    assert question.policy.mode is Mode.ENFORCE
    assert standing.hold is None or not standing.hold.live(question.now)
    assert closed_by(question.policy.windows, question.now) is None
    assert question.evidence.job.state.terminal or not question.policy.waits_for_end


@SEARCH
@given(questions(), st.randoms(use_true_random=False))
def test_the_order_of_evidence_never_matters(question: Question, chance: Any) -> None:
    def shuffled(items: Any) -> Any:
        found = list(items)
        chance.shuffle(found)
        return found

    def rearranged(candidate: Candidate) -> Candidate:
        return replace(
            candidate,
            measures=dict(shuffled(candidate.measures.items())),
            suites=dict(shuffled(candidate.suites.items())),
            datasets=dict(shuffled(candidate.datasets.items())),
        )

    before = question.evidence
    after = replace(
        before,
        candidates=tuple(map(rearranged, shuffled(before.candidates))),
        job=replace(before.job, checkpoint_ids=tuple(shuffled(before.job.checkpoint_ids))),
    )
    quarantine = tuple(shuffled(question.standing.quarantine))
    other = replace(question, evidence=after, standing=replace(question.standing, quarantine=quarantine))
    assert other.ruling == question.ruling
    assert after.digest == before.digest


# One candidate more ---------------------------------------------------------------------------------------------------


def joined(question: Question, newcomer: Candidate) -> Question:
    """The same question with one candidate more, of which the job has told."""
    found = question.evidence
    ids = tuple({**dict.fromkeys(found.job.checkpoint_ids), newcomer.key.id: None})
    return replace(
        question,
        evidence=replace(
            found,
            job=replace(found.job, checkpoint_ids=ids),
            candidates=(*found.candidates, newcomer),
        ),
    )


def twin(question: Question, winner: Candidate, measures: dict[str, Any], **changes: Any) -> Candidate:
    """As fresh and as whole as the winner, and the last in order."""
    assert all(each.key.id < "9" for each in question.evidence.candidates)
    last = None if winner.step is None else max(each.step or 0 for each in question.evidence.candidates) + 100
    known = {name: found for name, found in measures.items() if found is not None}
    if last is not None and "step" in known:
        known["step"] = number(last)
    return replace(winner, key=key("9"), step=last, measures=known, **changes)


def winner_of(question: Question) -> Candidate:
    ruling = question.ruling
    assume(ruling.candidate is not None)
    (winner,) = (each for each in question.evidence.candidates if each.key == ruling.candidate)
    return winner


@SEARCH
@given(questions(quiet=False))
def test_a_candidate_more_that_fails_a_required_gate_changes_no_winner(question: Question) -> None:
    must = gate(PASS_RATE, ">= 0.5", id="must")
    question = replace(question, policy=replace(question.policy, gates=(*question.policy.gates, must)))
    winner = winner_of(question)
    failing = twin(question, winner, {**winner.measures, PASS_RATE: rate(9, 20)})
    wider = joined(question, failing).ruling
    assert wider.candidate == winner.key
    assert {a.verdict for a in wider.assessments if a.checkpoint == failing.key} == {Verdict.FAIL}


def worse(criterion: Criterion, measured: Measured | None, chance: Any) -> Measured | None:
    """Behind by this criterion: by more or by less than its tie, or without the number at all."""
    if measured is None or criterion.metric == "step" or chance.random() < 0.2:
        return None
    by = chance.choice((0.001, 0.04, 0.5)) * (-1 if criterion.higher_is_better else 1)
    return replace(measured, value=measured.value + by)


@SEARCH
@given(questions(quiet=False), st.randoms(use_true_random=False))
def test_a_candidate_more_that_is_worse_by_every_criterion_changes_no_winner(question: Question, chance: Any) -> None:
    winner = winner_of(question)
    measures: dict[str, Any] = dict(winner.measures)
    changes: dict[str, Any] = {}
    for criterion in question.policy.choose:
        if criterion.metric != DAYS_TO_SHUTDOWN:
            measures[criterion.metric] = worse(criterion, winner.measures.get(criterion.metric), chance)
        elif winner.shutdown_at is not None:
            changes = {"shutdown_at": winner.shutdown_at + (-1 if criterion.higher_is_better else 1) * DAY}
    # By one metric in both directions nobody is worse than anybody.
    directions = {(criterion.metric, criterion.higher_is_better) for criterion in question.policy.choose}
    assume(len(directions) == len({metric for metric, _ in directions}))
    assert joined(question, twin(question, winner, measures, **changes)).ruling.candidate == winner.key


# Less evidence --------------------------------------------------------------------------------------------------------


def forgetting(candidate: Candidate) -> list[Candidate]:
    """The same with one thing less that is known of it."""
    less = [
        replace(candidate, measures={name: found for name, found in candidate.measures.items() if name != gone})
        for gone in candidate.measures
    ]
    less += [
        replace(
            candidate,
            suites={name: facts for name, facts in candidate.suites.items() if name != gone},
            measures={name: found for name, found in candidate.measures.items() if suite_of(name) != gone},
        )
        for gone in candidate.suites
    ]
    less += [replace(candidate, datasets={}), replace(candidate, shutdown_at=None), replace(candidate, base_model="")]
    return less


def forgotten(question: Question, candidate: CheckpointKey) -> list[Evidence]:
    """The same evidence with one thing less of this candidate, of what serves, or of what it is compared with."""
    found = question.evidence
    (mine,) = (each for each in found.candidates if each.key == candidate)
    others = tuple(each for each in found.candidates if each.key != candidate)
    less = [replace(found, candidates=(*others, known)) for known in forgetting(mine)]
    if found.baseline is not None:
        less += [replace(found, baseline=known) for known in (None, *forgetting(found.baseline))]
    if found.current is not None:
        less += [replace(found, current=known) for known in (None, *forgetting(found.current))]
    return less


@SEARCH
@given(questions(strict=True), st.randoms(use_true_random=False))
def test_where_nothing_is_waved_through_less_evidence_never_helps(question: Question, chance: Any) -> None:
    assume(question.evidence.candidates)
    candidate = chance.choice(question.evidence.candidates).key
    if promoted(question, candidate):
        return
    for evidence in forgotten(question, candidate):
        assert not promoted(replace(question, evidence=evidence), candidate), evidence


# Kept for ever --------------------------------------------------------------------------------------------------------


def kept(question: Question) -> Decision:
    """The decision as `enforce_promotion` writes it down."""
    ruling = question.ruling
    return Decision(
        id="0" * 64,
        alias=ALIAS,
        kind="policy",
        outcome=ruling.outcome,
        reason=ruling.reason,
        at=question.now,
        actor="policy",
        actor_verified=True,
        generation=0,
        serial=0,
        stage=ruling.stage,
        policy_digest=question.policy.digest,
        evidence_digest=question.evidence.digest,
        job=JOB,
        candidate=ruling.candidate,
        baseline=ruling.baseline,
        waiting_for=ruling.waiting_for,
        until=ruling.until,
        assessments=ruling.assessments,
        trace=ruling.trace,
        evidence=question.evidence,
        standing=question.standing,
    )


@SEARCH
@given(questions())
def test_a_decision_survives_the_store_and_made_again_from_there_it_is_the_same(question: Question) -> None:
    decision = kept(question)
    again = decode(Decision, encode(decision))
    assert again == decision
    assert canonical(again) == canonical(decision)
    assert again.evidence is not None
    assert again.standing is not None
    assert again.evidence.digest == decision.evidence_digest
    assert decide(question.policy, again.evidence, again.standing, again.at) == question.ruling


@SEARCH
@given(questions())
def test_a_dry_run_chooses_what_would_be_promoted(question: Question) -> None:
    enforced = replace(question, policy=replace(question.policy, mode=Mode.ENFORCE)).ruling
    dry = replace(question, policy=replace(question.policy, mode=Mode.DRY_RUN)).ruling
    if dry.outcome is Outcome.WOULD_PROMOTE:
        assert (enforced.candidate, enforced.assessments, enforced.best) == (dry.candidate, dry.assessments, dry.best)
        assert (enforced.outcome is Outcome.PROMOTED) is ("would then" not in dry.reason)
    else:
        assert dry == enforced
