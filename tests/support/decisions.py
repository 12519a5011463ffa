"""Policies, evidence and standings as plain values, by hand or by chance: what the tests of the domain decide on."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from random import Random
from typing import Any, TypeVar

from hypothesis import strategies as st

from ratchet.domain.decide import decide
from ratchet.domain.decision import Ruling, Standing
from ratchet.domain.evidence import DAYS_TO_SHUTDOWN, Candidate, Evidence, JobFacts, Measured, SuiteFacts
from ratchet.domain.gates import must_be_same
from ratchet.domain.keys import AliasKey, CheckpointKey, JobKey, Provider, digest
from ratchet.domain.policy import (
    Apply,
    Approval,
    ApprovalWhen,
    Baseline,
    BaselineUse,
    Comparison,
    Condition,
    Criterion,
    DriftUse,
    Gate,
    Missing,
    Mode,
    MustBeat,
    Pacing,
    Policy,
    Rerun,
    RollBackUse,
    Selector,
    Settle,
    SuiteEvidence,
    Until,
    WhenMissing,
)
from ratchet.domain.records import Ask, CheckpointState, Hold, JobState, Move, Purpose, Vote
from ratchet.domain.windows import Dated, Day, Weekly, Window, WindowKind

START = datetime(2026, 11, 22, 12, tzinfo=UTC)
"""A Sunday."""
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
MOMENT = timedelta(microseconds=1)
"""The least that a time can differ by."""

ALIAS = AliasKey("support-router", "prod")
JOB = JobKey(Provider.VERTEX, "42", "us-central1", "8812")
EARLIER_JOB = JobKey(Provider.VERTEX, "42", "us-central1", "8611")

PASS_RATE = "suites.core.pass_rate"
REGRESSIONS = "suites.core.regressions"
CASES = 20

T = TypeVar("T")

_COMPARISON = re.compile(r"(<=|>=|==|!=|<|>) (?:baseline(?: ([-+]) ([0-9.]+)(%?))?|(-?[0-9.e+-]+))")


def key(checkpoint: str = "1", job: JobKey = JOB) -> CheckpointKey:
    return CheckpointKey(job, checkpoint)


# Policies.


def comparison(text: str) -> Comparison:
    """A comparison as people write it: `>= 0.9`, `<= baseline + 2%`."""
    found = _COMPARISON.fullmatch(text)
    assert found is not None, text
    op, sign, offset, percent, bound = found.groups()
    if bound is not None:
        return Comparison(op, text, float(bound))
    return Comparison(op, text, None, float(f"{sign or ''}{offset or 0}"), percent == "%")


def condition(*alternatives: str | Sequence[str]) -> Condition:
    """Any of these, each of which is one comparison or all of several."""
    return tuple(
        tuple(map(comparison, [alternative] if isinstance(alternative, str) else alternative))
        for alternative in alternatives
    )


def gate(metric: str, *passes: str | Sequence[str], warns: str | None = None, **changes: Any) -> Gate:
    made = Gate(id="g", metric=metric, passes=condition(*passes), warns=condition(warns) if warns else ())
    return replace(made, **changes)


def wants(suite: str = "core", **changes: Any) -> SuiteEvidence:
    made = SuiteEvidence(suite=suite, suite_digest=digest("suite", suite), min_cases=1, max_age=None)
    return replace(made, **changes)


def higher(metric: str, tie: float = 0.0) -> Criterion:
    return Criterion(metric=metric, higher_is_better=True, tie=tie)


def lower(metric: str, tie: float = 0.0) -> Criterion:
    return Criterion(metric=metric, higher_is_better=False, tie=tie)


def policy(**changes: Any) -> Policy:
    """One that promotes the best of a job whose smoke tests pass, and asks nobody."""
    made = Policy(
        name="support-router-prod",
        alias=ALIAS,
        mode=Mode.ENFORCE,
        select=Selector(providers=frozenset({Provider.VERTEX, Provider.OPENAI}), labels={}),
        settle=Settle(until=Until.JOB_TERMINAL, quiet=None, max_wait=DAY),
        evidence=(wants(),),
        metrics=(),
        baseline=Baseline(use=BaselineUse.CURRENT, rerun=Rerun.NEVER, when_missing=WhenMissing.ALLOW),
        gates=(gate(PASS_RATE, ">= 0.9"),),
        choose=(higher(PASS_RATE),),
        must_beat=None,
        approval=Approval(
            when=ApprovalWhen.NEVER, least=1, approvers=(), not_by_trigger=False, expires=timedelta(hours=48)
        ),
        pacing=Pacing(cooldown=None, max_per_day=None),
        windows=(),
        apply=frozenset(),
        watch=None,
        rollback=RollBackUse(triggers=frozenset(), hold=None, breaker=3),
        drift=DriftUse.HOLD,
        digest=digest("policy"),
        text="{}",
    )
    return replace(made, **changes)


def approval(**changes: Any) -> Approval:
    return replace(policy().approval, **{"when": ApprovalWhen.ALWAYS, **changes})


def baseline(**changes: Any) -> Baseline:
    return replace(policy().baseline, **changes)


def settle(**changes: Any) -> Settle:
    return replace(policy().settle, **changes)


# Evidence.


def number(value: float, source: str = "checkpoint") -> Measured:
    return Measured(value=float(value), source=source)


def rate(count: int, total: int, source: str = "run r-1") -> Measured:
    return Measured(value=count / total, source=source, count=count, total=total)


def ran(**changes: Any) -> SuiteFacts:
    """A finished run of a suite."""
    made = SuiteFacts(run="r-1", purpose=Purpose.GATE, occasion="-", finished_at=START, cases=CASES, repeats=1)
    return replace(made, **changes)


def candidate(
    checkpoint: str = "1",
    passed: int | None = CASES,
    *,
    job: JobKey = JOB,
    total: int = CASES,
    measures: Mapping[str, float | Measured] = {},
    **changes: Any,
) -> Candidate:
    """A checkpoint whose id is its step in hundreds; `passed`: of the cases of suite `core`, None: not tested yet."""
    found = {name: value if isinstance(value, Measured) else number(value) for name, value in measures.items()}
    if passed is not None:
        found = {PASS_RATE: rate(passed, total), **found}
    step = int(checkpoint) * 100
    made = Candidate(
        key=key(checkpoint, job),
        step=step,
        state=CheckpointState.READY,
        base_model="gemini-2.5-flash",
        recorded_at=START,
        measures={"step": number(step), **found},
        suites={} if passed is None else {"core": ran(cases=total)},
        untested=("core",) if passed is None else (),
    )
    return replace(made, **changes)


def job_facts(*candidates: Candidate, **changes: Any) -> JobFacts:
    """A job that has just ended well, and listed these."""
    made = JobFacts(
        key=JOB,
        state=JobState.SUCCEEDED,
        first_seen_at=START,
        ended_at=START,
        checkpoint_ids=tuple(candidate.key.id for candidate in candidates if candidate.key.job == JOB),
    )
    return replace(made, **changes)


def evidence(*candidates: Candidate, **changes: Any) -> Evidence:
    return replace(Evidence(job=job_facts(*candidates), candidates=candidates), **changes)


# By chance: any valid policy, on any evidence, wherever the alias stands.

SCORE, ERROR_RATE, EXTRA = "suites.core.score", "suites.core.error_rate", "suites.extra.pass_rate"
LOSS = "valid_loss"
RATES = (PASS_RATE, ERROR_RATE, EXTRA)
METRICS = (*RATES, SCORE, REGRESSIONS, LOSS, "overfit_gap", "step", DAYS_TO_SHUTDOWN)
ANA, BEN, CARL = "ana@acme.com", "ben@acme.com", "carl@ml.acme.com"

_ABSOLUTE = tuple(map(comparison, (">= 0.5", ">= 0.9", "> 0", "<= 0.1", "<= 20", "< 1", "== 0", "!= 1", ">= 1000")))
_ORDERED = _ABSOLUTE[:6]
_RELATIVE = tuple(
    map(comparison, (">= baseline", ">= baseline - 0.05", "<= baseline + 2%", "<= baseline + 0.1", "> baseline - 50%"))
)
_local = datetime.fromisoformat
_WINDOWS = (
    Window(
        name="week",
        kind=WindowKind.ALLOW,
        zone="Europe/Berlin",
        when=Weekly(days=frozenset(Day) - {Day.SATURDAY, Day.SUNDAY}, start=time(9), end=time(17)),
    ),
    Window(
        name="nights", kind=WindowKind.DENY, zone="UTC", when=Weekly(days=frozenset(Day), start=time(22), end=time(6))
    ),
    Window(
        name="year", kind=WindowKind.ALLOW, zone="UTC", when=Dated(start=_local("2026-01-01"), end=_local("2027-01-01"))
    ),
    Window(
        name="freeze",
        kind=WindowKind.DENY,
        zone="UTC",
        when=Dated(start=_local("2026-11-23"), end=_local("2027-01-01")),
    ),
    Window(
        name="over", kind=WindowKind.ALLOW, zone="UTC", when=Dated(start=_local("2020-01-01"), end=_local("2021-01-01"))
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a decision is asked for."""

    policy: Policy
    evidence: Evidence
    standing: Standing
    now: datetime

    @property
    def ruling(self) -> Ruling:
        return decide(self.policy, self.evidence, self.standing, self.now)


def questions(*, strict: bool = False, quiet: bool = True) -> st.SearchStrategy[Question]:
    """Any question. `strict`: no skip, warn or allow in its policy; not `quiet`: nothing waits only because it is new.

    Where it comes to asking people, they often have been asked, and have answered. Drawn from one seed, so that what is
    rare comes as often as is said here: Hypothesis would rather try what is simple, and takes ten times as long.
    """
    return st.randoms(use_true_random=True).map(lambda random: _question(Chance(random), strict=strict, quiet=quiet))


class Chance:
    """A few words for drawing."""

    def __init__(self, random: Random) -> None:
        self._random = random

    def any(self, *values: T) -> T:
        return self._random.choice(values)

    def one_in(self, times: int) -> bool:
        return self._random.randrange(times) == 0

    def seldom(self, values: Sequence[T], otherwise: T, *, one_in: int = 8) -> T:
        """Mostly nothing out of the ordinary, or hardly any decision would come to its end."""
        return self.any(*values) if self.one_in(one_in) else otherwise

    def some(self, values: Sequence[T], most: int) -> list[T]:
        return self._random.sample(values, min(self._random.randint(0, most), len(values)))

    def ago(self, *hours: float) -> datetime:
        return START - self.any(*hours) * HOUR


def _gate(chance: Chance, *, strict: bool) -> Gate:
    metric = chance.any(*METRICS)
    level = chance.any(None, 0.5, 0.9) if metric in RATES else None

    def one() -> Comparison:
        return chance.any(*_ORDERED) if level is not None else chance.any(*_ABSOLUTE, *_RELATIVE)

    return Gate(
        id=f"{metric}-{chance.any(*'abcdef')}",
        metric=metric,
        passes=tuple(tuple(one() for _ in range(chance.any(1, 1, 2))) for _ in range(chance.any(1, 1, 2))),
        warns=((one(),),) if chance.one_in(3) else (),
        required=chance.any(True, False),
        missing=chance.any(*((Missing.INCONCLUSIVE, Missing.FAIL) if strict else Missing)),
        comparable=chance.any(frozenset(), must_be_same(LOSS)),
        level=level,
    )


def _criterion(chance: Chance) -> Criterion:
    return Criterion(
        metric=chance.any(*METRICS), higher_is_better=chance.any(True, False), tie=chance.any(0.0, 0.05, 1.0)
    )


def _policy(chance: Chance, *, strict: bool, quiet: bool) -> Policy:
    spans = (HOUR, 6 * HOUR, 2 * DAY)
    missing = (WhenMissing.APPROVAL, WhenMissing.BLOCK) if strict else tuple(WhenMissing)
    core = wants(
        min_cases=chance.any(1, 10),
        min_repeats=chance.any(1, 2),
        max_age=chance.seldom((2 * HOUR, 3 * DAY), None, one_in=3),
    )
    easy = gate(PASS_RATE, ">= 0.5", id="easy")
    return policy(
        mode=chance.seldom(tuple(Mode), Mode.ENFORCE, one_in=3),
        settle=Settle(
            until=chance.any(*Until),
            quiet=chance.seldom(spans, None, one_in=12) if quiet else None,
            max_wait=chance.any(*spans),
        ),
        evidence=(core, wants("extra")) if chance.one_in(4) else (core,),
        metrics=(chance.any(*METRICS),) if chance.one_in(8) else (),
        baseline=Baseline(
            use=chance.any(*BaselineUse),
            rerun=chance.seldom(tuple(Rerun), Rerun.NEVER, one_in=4),
            when_missing=chance.seldom(missing, missing[0], one_in=3),
        ),
        gates=(easy, *(_gate(chance, strict=strict) for _ in range(chance.any(0, 0, 1, 1, 2, 3)))),
        choose=tuple(_criterion(chance) for _ in range(chance.any(1, 2, 3))),
        must_beat=MustBeat(criterion=_criterion(chance), by=chance.any(0.0, 0.05)) if chance.one_in(6) else None,
        approval=Approval(
            when=chance.any(*ApprovalWhen),
            least=chance.any(1, 2),
            approvers=chance.any((), (ANA, BEN), ("*@acme.com", CARL)),
            not_by_trigger=chance.any(True, False),
            expires=chance.any(*spans),
        ),
        pacing=Pacing(
            cooldown=chance.seldom(spans, None, one_in=2), max_per_day=chance.seldom((1, 2, 3), None, one_in=4)
        ),
        windows=tuple(chance.some(_WINDOWS, 2) or _WINDOWS[:1]) if chance.one_in(2) else (),
        apply=frozenset({Apply.VERTEX_DEFAULT}) if chance.one_in(8) else frozenset(),
    )


def _candidate(chance: Chance, checkpoint: CheckpointKey, rule: Policy) -> Candidate:
    """Any checkpoint, tested or not, with any numbers: of a suite only where it has a run with a verdict."""
    measures: dict[str, Measured] = {}
    suites: dict[str, SuiteFacts] = {}
    step = chance.seldom((None,), 100 * chance.any(*range(1, 9)), one_in=20)
    if step is not None:
        measures["step"] = number(step)
    for suite in ("core", "extra"):
        if not chance.one_in(12):
            suites[suite] = ran(
                purpose=chance.seldom((Purpose.BASELINE,), Purpose.GATE),
                occasion=chance.any("-", "-", "3", str(JOB)),
                finished_at=chance.ago(0, 0.5, 1, 1, 1, 60),
                repeats=chance.any(1, 2, 2, 2),
                trouble=chance.seldom(("throttled",), "", one_in=12),
            )
    if "core" in suites and not suites["core"].trouble:
        passed = chance.any(0, 9, 10, 18, 18, 19, 20, 20)
        measures[PASS_RATE] = rate(passed, CASES)
        measures[ERROR_RATE] = rate(chance.any(0, CASES - passed), CASES)
        measures[SCORE] = number(passed / CASES, "run r-1")
        if not chance.one_in(4):
            measures[REGRESSIONS] = number(chance.any(0, 1, 2), "run r-1")
    if "extra" in suites and not suites["extra"].trouble:
        measures[EXTRA] = rate(chance.any(0, 1, 2, 3), 3)
    if not chance.one_in(4):
        measures[LOSS] = number(chance.any(0.1, 0.5, 0.9), chance.seldom(("event",), "checkpoint"))
        measures["overfit_gap"] = number(chance.any(-0.1, 0.0, 0.2), f"derived from {LOSS}")
    return Candidate(
        key=checkpoint,
        step=step,
        state=chance.seldom(tuple(CheckpointState), CheckpointState.READY, one_in=10),
        base_model=chance.any("gemini-2.5-flash", "gpt-4.1-mini"),
        recorded_at=chance.ago(0, 1, 3, 60),
        datasets=chance.any({}, {"validation": "v1"}, {"validation": "v2", "training": "t1"}),
        shutdown_at=chance.any(None, START + 30 * DAY, START + 2000 * DAY),
        measures=measures,
        suites=suites,
        untested=tuple(wanted.suite for wanted in rule.evidence if wanted.suite not in suites),
    )


def _evidence(chance: Chance, rule: Policy) -> Evidence:
    """Whatever may be gathered for a policy."""
    ids = chance.some("1234", 4) or chance.some("1234", 4)
    found = tuple(_candidate(chance, key(one), rule) for one in ids)
    state = chance.seldom(tuple(JobState), JobState.SUCCEEDED)

    def pointed() -> Candidate | None:
        return chance.any(None, _candidate(chance, key("9", EARLIER_JOB), rule), *found[:1])

    current, other = pointed(), pointed()
    return Evidence(
        job=JobFacts(
            key=JOB,
            state=state,
            first_seen_at=chance.ago(70, 28 * 24, 30 * 24),
            ended_at=chance.any(None, START, START - 60 * HOUR, START - 60 * HOUR) if state.terminal else None,
            checkpoint_ids=(*ids, "8") if chance.one_in(12) else tuple(ids),
            triggered_by=chance.any((), (ANA,), (ANA, "ben-acme-com")),
        ),
        candidates=found,
        current=current,
        baseline={BaselineUse.CURRENT: current, BaselineUse.NONE: None}.get(rule.baseline.use, other),
        best_of_line=other,
    )


def _standing(chance: Chance, found: Evidence) -> Standing:
    serves = found.current.key if found.current is not None else chance.seldom((key("7", EARLIER_JOB),), None)
    hold = Hold(actor=BEN, reason="audit", since=START, until=chance.any(None, START, START + 50 * HOUR))
    times = sorted(chance.ago(-2, 0, 1, 5, 30) for _ in range(chance.any(0, 1, 2, 3)))
    return Standing(
        current=serves,
        quarantine=tuple(chance.some([each.key for each in found.candidates], 2)) if chance.one_in(8) else (),
        hold=hold if chance.one_in(5) else None,
        moves=tuple(
            Move(serial=n, at=at, decision="d", rolled_back=chance.any(True, False)) for n, at in enumerate(times, 1)
        ),
        tests_since=chance.seldom((START, START - 5 * HOUR), None),
    )


def _question(chance: Chance, *, strict: bool, quiet: bool) -> Question:
    rule = _policy(chance, strict=strict, quiet=quiet)
    found = _evidence(chance, rule)
    now = START + chance.any(0, 0, 0.5, 5, 48) * HOUR
    asked = Question(policy=rule, evidence=found, standing=_standing(chance, found), now=now)
    ruling = asked.ruling
    if ruling.waiting_for != "approval" or ruling.candidate is None or chance.one_in(4):
        return asked
    votes = tuple(
        Vote(
            actor=chance.any(ANA, BEN, CARL, "eve@evil.org"),
            approves=not chance.one_in(5),
            at=chance.ago(0, -1),
            reason="because",
        )
        for _ in range(chance.any(0, 1, 2, 3))
    )
    ask = Ask(
        decision="d",
        job=JOB,
        candidate=ruling.candidate,
        evidence=chance.seldom(("other",), found.digest),
        policy=rule.digest,
        asked_at=START,
        until=START + rule.approval.expires,
        votes=votes,
    )
    return replace(asked, standing=replace(asked.standing, approval=ask))
