"""Which checkpoints a policy is about, and which policy and suite are meant."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from ratchet.domain.keys import AliasKey, Provider
from ratchet.domain.policy import Apply, Mode, Selector, Until
from ratchet.domain.rules import Rules, Traits, selects
from ratchet.domain.suite import Suite
from support.decisions import ALIAS, MOMENT, START, policy, settle

WANTED = Selector(
    providers=frozenset({Provider.VERTEX}),
    labels={"team": "ml", "line": "support"},
    base_models=frozenset({"gemini-2.5-flash", "gemini-2.5-pro"}),
    names=("support-*", "faq[0-9]"),
)
TRAITS = Traits(
    provider=Provider.VERTEX,
    base_model="gemini-2.5-pro",
    labels={"line": "support", "team": "ml", "more": "yes"},
    name="support-router",
    job_created_at=START,
)


def why_not(select: Selector = WANTED, mode: Mode = Mode.DRY_RUN, **traits: Any) -> str | None:
    return selects(policy(select=select, mode=mode), replace(TRAITS, **traits), START)


def test_a_checkpoint_with_everything_that_is_wanted_is_selected() -> None:
    assert why_not() is None
    assert why_not(mode=Mode.ENFORCE) is None
    assert why_not(name="faq7") is None


@pytest.mark.parametrize(
    ("traits", "why"),
    [
        ({"job_created_at": None}, "the job is older than since (2026-11-22T12:00Z)"),
        ({"job_created_at": START - MOMENT}, "the job is older than since (2026-11-22T12:00Z)"),
        ({"provider": Provider.OPENAI}, "its provider is openai"),
        ({"base_model": "gemini-2.0-flash"}, "its base model is gemini-2.0-flash"),
        ({"name": "Support-router"}, "its name is 'Support-router'"),
        ({"name": "faq"}, "its name is 'faq'"),
        ({"name": ""}, "its job has no name"),
        ({"labels": {}}, "it has no label line"),
        ({"labels": {"line": "support"}}, "it has no label team"),
        ({"labels": {"line": "x", "team": "y"}}, "its label line is 'x', not 'support'"),
    ],
)
def test_the_first_thing_that_differs_is_said(traits: dict[str, Any], why: str) -> None:
    assert why_not(**traits) == why


def test_a_disabled_policy_selects_nothing() -> None:
    assert why_not(mode=Mode.DISABLED) == "the policy is disabled"


def test_what_is_not_asked_for_may_be_anything() -> None:
    anything = Selector(providers=frozenset(Provider), labels={})
    later = START + timedelta(days=1)
    assert why_not(anything, provider=Provider.OPENAI, base_model="", labels={}, name="", job_created_at=later) is None


def suite(name: str) -> Suite:
    return Suite(
        name=name,
        cases=(),
        repeats=1,
        concurrency=1,
        digest=f"d-{name}",
        text="{}",
    )


def test_a_policy_is_found_by_its_alias_and_a_suite_by_its_digest() -> None:
    other = policy(name="other", alias=ALIAS.shadow("other"))
    rules = Rules(policies=(other, policy()), suites={"core": suite("core"), "extra": suite("extra")}, digest="d")
    assert rules.policy_for(ALIAS) == policy()
    assert rules.policy_for(other.alias) == other
    assert rules.policy_for(AliasKey("line", "prod")) is None
    assert rules.suite_by_digest("d-extra") == suite("extra")
    assert rules.suite_by_digest("extra") is None


def test_a_disabled_policy_decides_nothing() -> None:
    rules = Rules(policies=(policy(mode=Mode.DISABLED),), suites={}, digest="d")
    assert rules.policy_for(ALIAS) is None
    beside = replace(rules, policies=(*rules.policies, policy(name="second")))
    assert beside.policy_for(ALIAS) == policy(name="second")


@pytest.mark.parametrize(
    ("until", "apply", "waits"),
    [
        (Until.JOB_TERMINAL, frozenset(), True),
        (Until.EACH_CHECKPOINT, frozenset(), False),
        (Until.EACH_CHECKPOINT, frozenset({Apply.VERTEX_DEFAULT}), True),
        (Until.JOB_TERMINAL, frozenset({Apply.VERTEX_DEFAULT}), True),
    ],
)
def test_a_models_default_is_only_written_when_its_job_has_ended(
    until: Until, apply: frozenset[Apply], waits: bool
) -> None:
    assert policy(settle=settle(until=until), apply=apply).waits_for_end is waits
