"""`make mutation`: a small wrong thing in the domain, and whether its tests notice. Every survivor must be justified.

Each module's outcome is kept until the domain or its tests change: whoever stops and begins again goes on where it was.
"""

import argparse
import ast
import hashlib
import json
import os
import sys
import time
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

os.environ["RATCHET_TESTS"] = "brief"

from mutation.operators import compiled, mutants
from mutation.trial import SURVIVED, Attempt, Survey, imported, survey, swapped

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "shared" / "ratchet" / "domain"
TESTS = ("tests/unit/domain",)
KEPT = ROOT / "build" / "mutation"
SURVIVORS = Path(__file__).with_name("survivors.toml")
LEAST_PERCENT = 95.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="mutation")
    parser.add_argument("--module", action="append", default=[], help="only this module of the domain, e.g. gates")
    wanted = parser.parse_args().module
    os.chdir(ROOT)
    modules = [file.stem for file in sorted(PACKAGE.glob("*.py")) if file.stem != "__init__"]
    unknown = set(wanted) - set(modules)
    if unknown:
        parser.error(f"no such module: {', '.join(sorted(unknown))}")
    began = time.monotonic()
    outcomes = {module: _outcome(module) for module in wanted or modules}
    return _judged(outcomes, time.monotonic() - began, whole=not wanted)


def _outcome(module: str) -> Mapping[str, str]:
    """Of each mutant of the module, by its text, the test that noticed it or `SURVIVED`."""
    state = _digest([*PACKAGE.glob("*.py"), *Path(__file__).parent.glob("*.py")] + [
        file for folder in (*TESTS, "tests/support") for file in (ROOT / folder).rglob("*.py")
    ])  # fmt: skip
    kept = KEPT / f"{module}.json"
    if kept.exists() and (known := json.loads(kept.read_text(encoding="utf-8")))["state"] == state:
        return dict(known["outcome"])
    began = time.monotonic()
    outcome = _tried(module, _survey(state))
    KEPT.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps({"state": state, "outcome": outcome}, indent=1), encoding="utf-8")
    lived = sum(test == SURVIVED for test in outcome.values())
    print(f"{module}: {len(outcome)} mutants, {lived} survived, {time.monotonic() - began:.0f} s", flush=True)
    return outcome


def _digest(files: Iterable[Path]) -> str:
    sha = hashlib.sha256()
    for file in sorted(files):
        sha.update(str(file.relative_to(ROOT)).encode() + b"\0" + file.read_bytes())
    return sha.hexdigest()


_surveys: dict[str, Survey] = {}


def _survey(state: str) -> Survey:
    if state not in _surveys:
        _surveys[state] = survey(TESTS, PACKAGE)
    return _surveys[state]


def _tried(module: str, found: Survey) -> dict[str, str]:
    file, name = str(PACKAGE / f"{module}.py"), f"ratchet.domain.{module}"
    tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    original = compile(tree, file, "exec")
    everything = found.of_module(file)
    quick, anew = [], []
    for mutant in mutants(tree):
        code = compiled(tree, mutant, file)
        if mutant.function is None:
            anew.append(Attempt(mutant, code, everything))
        else:
            quick.append(Attempt(mutant, code, found.covering(file, list(mutant.lines))))
    outcome = dict(zip([a.mutant.text for a in quick], swapped(TESTS, name, original, quick), strict=True))
    # What a test made of a function when it was imported was made without the mutant.
    anew += [attempt for attempt in quick if outcome[attempt.mutant.text] == SURVIVED and attempt.tests]
    outcome |= zip([a.mutant.text for a in anew], imported(name, anew), strict=True)
    return outcome


def _judged(outcomes: Mapping[str, Mapping[str, str]], seconds: float, *, whole: bool) -> int:
    justified = {
        (entry["module"], entry["mutant"]) for entry in tomllib.loads(SURVIVORS.read_text("utf-8"))["survivor"]
    }
    lived = [
        (module, mutant) for module, outcome in outcomes.items() for mutant, test in outcome.items() if test == SURVIVED
    ]
    count = sum(len(outcome) for outcome in outcomes.values())
    percent = 100 * (count - len(lived)) / count
    unlisted = [f"{module} {mutant}" for module, mutant in lived if (module, mutant) not in justified]
    dead = [f"{module} {mutant}" for module, mutant in justified - set(lived) if module in outcomes]
    print(f"{count} mutants, {count - len(lived)} noticed: {percent:.1f} %")
    for line in unlisted:
        print(f"survived, and is not justified in {SURVIVORS.name}: {line}")
    for line in sorted(dead):
        print(f"justified in {SURVIVORS.name}, but does not survive: {line}")
    if whole:
        _record(outcomes, count, len(lived), len(unlisted), seconds)
    return 1 if unlisted or dead or percent < LEAST_PERCENT else 0


def _record(outcomes: Mapping[str, Mapping[str, str]], count: int, lived: int, unlisted: int, seconds: float) -> None:
    from support.figures import record

    by_module: Sequence[str] = [
        f"{module}: {len(outcome)} mutants, {sum(test == SURVIVED for test in outcome.values())} survived"
        for module, outcome in outcomes.items()
        if outcome
    ]
    figures = {
        "mutants of shared/ratchet/domain": count,
        "noticed": f"{count - lived} ({100 * (count - lived) / count:.1f} %)",
        "survived": lived,
        f"of these not justified in {SURVIVORS.name}": unlisted,
        "time": f"{seconds / 60:.0f} min",
    }
    record("Mutation", "make mutation", figures, lists={"By module": by_module})


if __name__ == "__main__":
    sys.exit(main())
