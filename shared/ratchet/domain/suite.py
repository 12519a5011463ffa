"""A suite as a value: the cases that a checkpoint is asked, and how."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from ratchet.domain.keys import digest


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

    @property
    def judges(self) -> bool:
        """Whether it could ever fail."""
        return _may_fail(self.threshold, self.of) if self.of else self.weight > 0


def _may_fail(threshold: float | None, asserts: tuple[Assertion, ...]) -> bool:
    return any(each.judges for each in asserts) if threshold is None else threshold > 0 and bool(asserts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One test case, its prompt already rendered. With a `threshold`, the mean score decides, from 0 to 1. `repeats` of
    None: as often as the suite says.
    """

    id: str
    prompt: str
    asserts: tuple[Assertion, ...]
    tags: tuple[str, ...] = ()
    threshold: float | None = None
    repeats: int | None = None

    @property
    def judged(self) -> bool:
        """Whether it could ever fail. What could not is asked and told of, and is no evidence."""
        return _may_fail(self.threshold, self.asserts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What one run may cost at most; None: as much as it needs. `wall` counts from the first case that is asked."""

    usd: float | None = None
    tokens: int | None = None
    wall: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A function that a model may call; `parameters` is the JSON Schema of its arguments."""

    name: str
    description: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """How a model is asked in each case. `timeout`: of one call, where the provider's own is too long. `must_call`: the
    model has to call one of the `tools`. `logprobs`: how probable its tokens were is judged, too.
    """

    max_tokens: int = 256
    temperature: float = 0.0
    seed: int | None = None
    system: str | None = None
    timeout: timedelta | None = None
    tools: tuple[Tool, ...] = ()
    must_call: bool = False
    logprobs: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """For how long to keep what was answered in the cases that failed, with these kinds of data hidden in it."""

    ttl: timedelta
    redact: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """`case_pass`: the share of its repeats that a case must pass. With a `seed` the cases are asked in an order of its
    own, the same for each checkpoint; else as they are listed. `patience`: for how long the endpoint may be silent.
    Without `keep`, nothing that a model has said is stored.
    """

    name: str
    cases: tuple[Case, ...]
    repeats: int
    concurrency: int
    digest: str
    text: str
    request: Request = field(default_factory=Request)
    case_pass: float = 1.0
    seed: int | None = None
    budget: Budget = field(default_factory=Budget)
    patience: timedelta = timedelta(hours=24)
    keep: Keep | None = None

    def calls(self) -> list[tuple[Case, int]]:
        """Each case with the number of its repeat, in the order in which they are asked."""
        repeats = {case.id: case.repeats or self.repeats for case in self.cases}
        listed = [(case, n) for n in range(max(repeats.values())) for case in self.cases if n < repeats[case.id]]
        if self.seed is None:
            return listed
        return sorted(listed, key=lambda call: digest(str(self.seed), call[0].id, str(call[1])))

    @property
    def asserts(self) -> Iterator[Assertion]:
        """All assertions, those in a set among them."""
        for case in self.cases:
            for assertion in case.asserts:
                yield assertion
                yield from assertion.of
