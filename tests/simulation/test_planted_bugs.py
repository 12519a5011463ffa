"""The checker, checked: each planted bug breaks a promise within 500 seeds.

`bugs/*.patch` are the mistakes that systems like this one are known for, and those that the simulation has found in it.
Each is applied to a copy: there is no switch for it in the product.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.depth import LONG, pytest_command
from support.figures import record

ROOT = Path(__file__).resolve().parents[2]
BUGS = sorted((ROOT / "tests" / "simulation" / "bugs").glob("*.patch"))
SEEDS = 500
_COPIED = ("shared/ratchet", "tests/simulation", "tests/support")


def test_there_are_at_least_the_twelve() -> None:
    assert len(BUGS) >= 12


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.stem)
def test_each_still_applies(bug: Path) -> None:
    _apply(bug, ROOT, "--check")


@pytest.mark.skipif(not LONG, reason="long: make verify")
@pytest.mark.xdist_group("figures of the planted bugs")
def test_each_is_found(tmp_path: Path) -> None:
    found = {bug.stem: _found(bug, tmp_path / bug.stem) for bug in BUGS}
    figures = {"planted": len(BUGS), "found": sum(line is not None for line in found.values())}
    told = [f"{name}: {line or 'not found'}" for name, line in found.items()]
    record("Planted bugs", pytest_command(__file__), figures, lists={f"Found within {SEEDS} seeds": told})
    assert None not in found.values(), told


def _found(bug: Path, copy: Path) -> str | None:
    """The seed and the promise it broke, if one did."""
    for folder in _COPIED:
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    _apply(bug, copy)
    command = [sys.executable, "-m", "simulation", "--seeds", str(SEEDS), "--until-broken"]
    environment = {**os.environ, "PYTHONPATH": f"{copy}/shared:{copy}/tests", "PYTHONHASHSEED": "0"}
    played = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
    assert played.returncode in (0, 1), played.stderr
    assert not played.stderr, played.stderr
    return next((line for line in played.stdout.splitlines() if line.startswith("seed ")), None)


def _apply(bug: Path, folder: Path, *options: str) -> None:
    done = subprocess.run(["git", "apply", *options, str(bug)], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{bug.name} no longer applies: {done.stderr}"
