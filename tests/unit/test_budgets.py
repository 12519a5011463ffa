"""A run stops when its budget is spent, says so, and is no evidence."""

from dataclasses import replace
from datetime import date, timedelta

import pytest

from ratchet.application.state import find_all
from ratchet.domain.records import CaseResult, RunOutcome, SmokeRun
from ratchet.domain.rules import Rules
from ratchet.domain.smoke import Price
from ratchet.domain.suite import Budget
from support.world import World, policy, rules, suite

BASE = "gemini-2.5-flash"
PRICE = Price(input=1.0, output=5.0, as_of=date(2026, 11, 1))


def with_budget(**budget: object) -> World:
    """A suite of forty calls, four at a time, each of six tokens; its checkpoint is good."""
    limited = replace(suite(), budget=Budget(**budget), concurrency=4)  # type: ignore[arg-type]
    in_force = rules(policy())
    world = World(Rules(policies=in_force.policies, suites={"core": limited}, digest=in_force.digest))
    world.hint(world.job("8812", {100: 1.0}))
    return world


def the_run(world: World) -> SmokeRun:
    (job,) = world.provider.jobs
    (stored,) = find_all(world.store, SmokeRun, job=str(job))
    return stored.value


def answered(world: World) -> int:
    return len(find_all(world.store, CaseResult, run=the_run(world).key))


def test_without_a_budget_all_is_asked() -> None:
    world = with_budget()
    assert (the_run(world).outcome, world.serving()) == (RunOutcome.PASS, 100)


def test_a_run_beyond_its_tokens_stops_at_once_and_for_good_and_promotes_nothing() -> None:
    world = with_budget(tokens=30)
    run = the_run(world)
    assert (run.outcome, run.last, run.attempt) == (RunOutcome.INCONCLUSIVE, True, 1)
    count = len(suite().calls())
    assert run.reason == f"the budget of 30 tokens is spent, no answer to {count - 8} of {count} questions"
    assert answered(world) == 8  # the fifth reply spends it, and three more were on their way
    world.sweep(120)
    assert (world.provider.calls, world.serving()) == (8, None)


def test_a_run_whose_last_answer_spends_the_budget_is_whole() -> None:
    world = with_budget(tokens=6 * len(suite().calls()))
    assert the_run(world).outcome is RunOutcome.PASS


def test_money_is_counted_by_the_price_of_the_base_model() -> None:
    limited = replace(suite(), budget=Budget(usd=0.00003))
    in_force = rules(policy())
    world = World(Rules(policies=in_force.policies, suites={"core": limited}, digest=in_force.digest))
    world.prices = {BASE: PRICE}
    world.hint(world.job("8812", {100: 1.0}))
    run = the_run(world)
    assert run.reason.startswith("the budget of 3e-05 USD is spent")
    world.prices = {}


def test_a_price_that_nobody_knows_makes_a_budget_in_money_inconclusive_before_anything_is_paid() -> None:
    world = with_budget(usd=1.0)
    run = the_run(world)
    assert (run.outcome, run.last) == (RunOutcome.INCONCLUSIVE, True)
    assert run.reason == f"the budget is in USD, and prices in ratchet.yaml lack {BASE}"
    assert answered(world) == 0


def test_the_cost_of_a_run_is_evidence() -> None:
    world = World()
    world.prices = {BASE: PRICE}
    world.hint(world.job("8812", {100: 1.0}))
    summary = the_run(world).summary
    assert summary is not None
    assert summary.usd == pytest.approx(PRICE.usd(summary.tokens_in, summary.tokens_out))
    evidence = world.decisions()[-1].evidence
    assert evidence is not None
    assert evidence.candidates[0].measures["suites.core.usd"].value == summary.usd


def test_a_budget_of_time_counts_from_the_first_case_over_all_continuations() -> None:
    limited = replace(suite(), budget=Budget(wall=timedelta(minutes=10)))
    in_force = rules(policy())
    world = World(Rules(policies=in_force.policies, suites={"core": limited}, digest=in_force.digest))
    target = "projects/42/locations/us-central1/endpoints/88121"
    job = world.job("8812", {100: 1.0})
    world.provider.throttled.add(target)
    world.hint(job)
    assert the_run(world).outcome is None
    world.sweep(30)
    run = the_run(world)
    assert (run.outcome, run.last) == (RunOutcome.INCONCLUSIVE, True)
    assert run.reason.startswith("the budget of 10m is spent")
