"""Which metrics a policy may name: those that `domain/evidence.py` measures, and which provider never tells one."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Self

from ratchet.domain.evidence import DAYS_TO_SHUTDOWN, NAMED, PLACES, is_paired
from ratchet.domain.keys import Provider

LOSSES = (
    "train_loss",
    "train_mean_token_accuracy",
    "valid_loss",
    "valid_mean_token_accuracy",
    "full_valid_loss",
    "full_valid_mean_token_accuracy",
)
DERIVED = ("overfit_gap", "slope", "is_minimum")
SUITE = (
    "pass_rate",
    "pass_hat_k",
    "score",
    "cases",
    "error_rate",
    "regressions",
    "improvements",
    "flaky_cases",
    "latency_p50_ms",
    "latency_p95_ms",
    "tokens",
    "usd",
)
TAG = ("pass_rate", "cases", "regressions", "improvements")
FRACTIONS = frozenset({"pass_rate", "pass_hat_k", "error_rate", "score"})
COUNTED = frozenset({"pass_rate", "pass_hat_k", "error_rate"})
"""Those that are a number of cases among all cases: of them one can ask for confidence."""
EVALUATION = re.compile(r"evaluation\.[A-Za-z0-9_.-]{1,64}")
OF_CHECKPOINTS = (*PLACES, *LOSSES, *DERIVED, DAYS_TO_SHUTDOWN)

_OF_SUITES = re.compile(r"suites\.(?P<suite>[^.]+)\.(?:tags\.(?P<tag>[^.]+)\.|(?P<own>metrics)\.)?(?P<measure>[^.]+)")
_NEVER_TOLD: Mapping[Provider, frozenset[str]] = {
    Provider.VERTEX: frozenset({*LOSSES, *DERIVED}),
    Provider.OPENAI: frozenset({"epoch"}),
}


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric's name in its parts. `suite` and `tag` are empty where it is of no suite, and of no tag; `own`: the
    suite's author has named it.
    """

    name: str
    suite: str
    tag: str
    measure: str
    own: bool = False

    @classmethod
    def parse(cls, name: str) -> Self:
        found = _OF_SUITES.fullmatch(name)
        if found is None:
            return cls(name, "", "", name)
        return cls(name, found["suite"], found["tag"] or "", found["measure"], found["own"] is not None)

    @property
    def exists(self) -> bool:
        """Whether a metric of this form is ever measured; its suite and its tag may still be unknown."""
        if self.own:
            return NAMED.fullmatch(self.measure) is not None
        if self.suite:
            return self.measure in (TAG if self.tag else SUITE)
        return self.name in OF_CHECKPOINTS or EVALUATION.fullmatch(self.name) is not None

    @property
    def paired(self) -> bool:
        return is_paired(self.name)

    @property
    def counted(self) -> bool:
        return bool(self.suite) and not self.own and self.measure in COUNTED

    @property
    def fraction(self) -> bool:
        return bool(self.suite) and (self.own or self.measure in FRACTIONS)


def of_suite(suite: str, tags: frozenset[str], own: frozenset[str] = frozenset()) -> Iterator[str]:
    """The metrics that a run of a suite with these tags, and with metrics of its own, has."""
    yield from (f"suites.{suite}.{measure}" for measure in SUITE)
    yield from (f"suites.{suite}.tags.{tag}.{measure}" for tag in sorted(tags) for measure in TAG)
    yield from (f"suites.{suite}.metrics.{name}" for name in sorted(own))


def never_told(provider: Provider, name: str) -> bool:
    """Whether this provider tells no checkpoint's value of the metric, and nothing that it is derived from."""
    return name in _NEVER_TOLD[provider] or (provider is Provider.OPENAI and name.startswith("evaluation."))
