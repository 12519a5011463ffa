"""What is done to the processes while they work: death at any moment, and long sleeps from which they wake."""

import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from chaos.machine import Machine

_KILL_EVERY = (0.5, 2.0)
_FREEZE_EVERY = (4.0, 8.0)
_FROZEN = (16.0, 25.0)
_STRUCK_DECIDING = 0.5
_FREEZABLE = ("track_tuning_job", "record_checkpoint", "run_smoke_test", "enforce_promotion")


@dataclass(slots=True)
class Storm:
    """Kills and freezes for so many seconds, then lets everybody be. `last` is when it did so, in Unix seconds."""

    machine: Machine
    chance: random.Random
    seconds: float
    kills: Counter[str] = field(default_factory=Counter)
    freezes: Counter[str] = field(default_factory=Counter)
    last: float = 0.0
    _thaws: dict[str, float] = field(default_factory=dict)
    _heard: int = 0

    def rage(self, stop: threading.Event) -> None:
        begun = time.monotonic()
        next_kill, next_freeze = self.chance.uniform(*_KILL_EVERY), self.chance.uniform(*_FREEZE_EVERY)
        self.machine.disturbing.set()
        try:
            while (now := time.monotonic() - begun) < self.seconds and not stop.is_set():
                self._thaw(now)
                self._strike_deciding(now)
                if now >= next_kill:
                    self._kill(self.chance.choice(self._awake(self.machine.victims)))
                    next_kill = now + self.chance.uniform(*_KILL_EVERY)
                if now >= next_freeze:
                    names = [f"{function}-{copy}" for function in _FREEZABLE for copy in range(self.machine.copies)]
                    self._freeze(self.chance.choice(self._awake(names)), now)
                    next_freeze = now + self.chance.uniform(*_FREEZE_EVERY)
                stop.wait(0.02)
        finally:
            self.machine.disturbing.clear()
            self._thaw(float("inf"))
            self.last = time.time()

    def _strike_deciding(self, now: float) -> None:
        """Who has just decided has an intent open, and the provider's default still to write."""
        lines = self.machine.lines[self._heard :]
        self._heard += len(lines)
        for line in lines:
            decider = line["process"]
            if line.get("event") != "decision.made" or decider in self._thaws:
                continue
            if self.chance.random() < _STRUCK_DECIDING:
                self._kill(decider) if self.chance.random() < 0.5 else self._freeze(decider, now)

    def _awake(self, names: Sequence[str]) -> Sequence[str]:
        return [name for name in names if name not in self._thaws]

    def _kill(self, victim: str) -> None:
        self.machine.kill(victim)
        self.kills[victim.rpartition("-")[0] or victim] += 1

    def _freeze(self, sleeper: str, now: float) -> None:
        """Past its lease, or not at all: who wakes sooner is none of those that this is about."""
        until = now + self.chance.uniform(*_FROZEN)
        if until <= self.seconds:
            self.machine.signal(sleeper, signal.SIGSTOP)
            self._thaws[sleeper] = until
            self.freezes[sleeper.rpartition("-")[0]] += 1

    def _thaw(self, now: float) -> None:
        for name in [name for name, until in self._thaws.items() if until <= now]:
            del self._thaws[name]
            self.machine.signal(name, signal.SIGCONT)
