"""All policies and suites in force, and which checkpoints each policy is about."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase

from ratchet.domain.keys import AliasKey, Provider
from ratchet.domain.policy import Mode, Policy
from ratchet.domain.suite import Suite


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """`digest` changes when any policy or suite does."""

    policies: tuple[Policy, ...]
    suites: Mapping[str, Suite]
    digest: str

    def suite_by_digest(self, digest: str) -> Suite | None:
        return next((suite for suite in self.suites.values() if suite.digest == digest), None)

    def policy_for(self, alias: AliasKey) -> Policy | None:
        """The policy that decides about the alias, or about the shadow of one; one that is disabled decides nothing."""
        return next((p for p in self.policies if p.alias == alias and p.mode is not Mode.DISABLED), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What a policy selects a checkpoint by. `name` is the one that people gave its job; empty where they gave none."""

    provider: Provider
    base_model: str
    labels: Mapping[str, str]
    name: str
    job_created_at: datetime | None


def selects(policy: Policy, traits: Traits, since: datetime) -> str | None:
    """None when the policy selects such a checkpoint; else the first thing that differs, for people.

    A job without a creation time is as old as any: nothing is tested or promoted by accident.
    """
    wanted = policy.select
    if policy.mode is Mode.DISABLED:
        return "the policy is disabled"
    if traits.job_created_at is None or traits.job_created_at < since:
        return f"the job is older than since ({since:%Y-%m-%dT%H:%MZ})"
    if traits.provider not in wanted.providers:
        return f"its provider is {traits.provider}"
    if wanted.base_models and traits.base_model not in wanted.base_models:
        return f"its base model is {traits.base_model}"
    if wanted.names and not any(fnmatchcase(traits.name, pattern) for pattern in wanted.names):
        return f"its name is {traits.name!r}" if traits.name else "its job has no name"
    for name, value in sorted(wanted.labels.items()):
        if name not in traits.labels:
            return f"it has no label {name}"
        if traits.labels[name] != value:
            return f"its label {name} is {traits.labels[name]!r}, not {value!r}"
    return None
