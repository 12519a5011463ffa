"""What people write in YAML, as values: suites, policies, gates, and the order of choice."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from ratchet.domain.keys import AliasKey, Provider


class Mode(StrEnum):
    DRY_RUN = "dryRun"
    ENFORCE = "enforce"
    DISABLED = "disabled"


class Until(StrEnum):
    JOB_TERMINAL = "jobTerminal"
    EACH_CHECKPOINT = "eachCheckpoint"


class BaselineUse(StrEnum):
    CURRENT = "current"
    LAST_GOOD = "lastGood"
    NONE = "none"


class WhenMissing(StrEnum):
    ALLOW = "allow"
    BLOCK = "block"


class Apply(StrEnum):
    VERTEX_DEFAULT = "vertexDefault"


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """Which checkpoints a policy is about. Empty `base_models` means any; every label must be equal."""

    providers: frozenset[Provider]
    labels: Mapping[str, str]
    base_models: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteEvidence:
    """A suite that a decision needs: at least `min_cases` cases, not older than `max_age`."""

    suite: str
    suite_digest: str
    min_cases: int
    max_age: timedelta | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """`op bound`, or `op baseline ± offset` (`percent`: of the baseline's absolute value). `text` as it was written."""

    op: str
    text: str
    bound: float | None = None
    offset: float = 0.0
    percent: bool = False

    @property
    def against_baseline(self) -> bool:
        return self.bound is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """One rule over one metric: every comparison must hold."""

    id: str
    metric: str
    passes: tuple[Comparison, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Criterion:
    """Values within `tie` of the best count as equal, and the next criterion decides."""

    metric: str
    higher_is_better: bool
    tie: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """`digest` is over the canonical text and over the digests of the suites it names."""

    name: str
    alias: AliasKey
    mode: Mode
    select: Selector
    until: Until
    max_wait: timedelta
    evidence: tuple[SuiteEvidence, ...]
    baseline: BaselineUse
    when_missing: WhenMissing
    gates: tuple[Gate, ...]
    choose: tuple[Criterion, ...]
    apply: tuple[Apply, ...]
    digest: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Assertion:
    """One of promptfoo's assertion types, with its value as YAML gave it; `negated` for `not-…`."""

    type: str
    negated: bool
    value: Any
    threshold: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One test case, its prompt already rendered."""

    id: str
    prompt: str
    asserts: tuple[Assertion, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    name: str
    cases: tuple[Case, ...]
    repeats: int
    concurrency: int
    max_tokens: int
    temperature: float
    digest: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """All policies and suites in force. `digest` changes when any of them does."""

    policies: tuple[Policy, ...]
    suites: Mapping[str, Suite]
    digest: str

    def suite_by_digest(self, digest: str) -> Suite | None:
        return next((suite for suite in self.suites.values() if suite.digest == digest), None)

    def policy_for(self, alias: AliasKey) -> Policy | None:
        return next((policy for policy in self.policies if policy.alias == alias), None)


def selects(
    policy: Policy,
    provider: Provider,
    base_model: str,
    labels: Mapping[str, str],
    job_created_at: datetime | None,
    since: datetime,
) -> str | None:
    """None when the policy selects such a checkpoint; else the first thing that differs, for people.

    A job without a creation time is as old as any: nothing is tested or promoted by accident.
    """
    if policy.mode is Mode.DISABLED:
        return "the policy is disabled"
    if job_created_at is None or job_created_at < since:
        return f"the job is older than since ({since:%Y-%m-%dT%H:%MZ})"
    if provider not in policy.select.providers:
        return f"its provider is {provider}"
    if policy.select.base_models and base_model not in policy.select.base_models:
        return f"its base model is {base_model}"
    for name, wanted in sorted(policy.select.labels.items()):
        if labels.get(name) != wanted:
            return (
                f"its label {name} is {labels[name]!r}, not {wanted!r}" if name in labels else f"it has no label {name}"
            )
    return None
