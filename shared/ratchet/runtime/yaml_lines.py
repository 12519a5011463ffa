"""YAML that remembers its lines, and refuses a key that stands twice."""

from collections.abc import Sequence
from typing import Any

import yaml


class Unreadable(ValueError):
    """Not a YAML mapping; `line` counts from one."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(what)
        self.line = line


def load(text: str) -> tuple[dict[str, Any], yaml.Node | None]:
    """The content, and the nodes that know their lines. Raises: Unreadable."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.safe_load(text)
    except yaml.MarkedYAMLError as exc:
        raise Unreadable(exc.problem_mark.line + 1 if exc.problem_mark else 1, "not YAML; mend this line") from exc
    except (yaml.YAMLError, ValueError, RecursionError) as exc:
        raise Unreadable(1, "not YAML") from exc
    if node is None:
        return {}, None
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise Unreadable(1, "not a mapping of settings; write `name: value`")
    _refuse_twins(node)
    return content, node


def place(node: yaml.Node | None, path: Sequence[str | int]) -> int:
    """The line of the innermost part of `path` that the document has."""
    line = 1
    for part in path:
        found = None
        if isinstance(node, yaml.MappingNode):
            found = next(((key, value) for key, value in node.value if key.value == part), None)
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            found = (node.value[part], node.value[part])
        if found is None:
            break
        line, node = found[0].start_mark.line + 1, found[1]
    return line


def _refuse_twins(node: yaml.Node) -> None:
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            if key.value in seen:
                raise Unreadable(key.start_mark.line + 1, "a setting that stands twice; remove one")
            seen.add(key.value)
            _refuse_twins(value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_twins(item)
