"""Derive each function's requirements.txt from the lock: only what it needs, pinned with hashes, without a network.

The lock's own `# via` lines say who needs whom. They name no extras, so a package comes with whatever any extra of it
brought into the lock: never too little, now and then a little more.
"""

import argparse
import re
import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HEADER = "# Derived from requirements.lock by `make requirements`; do not edit."

_PIN = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(\[[^\]]*\])?==\S+")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class NotInLock(Exception):
    """A root of a group is not in the lock: it has to be made anew."""


@dataclass(frozen=True, slots=True)
class Pin:
    """One package of the lock: its lines with marker and hashes, and who needs it."""

    name: str
    lines: tuple[str, ...]
    needed_by: frozenset[str]


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def read_lock(text: str) -> Mapping[str, Pin]:
    pins: dict[str, Pin] = {}
    block: list[str] = []
    for line in [*text.splitlines(), "end"]:
        if line.startswith((" ", "#")) or not line.strip():
            block.append(line)
            continue
        if block and (pin := _pin(block)) is not None:
            pins[pin.name] = pin
        block = [line]
    return pins


def _pin(block: Sequence[str]) -> Pin | None:
    found = _PIN.match(block[0])
    if found is None:
        return None
    kept = [line for line in block if line.strip() and not line.lstrip().startswith("#")]
    parents = [line.strip().removeprefix("#").strip().removeprefix("via").strip() for line in block[1:] if "#" in line]
    needed_by = {normal(name.group()) for parent in parents if (name := _NAME.match(parent)) is not None}
    return Pin(normal(found["name"]), tuple(kept), frozenset(needed_by))


def closure(pins: Mapping[str, Pin], roots: Iterable[str]) -> Sequence[Pin]:
    """The roots and everything that one of them needs, in the lock's order.

    Raises:
        NotInLock.
    """
    wanted = set()
    for root in roots:
        name = _NAME.match(root)
        if name is None or normal(name.group()) not in pins:
            raise NotInLock(root)
        wanted.add(normal(name.group()))
    while True:
        more = {pin.name for pin in pins.values() if pin.needed_by & wanted} - wanted
        if not more:
            return [pin for pin in pins.values() if pin.name in wanted]
        wanted |= more


def render(pins: Sequence[Pin]) -> str:
    return "\n".join([HEADER, *(line for pin in pins for line in pin.lines)]) + "\n"


def derived(root: Path = ROOT) -> Mapping[Path, str]:
    """Each function's file with the text it should have. Raises: NotInLock."""
    groups = tomllib.loads((root / "pyproject.toml").read_text())["dependency-groups"]
    pins = read_lock((root / "requirements.lock").read_text())
    return {
        root / "functions" / group / "requirements.txt": render(closure(pins, roots))
        for group, roots in groups.items()
        if group != "dev"
    }


def stale(root: Path = ROOT) -> Sequence[Path]:
    return [path for path, text in derived(root).items() if not path.is_file() or path.read_text() != text]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m ratchet_cli.requirements", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a file is stale")
    check = parser.parse_args(arguments).check
    try:
        files = derived()
    except NotInLock as exc:
        print(f"{exc} is in no line of requirements.lock; run `make lock`", file=sys.stderr)
        return 1
    found = stale()
    for path in found:
        if check:
            print(f"{path.relative_to(ROOT)}: stale; run `make requirements`")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(files[path])
            print(f"{path.relative_to(ROOT)}: written")
    return 1 if check and found else 0


if __name__ == "__main__":
    sys.exit(main())
