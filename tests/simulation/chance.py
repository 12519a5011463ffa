"""Chance that can be taken back: every draw is named, so leaving one disturbance out moves no other.

A seed is the whole run. What a draw gives depends on the seed and on its name alone, never on how many draws came
before it; a failing run is shrunk by striking disturbances out, one after the other.
"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import TypeVar

T = TypeVar("T")
_HALF = 2**32


class Chance:
    """`only`: the disturbances that may still strike; None for all that the seed brings."""

    def __init__(self, seed: int, only: frozenset[str] | None = None) -> None:
        self._salt = str(seed).encode()
        self._only = only
        self.rates: dict[str, float] = {}
        self.struck: list[str] = []
        self.calm = False

    def pair(self, name: str) -> tuple[float, float]:
        """Two independent numbers in [0, 1)."""
        raw = int.from_bytes(blake2b(name.encode(), digest_size=8, key=self._salt).digest(), "big")
        return (raw >> 32) / _HALF, (raw & (_HALF - 1)) / _HALF

    def fraction(self, name: str) -> float:
        return self.pair(name)[0]

    def between(self, name: str, low: float, high: float) -> float:
        return low + (high - low) * self.fraction(name)

    def pick(self, name: str, items: Sequence[T]) -> T:
        return items[int(self.fraction(name) * len(items))]

    def happens(self, kind: str, name: str, rate: float) -> bool:
        """A disturbance that is planned once, such as what an operator does."""
        return self.fraction(f"{kind} {name}") < rate and self._strikes(f"{kind} {name}")

    def strike(self, kinds: Sequence[str], name: str, drawn: float) -> str | None:
        """Which of these kinds of fault befalls the call `name`, if any; `drawn` is the call's own number."""
        if self.calm:
            return None
        for kind in kinds:
            rate = self.rates.get(kind, 0.0)
            if drawn < rate:
                return kind if self._strikes(f"{kind} {name}") else None
            drawn -= rate
        return None

    def _strikes(self, disturbance: str) -> bool:
        if self._only is not None and disturbance not in self._only:
            return False
        self.struck.append(disturbance)
        return True
