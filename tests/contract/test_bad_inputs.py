"""Every row of the table of bad inputs has a test that says its number: `pytest -k row33`."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

ELSEWHERE = {
    51: "the platform answers 403 before our code runs; the plan of the infrastructure holds who may invoke",
    53: "the console, which is not built",
    54: "the console, which is not built",
    55: "the console, which is not built",
    56: "the console, which is not built",
    57: "the console, which is not built",
    58: "the console, which is not built; a promotion without a decision is refused in test_main_path",
    59: "replay, whose tests stand with it",
}


def test_every_row_has_a_test_or_a_reason() -> None:
    """Read from what pytest collects, so that a number in a comment proves nothing."""
    # Its own options, so that there is one line a test.
    options = ["--collect-only", "-q", "-p", "no:cacheprovider", "-o", "addopts=--import-mode=importlib"]
    command = [sys.executable, "-m", "pytest", *options, "tests/unit", "tests/contract", "-k", "row"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    tests = [line for line in done.stdout.splitlines() if "::" in line]
    assert tests, done.stdout + done.stderr
    found = {int(number) for line in tests for number in re.findall(r"row([0-9]+)(?![0-9])", line.partition("::")[2])}
    assert sorted(set(range(1, 61)) - found - set(ELSEWHERE)) == []
