"""A suite as a value: the cases that a checkpoint is asked, and how."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Assertion:
    """One of promptfoo's assertion types, with its value as YAML gave it; `negated` for `not-…`. An `assert-set` has
    those `of` it, none of them a set again.

    Attributes:
        weight: what its score counts for; with 0 it is measured, and not judged.
        metric: the name under which its score is told.
    """

    type: str
    negated: bool
    value: Any
    threshold: float | None
    weight: float = 1.0
    metric: str = ""
    of: tuple["Assertion", ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One test case, its prompt already rendered. With a `threshold`, the mean score decides, from 0 to 1."""

    id: str
    prompt: str
    asserts: tuple[Assertion, ...]
    tags: tuple[str, ...] = ()
    threshold: float | None = None


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

    @property
    def asserts(self) -> Iterator[Assertion]:
        """All assertions, those in a set among them."""
        for case in self.cases:
            for assertion in case.asserts:
                yield assertion
                yield from assertion.of
