"""Play a scenario as `ratchet demo` does, and keep what it left behind."""

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from ratchet_cli import demo


@dataclass(frozen=True)
class Played:
    """How `ratchet demo` ended, and what it left behind."""

    code: int
    output: str
    folder: Path
    report: dict[str, Any]
    log: list[dict[str, Any]]

    def aliases(self) -> dict[str, dict[str, Any]]:
        return {f"{alias['line']}@{alias['alias']}": alias for alias in self.report["aliases"]}

    def decisions(self, line: str) -> list[dict[str, Any]]:
        return [decision for decision in self.report["decisions"] if decision["line"] == line]

    def heard(self, event: str, **facts: object) -> list[dict[str, Any]]:
        return [line for line in self.log if line.get("event") == event and facts.items() <= line.items()]


def play(folder: Path, **options: Any) -> Played:
    console = Console(file=io.StringIO(), width=200)
    code = demo.run(report=folder / "report.json", keep=folder / "demo", console=console, **options)
    assert isinstance(console.file, io.StringIO)
    output = console.file.getvalue()
    assert (folder / "report.json").is_file(), output
    lines = [json.loads(text) for text in (folder / "demo" / "log.jsonl").read_text().splitlines()]
    return Played(code, output, folder / "demo", json.loads((folder / "report.json").read_text()), lines)
