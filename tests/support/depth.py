"""How far the searching tests go: quick in `make test`, long in `make verify`."""

import os

LONG = os.environ.get("RATCHET_TESTS") == "long"


def deep(quick: int, long: int) -> int:
    """So many examples, inputs or switches."""
    return long if LONG else quick
