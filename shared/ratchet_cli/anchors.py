"""The file of anchors: where the heads that `reconcile` logs are kept apart from the store.

`ratchet up` keeps one beside its store. In the cloud a locked log bucket keeps them, and what it exports is read, too.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ratchet.domain.codec import decode
from ratchet.domain.history import Anchor
from ratchet.domain.keys import AliasKey
from ratchet.log import Event
from ratchet.runtime.connect import settings_of_store
from ratchet.runtime.settings import SettingsError
from ratchet_cli.problem import USAGE, Problem
from ratchet_cli.processes import Line


def beside(database: Path) -> Path:
    """Named for its store: another one in the same folder has anchors of its own."""
    return database.with_name(f"{database.stem}.anchors.jsonl")


def keep(path: Path, line: Line) -> None:
    """Add the line if it is an anchor; again is harmless."""
    if line.get("event") == Event.HISTORY_ANCHORED.label:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(dict(line)) + "\n")


@dataclass(frozen=True, slots=True)
class Anchors:
    """What a file of anchors holds; without a file, nothing is known of what was once there."""

    file: Path | None
    known: Sequence[Anchor] = ()

    def of(self, key: AliasKey) -> Sequence[Anchor]:
        return [anchor for anchor in self.known if anchor.alias == key]


def read(path: Path) -> list[Anchor]:
    """From our own log lines, or from log entries as Cloud Logging exports them; whatever else is logged is passed by.

    Raises:
        Problem: it cannot be read, or is neither.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as exc:
        raise Problem(f"{path}: {exc.strerror}; name the file of the anchors with --anchors", USAGE) from exc
    except UnicodeDecodeError as exc:
        raise Problem(f"{path}: not text; write JSON lines, or what `gcloud logging read --format=json` does") from exc
    return [_anchor(entry, where) for where, entry in _entries(path, text) if entry.get("event") == _LABEL]


_LABEL = Event.HISTORY_ANCHORED.label


def _entries(path: Path, text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each entry's own facts, and where they stand."""
    if text.lstrip().startswith("["):
        found = [(f"{path}, entry {n}", entry) for n, entry in enumerate(_parsed(text, str(path)), 1)]
    else:
        lines = [(f"{path}:{n}", line) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
        found = [(where, _parsed(line, where)) for where, line in lines]
    for where, entry in found:
        facts = entry.get("jsonPayload", entry) if isinstance(entry, dict) else None
        if not isinstance(facts, dict):
            raise Problem(f"{where}: not a log entry", USAGE)
        yield where, facts


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise Problem(f"{where}: not JSON; if a crash has torn the line, take it out", USAGE) from exc


def _anchor(facts: dict[str, Any], where: str) -> Anchor:
    number = facts.get("n")
    # A log entry's payload knows no integers: 61 may come back as 61.0.
    whole = int(number) if isinstance(number, float) and number.is_integer() else number
    try:
        return decode(Anchor, {**facts, "n": whole})
    except (ValueError, OverflowError) as exc:
        raise Problem(f"{where}: an anchor that cannot be read", USAGE) from exc


def kept_beside(store_url: str, named: Path | None) -> Anchors:
    """The file that was named, or the one that `ratchet up` keeps beside its store, if it is there."""
    if named is None:
        try:
            database = settings_of_store(store_url).sqlite_path
        except SettingsError as exc:
            raise Problem(str(exc), USAGE) from exc
        kept = beside(database) if database else None
        if kept is None or not kept.is_file():
            return Anchors(None)
        named = kept
    return Anchors(named, read(named))
