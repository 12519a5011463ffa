"""Figures of a run, kept for `make report`: each section is written whole by the run that measured it."""

import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "build" / "figures"


def record(
    section: str,
    command: str,
    figures: Mapping[str, object],
    *,
    lists: Mapping[str, Sequence[str]] = {},
    part: str = "",
) -> None:
    """Keep a section: what was measured, by which command; `lists` are printed below, one item a line.

    Where several processes measure one section, each keeps its own `part`.
    """
    content = {
        "section": section,
        "command": command,
        "at": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": _commit(),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "load": f"{os.getloadavg()[1]:.0f}",
        "figures": {name: str(value) for name, value in figures.items()},
        "lists": {name: list(items) for name, items in lists.items()},
    }
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{f'{section} {part}'.strip().lower().replace(' ', '-')}.json"
    partial = path.with_suffix(f".{os.getpid()}")
    partial.write_text(json.dumps(content, indent=2), encoding="utf-8")
    partial.replace(path)


@cache
def _commit() -> str:
    """What the measured code is, as it stands in git; of a copy without git nobody can tell."""
    told = subprocess.run(
        ["git", "describe", "--always", "--exclude=*", "--abbrev=7", "--dirty"],
        cwd=FOLDER.parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    return told.stdout.strip() or "unknown"
