"""How far the searching tests go: quick in `make test`, long in `make verify`; brief in `make mutation`."""

import os
from pathlib import Path

LONG = os.environ.get("RATCHET_TESTS") == "long"
BRIEF = os.environ.get("RATCHET_TESTS") == "brief"
_ROOT = Path(__file__).resolve().parents[2]


def deep(quick: int, long: int) -> int:
    """So many examples, inputs or switches."""
    return long if LONG else max(1, quick // 40) if BRIEF else quick


def pytest_command(file: str) -> str:
    """The part of `make test` or `make verify` that runs this test file as it now runs."""
    return f"{'RATCHET_TESTS=long ' if LONG else ''}pytest {Path(file).resolve().relative_to(_ROOT)}"
