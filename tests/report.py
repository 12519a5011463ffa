"""`make report`: fold the figures of the last runs into tests/REPORT.md; sections without new figures stay."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from support.figures import FOLDER

REPORT = Path(__file__).with_name("REPORT.md")
_HEAD = """\
# What the tests measured

Written by `make report` from the figures that the named commands left; never by hand.
"""


def fold(report: str, new: dict[str, str]) -> str:
    """Replace or add these sections, in the order of their names."""
    parts = re.split(r"(?m)^## ", report)[1:]
    sections = {part.partition("\n")[0].strip(): f"## {part.rstrip()}\n" for part in parts}
    sections.update(new)
    return "\n".join([_HEAD, *(sections[name] for name in sorted(sections))])


def together(contents: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """By section; of one that several processes measured, every part, and the time of the last."""
    sections: dict[str, dict[str, Any]] = {}
    for content in sorted(contents, key=lambda content: content["at"]):
        known = sections.get(content["section"], content)
        figures, lists = known["figures"] | content["figures"], known["lists"] | content["lists"]
        sections[content["section"]] = {**content, "figures": figures, "lists": lists}
    return sections


def _load(content: dict[str, Any]) -> str:
    """How many wanted to work there at the same time: a busy machine explains what took long."""
    return f", load {content['load']}" if "load" in content else ""


def render(content: dict[str, Any]) -> str:
    lines = [
        f"## {content['section']}",
        "",
        f"`{content['command']}`, {content['at']}, commit {content.get('commit', 'not noted')}, "
        f"Python {content['python']}, {content['cores']} cores{_load(content)}",
        "",
        "| figure | value |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in content["figures"].items()),
    ]
    for name, items in content["lists"].items():
        lines += ["", f"{name}:", "", *(f"- {item}" for item in items)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sections = together(json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.json")))
    before = REPORT.read_text(encoding="utf-8") if REPORT.exists() else ""
    REPORT.write_text(fold(before, {name: render(content) for name, content in sections.items()}), encoding="utf-8")
    print(f"{REPORT.name}: {len(sections)} sections written")
