"""`make simulate SEEDS=n FROM=k`: play seeds; of a broken promise say how it comes about and how to see it again."""

import argparse
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence

from simulation.play import FAULTS_END, Played, play
from simulation.shrink import shrink
from support.figures import record

RARE = 25
ENOUGH = 5
"""A rare state counts as reached when it was reached so often."""
_KEPT_EVERY = 500
_PER_PROCESS = 200
"""Seeds until a worker is replaced by a fresh one: tasks that were never thawed stay in memory."""


class Sum:
    """What many seeds come to."""

    def __init__(self, command: str) -> None:
        self.command = command
        self.broken: list[Played] = []
        self.hits: Counter[str] = Counter()
        self._seeds = self._steps = 0
        self._hours = 0.0
        self._begun = time.monotonic()

    def add(self, played: Played) -> None:
        self._seeds += 1
        self._steps += played.steps
        self._hours += (FAULTS_END + played.settled_after) / 3600
        self.hits.update(played.hits)
        if played.violation is not None:
            self.broken.append(played)
        if self._seeds % _KEPT_EVERY == 0:
            print(f"{self._seeds} seeds, {len(self.broken)} broken; go on with FROM={played.seed + 1}", flush=True)
            self.keep()

    @property
    def reached(self) -> list[str]:
        return [state for state, count in self.hits.items() if count >= ENOUGH]

    def keep(self) -> None:
        rate = self._seeds / (time.monotonic() - self._begun)
        figures = {
            "seeds played": self._seeds,
            "steps": self._steps,
            "virtual hours": round(self._hours),
            "broken promises": len(self.broken),
            "seeds per second": f"{rate:.1f}",
            f"rare states reached at least {ENOUGH} times": len(self.reached),
        }
        states = [f"{state}: {count}" for state, count in self.hits.most_common()]
        record("Simulation", self.command, figures, lists={"Rare states, and how often each was reached": states})


def main(arguments: Sequence[str] | None = None) -> int:
    asked = argparse.ArgumentParser(prog="simulation", description=__doc__)
    asked.add_argument("--seeds", type=int, default=300, help="how many seeds")
    asked.add_argument("--from", dest="first", type=int, default=1, help="the first seed, to go on with a run")
    asked.add_argument("--until-broken", action="store_true", help="stop at the first broken promise, in silence")
    options = asked.parse_args(arguments)
    seeds = range(options.first, options.first + options.seeds)
    if options.until_broken:
        return _first_broken(seeds)
    if options.seeds == 1:
        return _tell(play(options.first))
    found = Sum(_command(options.seeds, options.first))
    for played in _played(seeds):
        found.add(played)
        if played.violation is not None:
            print(f"seed {played.seed}: {played.violation}\n  {_command(1, played.seed)}", flush=True)
    found.keep()
    print(f"{options.seeds} seeds: {len(found.broken)} broken promises, {len(found.reached)} rare states reached")
    if found.broken:
        _tell(found.broken[0])
    return int(bool(found.broken) or (options.seeds >= 1000 and len(found.reached) < RARE))


def _first_broken(seeds: range) -> int:
    for seed in seeds:
        played = play(seed)
        if played.violation is not None:
            print(f"seed {seed}: {played.violation}")
            return 1
    return 0


def _played(seeds: range) -> Iterator[Played]:
    # Not concurrent.futures: of Python 3.11, its executor may stop for ever while it replaces a worker.
    with multiprocessing.get_context("spawn").Pool(os.cpu_count(), maxtasksperchild=_PER_PROCESS) as workers:
        yield from workers.imap(play, seeds)


def _tell(played: Played) -> int:
    if played.violation is None:
        print(f"seed {played.seed}: settled {played.settled_after:.0f} s after the faults, trace {played.hash}")
        return 0
    shortest = shrink(played)
    print(*shortest.trace, sep="\n")
    print(f"seed {played.seed}: {shortest.violation}")
    print(f"  with {len(shortest.struck)} of {len(played.struck)} disturbances: {', '.join(shortest.struck) or 'none'}")
    print(f"  again: {_command(1, played.seed)}")
    return 1


def _command(seeds: int, first: int) -> str:
    return f"make simulate SEEDS={seeds} FROM={first}"


if __name__ == "__main__":
    sys.exit(main())
