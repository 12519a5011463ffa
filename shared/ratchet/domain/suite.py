"""A suite as a value: the cases that a checkpoint is asked, and how."""

from dataclasses import dataclass, field
from typing import Any


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
    tags: tuple[str, ...] = field(default=())


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
