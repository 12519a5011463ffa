"""The rules of a seed: which policies there are, what each of them asks, and what becomes of them when they are edited.

Every part of the language that has time, people or the provider in it is drawn in some seeds and left out in most.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import date, time, timedelta

from ratchet.domain.keys import AliasKey, Provider, digest
from ratchet.domain.policy import (
    Apply,
    Approval,
    ApprovalWhen,
    Baseline,
    BaselineUse,
    Comparison,
    Criterion,
    DriftUse,
    Gate,
    Mode,
    Pacing,
    Policy,
    Rerun,
    RollBackUse,
    Selector,
    Settle,
    SuiteEvidence,
    Trigger,
    Until,
    WatchPlan,
    WhenMissing,
)
from ratchet.domain.rules import Rules
from ratchet.domain.smoke import Price
from ratchet.domain.suite import Budget, Case, Suite
from ratchet.domain.windows import WEEK, Weekly, Window, WindowKind
from simulation.chance import Chance
from simulation.promises.watch import CASES, NEEDED
from simulation.provider import ANSWER_TOKENS

PROD, CANARY, BETA = AliasKey("alpha", "prod"), AliasKey("alpha", "canary"), AliasKey("beta", "prod")
SHADOW = PROD.shadow("strict")


def rules(chance: Chance, *, edited: bool) -> Rules:
    suites = [_suite("core", _budget(chance) if chance.happens("feature", "budget", 0.15) else Budget())]
    if chance.fraction("second suite") < 0.2:
        suites.append(_suite("more", Budget()))
    policies = list(_policies(chance, suites, edited))
    named = {suite.name: suite for suite in suites}
    return Rules(policies=tuple(policies), suites=named, digest=digest(*(p.digest for p in policies)))


def _policies(chance: Chance, suites: list[Suite], edited: bool) -> Iterator[Policy]:
    yield _seasoned(chance, _plain(PROD, suites, Until.JOB_TERMINAL, apply=True), edited)
    each = chance.fraction("beta each") < 0.6
    beta = _plain(BETA, suites[:1], Until.EACH_CHECKPOINT if each else Until.JOB_TERMINAL, apply=False)
    yield _seasoned(chance, beta, edited)
    if chance.fraction("canary") < 0.4:
        yield _named(_plain(CANARY, suites[:1], Until.JOB_TERMINAL, apply=True), edited=False)
    if chance.happens("feature", "shadow", 0.3):
        strict = _plain(PROD, suites[:1], Until.JOB_TERMINAL, apply=False)
        yield _named(replace(strict, name="strict", alias=SHADOW, mode=Mode.DRY_RUN), edited)


def prices(chance: Chance) -> Mapping[str, Price]:
    """A dollar a token, unless nobody has written a price down."""
    return {} if chance.fraction("no price") < 0.3 else {"base": Price(input=1e6, output=1e6, as_of=date(2026, 1, 1))}


def _budget(chance: Chance) -> Budget:
    """Of half the suite, or of a time that ends while the endpoint is silent."""
    half = ANSWER_TOKENS * CASES // 2
    return chance.pick("budget", (Budget(tokens=half), Budget(usd=half), Budget(wall=timedelta(minutes=5))))


def _suite(name: str, budget: Budget) -> Suite:
    return Suite(
        name=name,
        cases=tuple(Case(id=f"case-{n}", prompt=str(n), asserts=()) for n in range(CASES)),
        repeats=1,
        # One at a time, what is spent beyond a budget is known to the case.
        concurrency=2 if budget == Budget() else 1,
        digest=digest("suite", name, str(budget)),
        text="{}",
        budget=budget,
    )


def _plain(alias: AliasKey, suites: list[Suite], until: Until, *, apply: bool) -> Policy:
    bound = NEEDED / CASES
    return Policy(
        name=f"{alias.line}-{alias.alias}",
        alias=alias,
        mode=Mode.ENFORCE,
        select=Selector(providers=frozenset({Provider.VERTEX, Provider.OPENAI}), labels={"ratchet-line": alias.line}),
        settle=Settle(until=until, quiet=None, max_wait=timedelta(hours=24)),
        evidence=tuple(SuiteEvidence(suite=s.name, suite_digest=s.digest, min_cases=2, max_age=None) for s in suites),
        metrics=(),
        baseline=Baseline(use=BaselineUse.CURRENT, rerun=Rerun.NEVER, when_missing=WhenMissing.ALLOW),
        gates=tuple(
            Gate(id=s.name, metric=f"suites.{s.name}.pass_rate", passes=((Comparison(">=", f">= {bound}", bound),),))
            for s in suites
        ),
        choose=(Criterion(metric="suites.core.pass_rate", higher_is_better=True, tie=0.01),),
        must_beat=None,
        approval=Approval(
            when=ApprovalWhen.NEVER, least=1, approvers=(), not_by_trigger=True, expires=timedelta(minutes=20)
        ),
        pacing=Pacing(cooldown=None, max_per_day=None),
        windows=(),
        apply=frozenset({Apply.VERTEX_DEFAULT} if apply else ()),
        watch=None,
        rollback=RollBackUse(triggers=frozenset({Trigger.WATCH_FAILED}), hold=None, breaker=2),
        drift=DriftUse.HOLD,
        digest="",
        text="{}",
    )


def _named(policy: Policy, edited: bool) -> Policy:
    suites = (wanted.suite_digest for wanted in policy.evidence)
    return replace(policy, digest=digest("policy", str(policy.alias), str(edited), *suites))


def _seasoned(chance: Chance, policy: Policy, edited: bool) -> Policy:
    """With what this seed asks of this policy; an edit draws it anew."""
    which = f"{policy.name} {edited}"

    def has(feature: str, rate: float) -> bool:
        return chance.happens("feature", f"{which} {feature}", rate)

    drift = chance.pick(f"{which} drift", (DriftUse.HOLD, DriftUse.REVERT, DriftUse.ADOPT))
    triggers = {Trigger.WATCH_FAILED} | ({Trigger.ENDPOINT_GONE} if has("gone", 0.5) else set())
    hold = timedelta(minutes=5) if has("short hold", 0.5) else None
    season = replace(policy, drift=drift, rollback=RollBackUse(triggers=frozenset(triggers), hold=hold, breaker=2))
    if has("watch", 0.4):
        count = 1 + int(chance.fraction(f"{which} count") * 3)
        season = replace(
            season,
            watch=WatchPlan(
                suite="core",
                delay=timedelta(seconds=30),
                interval=timedelta(minutes=5),
                count=count,
                failures=1,
                inconclusive=2,
            ),
        )
    if has("approval", 0.25):
        when = chance.pick(f"{which} asks", (ApprovalWhen.ALWAYS, ApprovalWhen.ALWAYS, ApprovalWhen.FIRST_PROMOTION))
        least = 1 + int(chance.fraction(f"{which} least") < 0.4)
        season = replace(season, approval=replace(season.approval, when=when, least=least))
    if has("baseline", 0.35):
        use = chance.pick(f"{which} use", tuple(BaselineUse)[:3])
        rerun = chance.pick(f"{which} rerun", (Rerun.ALWAYS, Rerun.IF_STALE))
        drop = Gate(
            id="no-drop",
            metric="suites.core.pass_rate",
            passes=((Comparison(">=", ">= baseline - 0.3", None, -0.3),),),
        )
        season = replace(
            season,
            baseline=replace(season.baseline, use=use, rerun=rerun),
            gates=(*season.gates, drop),
        )
    if has("age", 0.2):
        aged = tuple(replace(wanted, max_age=timedelta(minutes=10)) for wanted in season.evidence)
        season = replace(season, evidence=aged)
    if has("quiet", 0.15):
        season = replace(season, settle=replace(season.settle, quiet=timedelta(minutes=1)))
    if has("cooldown", 0.2):
        season = replace(season, pacing=replace(season.pacing, cooldown=timedelta(minutes=10)))
    if has("window", 0.2):
        begins = int(chance.between(f"{which} window", 15, 40))
        closed = Weekly(days=frozenset(WEEK), start=time(12, begins), end=time(12, begins + 15))
        season = replace(season, windows=(Window(name="noon", kind=WindowKind.DENY, zone="UTC", when=closed),))
    return _named(season, edited)
