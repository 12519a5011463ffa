"""The promises hold for every seed, and a seed is the whole run."""

import os
import subprocess
import sys

import pytest

from simulation.play import play

SEEDS = 300
_TOGETHER = 10
_ONCE_BROKEN = (6102,)
"""Seeds beyond those that once broke a promise; what they found also has a test of its own."""


@pytest.mark.parametrize("first", range(1, SEEDS + 1, _TOGETHER))
def test_no_seed_breaks_a_promise(first: int) -> None:
    for seed in range(first, first + _TOGETHER):
        played = play(seed)
        assert played.violation is None, f"make simulate SEEDS=1 FROM={seed}: {played.violation}"


@pytest.mark.parametrize("seed", _ONCE_BROKEN)
def test_a_promise_that_was_once_broken_is_kept(seed: int) -> None:
    assert play(seed).violation is None


def test_a_seed_is_the_whole_run() -> None:
    """Twice in one process, and once in another that hashes strings otherwise."""
    seeds = range(1, 21)
    here = [play(seed).hash for seed in seeds]
    assert [play(seed).hash for seed in seeds] == here
    assert len(set(here)) == len(here)
    program = f"from simulation.play import play\nfor seed in {list(seeds)}: print(play(seed).hash)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": "77"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == here


def test_a_disturbance_left_out_moves_no_other() -> None:
    """What shrinking relies on: without one, all that came before it is the same."""
    whole = play(2, trace=True)
    without = play(2, frozenset(whole.struck[:-1]), trace=True)
    same = next(n for n, (one, other) in enumerate(zip(whole.trace, without.trace, strict=False)) if one != other)
    assert same > len(whole.trace) // 4
