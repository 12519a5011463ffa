"""`make cost JOBS=100`: what a month costs, at rest and for so many jobs, by what the code really reads and writes.

The operations are counted on the application itself, in one process; prices and assumptions are `infra/prices.yaml`.
"""

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import ceil
from pathlib import Path

import yaml

from ratchet.application.reconcile import CANARY_MINUTES, reconcile
from ratchet.domain.rules import Rules
from ratchet.domain.suite import Case
from ratchet.ports import Commit, Key, Query, Snapshot, Write
from support.world import MemoryStore, World, policy, rules, suite

PRICES = Path(__file__).parents[2] / "infra" / "prices.yaml"
_MINUTES_A_MONTH = 30 * 24 * 60
_KIB_A_GIB = 1024 * 1024


class Counting(MemoryStore):
    """Counts as Firestore bills: a query reads what it returns, one at least."""

    def __init__(self) -> None:
        super().__init__(":memory:")
        self.count: Counter[str] = Counter()

    def get(self, key: Key) -> Snapshot | None:
        self.count["reads"] += 1
        return super().get(key)

    def query(self, query: Query) -> Sequence[Snapshot]:
        found = super().query(query)
        self.count["reads"] += max(1, len(found))
        return found

    def commit(self, writes: Sequence[Write], op_id: str) -> Commit:
        self.count["writes"] += len(writes)
        return super().commit(writes, op_id)


def counted(jobs: int, checkpoints: int, cases: int) -> tuple[Counter[str], Counter[str], Counter[str]]:
    """What a sweep does when nothing is due, what a canary does, and all of the jobs until they are decided on."""
    tested = replace(suite(), cases=tuple(Case(id=f"case-{n}", prompt=str(n % 20), asserts=()) for n in range(cases)))
    in_force = rules(policy())
    world = World(Rules(policies=in_force.policies, suites={"core": tested}, digest=in_force.digest))
    store = Counting()
    world.store = store
    reconcile(
        store=store, bus=world.bus, providers=world.provider, clock=world.clock, ids=world.ids,
        rules_digest=in_force.digest, since=world.since, limits=world.limits, canary=False,
    )  # fmt: skip
    sweep = store.count
    world.canary = True
    for _ in range(2):  # the first records its job
        store.count = Counter()
        published = len(world.bus.published)
        world.sweep()
    canary = store.count - sweep
    canary["messages"] = len(world.bus.published) - published
    store.count = Counter()
    published = len(world.bus.published)
    for n in range(jobs):
        world.hint(world.job(f"{8000 + n}", {100 * (k + 1): 0.8 + 0.02 * k for k in range(checkpoints)}))
    busy = store.count
    busy["messages"] = len(world.bus.published) - published
    return sweep, canary, busy


def dollars(count: Mapping[str, float], prices: Mapping[str, float], assumed: Mapping[str, float]) -> dict[str, float]:
    seconds = count["seconds"]
    return {
        "functions": seconds * (prices["vcpu_second"] + assumed["gib_memory"] * prices["gib_second"])
        + count["handlings"] / 1e6 * prices["million_requests"],
        "database": count["reads"] / 1e5 * prices["hundred_thousand_reads"]
        + count["writes"] / 1e5 * prices["hundred_thousand_writes"]
        + count["writes"] * assumed["kib_a_document"] / _KIB_A_GIB * prices["gib_stored_month"],
        # Each is published, delivered, and kept in its topic.
        "messages": 2 * count["messages"] * assumed["kib_a_message"] / _KIB_A_GIB / 1024 * prices["tib_messages"],
        "logs": count["handlings"] * assumed["kib_logged_a_handling"] / _KIB_A_GIB * prices["gib_logs"],
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="cost", description=__doc__)
    parser.add_argument("--jobs", type=int, default=100, help="jobs a month")
    jobs = max(1, parser.parse_args().jobs)
    data = yaml.safe_load(PRICES.read_text(encoding="utf-8"))
    prices, assumed = data["prices"], data["assumed"]
    per_job, cases = assumed["checkpoints_a_job"], assumed["cases"]
    sample = min(jobs, 20)
    sweep, canary, busy = counted(sample, per_job, cases)
    handling = assumed["seconds_a_handling"]
    canaries = _MINUTES_A_MONTH / CANARY_MINUTES
    rest = {name: sweep[name] * _MINUTES_A_MONTH + canary[name] * canaries for name in ("reads", "writes", "messages")}
    rest["handlings"] = _MINUTES_A_MONTH + rest["messages"]
    rest["seconds"] = rest["handlings"] * handling
    asking = per_job * ceil(cases / assumed["concurrency"]) * assumed["seconds_a_model_call"]
    work = {name: busy[name] / sample for name in ("reads", "writes", "messages")}
    work |= {"handlings": work["messages"], "seconds": work["messages"] * handling + asking}
    at_rest = dollars(rest, prices, assumed)
    at_rest["secrets, schedule"] = 3 * prices["secret_version_month"] + prices["scheduler_job_month"]
    a_job = dollars(work, prices, assumed)
    print(f"USD a month, by prices of {data['as_of']} (infra/prices.yaml), without the models' own bill")
    print(f"{per_job} checkpoints a job, {cases} cases each: {work['reads']:.0f} reads, {work['writes']:.0f} writes, "
          f"{work['messages']:.0f} messages a job")  # fmt: skip
    rows = {"at rest": at_rest, f"{jobs} jobs more": {k: v * jobs for k, v in a_job.items()},
            "1,000 checkpoints more": {k: v * 1000 / per_job for k, v in a_job.items()}}  # fmt: skip
    for name, parts in rows.items():
        told = ", ".join(f"{part} {value:.2f}" for part, value in parts.items())
        print(f"  {name:24}{sum(parts.values()):8.2f}   {told}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
