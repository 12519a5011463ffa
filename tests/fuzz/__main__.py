"""`make fuzz MINUTES=n`: every target led by coverage, each in its own process, the time divided among them.

A finding is kept below `build/fuzz/`; `python -m fuzz --again TARGET FILE` repeats it without atheris. Once mended, the
file belongs into `tests/fuzz/found/TARGET/`, where the quick form plays it for ever.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from fuzz import environment
from fuzz.targets import TARGETS
from support.figures import record

_STARTING = 60
"""Seconds that a process may need beyond its time, to import and to end."""
_STATUS = re.compile(r"^#(\d+)\t.* cov: (\d+) ft: (\d+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Ran:
    """What a target's process came to. `coverage` counts edges of our code."""

    name: str
    executions: int
    coverage: int
    findings: tuple[Path, ...]
    trouble: str


def main(arguments: Sequence[str] | None = None) -> int:
    asked = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    asked.add_argument("--minutes", type=float, default=10, help="for all targets together")
    asked.add_argument("--target", action="append", choices=sorted(TARGETS), help="only this one; may be repeated")
    asked.add_argument("--again", nargs=2, metavar=("TARGET", "FILE"), help="one input, once")
    options = asked.parse_args(arguments)
    if options.again:
        return _again(options.again[0], Path(options.again[1]))
    names = options.target or list(TARGETS)
    workers = min(os.cpu_count() or 1, len(names))
    seconds = max(1, round(options.minutes * 60 * workers / len(names)))
    environment.python()
    with ThreadPoolExecutor(workers) as pool:
        runs = list(pool.map(lambda name: _run(name, seconds), names))
    for ran in runs:
        for path in ran.findings:
            print(f"{ran.name}: {path}\n  PYTHONPATH=shared:tests .venv/bin/python -m fuzz --again {ran.name} {path}")
        if ran.trouble:
            print(f"{ran.name}: {ran.trouble}")
    _record(runs, seconds, f"make fuzz MINUTES={options.minutes:g}")
    return int(any(ran.findings or ran.trouble for ran in runs))


def _run(name: str, seconds: int) -> Ran:
    folder = environment.BUILD / name
    scratch = folder / "scratch"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    before = set(folder.iterdir())
    command = [environment.python(), "-m", "fuzz.engine", name, folder, str(seconds)]
    with (folder / "log").open("w", encoding="utf-8") as log:
        limit = seconds + _STARTING
        try:
            code = subprocess.run(
                command, env=environment.variables(scratch), stdout=log, stderr=log, timeout=limit, check=False
            ).returncode
        except subprocess.TimeoutExpired:
            code = -1
    shutil.rmtree(scratch, ignore_errors=True)
    said = (folder / "log").read_text(encoding="utf-8", errors="replace")
    steps = _STATUS.findall(said)
    executions, coverage, _ = steps[-1] if steps else ("0", "0", "0")
    findings = tuple(
        sorted(
            path.relative_to(environment.ROOT)
            for path in set(folder.iterdir()) - before - {folder / "log"}
            if path.is_file()
        )
    )
    trouble = "" if findings or (code == 0 and steps) else f"ended with {code}; see {folder.name}/log in build/fuzz"
    print(f"{name}: {executions} executions, {coverage} edges, {len(findings)} findings", flush=True)
    return Ran(name, int(executions), int(coverage), findings, trouble)


def _again(name: str, path: Path) -> int:
    with TARGETS[name].opened() as check:
        check(path.read_bytes())
    print(f"{name}: nothing is wrong with {path}")
    return 0


def _record(runs: Sequence[Ran], seconds: int, command: str) -> None:
    figures = {
        "targets": len(runs),
        "seconds for each": seconds,
        "executions": sum(ran.executions for ran in runs),
        "findings": sum(len(ran.findings) for ran in runs),
    }
    each = [f"{r.name}: {r.executions} executions, {r.coverage} edges, {len(r.findings)} findings" for r in runs]
    record("Fuzz", command, figures, lists={"Each target": each})


if __name__ == "__main__":
    sys.exit(main())
