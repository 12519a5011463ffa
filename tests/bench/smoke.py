"""`make bench-smoke`: a suite of two hundred cases on an endpoint that answers in 50 ms, here and in promptfoo.

Ours is the function's own handling on the embedded store: every result is judged, and stored as it comes.
"""

import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ratchet.adapters.openai import OpenAIProvider
from ratchet.adapters.sqlite import SqliteStore
from ratchet.application.state import create, find_all
from ratchet.domain.limits import Limits
from ratchet.domain.records import SmokeRun
from ratchet.domain.suite import Assertion, Case, Request, Suite
from ratchet_cli.processes import free_ports
from support.figures import record
from support.one_run import CHECKPOINT, DIGEST, JOB, once
from support.promptfoo.oracle import HOME, NODE, SILENT, missing

CASES, CONCURRENCY, LATENCY_MS = 200, 16, 50
IDEAL = math.ceil(CASES / CONCURRENCY) * LATENCY_MS / 1000
RUNS = 5
THEIR_RUNS = 3
MOST = 1.15
TIMES_FASTER = 4.0


def suite() -> Suite:
    asserts = (
        Assertion(type="contains", negated=False, value="42", threshold=None),
        Assertion(type="regex", negated=False, value=r"\b\d+\b", threshold=None),
    )
    cases = tuple(Case(id=f"case-{n}", prompt=f"What is {n}?", asserts=asserts) for n in range(CASES))
    return Suite(
        name="core",
        cases=cases,
        repeats=1,
        concurrency=CONCURRENCY,
        request=Request(max_tokens=64),
        digest=DIGEST,
        text="{}",
    )


def ours(url: str, folder: Path, n: int) -> float:
    """Seconds of one handling of a smoke-test event."""
    store = SqliteStore(folder / f"{n}.db")
    store.commit([create(CHECKPOINT)], "bench")
    provider = OpenAIProvider("proj", "sk-bench", url)
    provider.probe("bench")  # A function that is warm has its client, and its connections.
    begun = time.perf_counter()
    once(store, suite(), provider, Limits())
    took = time.perf_counter() - begun
    (run,) = (stored.value for stored in find_all(store, SmokeRun, job=str(JOB)))
    assert run.summary is not None and run.summary.cases_passed == CASES, run  # noqa: PT018
    return took


def theirs(url: str, folder: Path) -> float:
    """Seconds of promptfoo's whole command on the same cases, with nothing cached."""
    asserts = [{"type": "contains", "value": "42"}, {"type": "regex", "value": r"\b\d+\b"}]
    config = {
        "prompts": ["What is {{n}}?"],
        "providers": [
            {"id": "openai:chat:bench", "config": {"apiBaseUrl": url, "apiKey": "sk-bench", "max_tokens": 64}}
        ],
        "tests": [{"vars": {"n": str(n)}, "assert": asserts} for n in range(CASES)],
    }
    path = folder / "promptfooconfig.json"
    path.write_text(json.dumps(config))
    entry = json.loads((HOME / "node_modules/promptfoo/package.json").read_text())["bin"]["promptfoo"]
    command = [
        str(NODE), str(HOME / "node_modules/promptfoo" / entry), "eval", "--config", str(path), "--no-cache",
        "--no-table", "--no-progress-bar", "--no-write", "--max-concurrency", str(CONCURRENCY),
        "--output", str(folder / "out.json"),
    ]  # fmt: skip
    environment = {**SILENT, "PROMPTFOO_CONFIG_DIR": str(folder)}
    begun = time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=folder)
    took = time.perf_counter() - begun
    stats = json.loads((folder / "out.json").read_text())["results"]["stats"]
    assert stats["successes"] == CASES, (stats, done.stdout[-2000:], done.stderr[-2000:])
    return took


@contextmanager
def endpoint() -> Iterator[str]:
    port = free_ports(1)
    server = subprocess.Popen([sys.executable, "-m", "bench.endpoint", str(port), str(LATENCY_MS)])
    try:
        time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.kill()
        server.wait()


def main() -> int:
    with tempfile.TemporaryDirectory() as name, endpoint() as url:
        folder = Path(name)
        found = [ours(url, folder, n) for n in range(RUNS)]
        wall = statistics.median(found)
        figures = {
            f"{CASES} cases at {LATENCY_MS} ms, {CONCURRENCY} at a time: the ideal": f"{IDEAL:.3f} s",
            f"ours, median of {RUNS}": f"{wall:.3f} s",
            f"ours over the ideal (at most {MOST})": f"{wall / IDEAL:.3f}",
        }
        good = wall <= MOST * IDEAL
        if missing():
            print(f"not compared: {missing()}")
        else:
            other = statistics.median(theirs(url, folder) for _ in range(THEIR_RUNS))
            figures[f"promptfoo's whole command, median of {THEIR_RUNS}"] = f"{other:.3f} s"
            figures[f"how many times faster (at least {TIMES_FASTER:g})"] = f"{other / wall:.2f}"
            good &= other / wall >= TIMES_FASTER
    record("Smoke suite", "make bench-smoke", figures)
    print("\n".join(f"{name}: {value}" for name, value in figures.items()))
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
