"""No input breaks a door or a parser: drawn from valid ones, changed anywhere."""

from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz.mutate import mutate
from fuzz.targets import TARGETS, found
from support.depth import LONG, deep, pytest_command
from support.figures import record

COUNT = deep(500, 50_000)


@pytest.mark.parametrize("name", TARGETS)
def test_no_input_breaks(name: str) -> None:
    target = TARGETS[name]
    with target.opened() as check:
        for seed in target.seeds:
            check(seed)
        for path in found(name):
            check(path.read_bytes())

        @settings(
            max_examples=COUNT, derandomize=not LONG, database=None, deadline=None,
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(st.sampled_from(target.seeds), st.integers(0, 2**32 - 1))
        def run(seed: bytes, number: int) -> None:
            check(mutate(seed, Random(number)))

        run()
    if LONG:
        record("Fuzz, drawn", pytest_command(__file__), {name: f"{COUNT} inputs, 0 findings"}, part=name)
