"""YAML that remembers its lines, and refuses a key that stands twice."""

from collections.abc import Sequence
from typing import Any

import yaml

_MAX_VALUES, _MAX_DEPTH = 10_000, 32


class Unreadable(ValueError):
    """Not a YAML mapping; `line` counts from one."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(what)
        self.line = line


def load(text: str) -> tuple[dict[str, Any], yaml.Node | None]:
    """The content, and the nodes that know their lines. Raises: Unreadable."""
    node = None
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is not None:
            _refuse_twins(node)
        content = yaml.safe_load(text)
    except yaml.MarkedYAMLError as exc:
        raise Unreadable(exc.problem_mark.line + 1 if exc.problem_mark else 1, "not YAML; mend this line") from exc
    except Unreadable:
        raise
    # Beside its own errors, PyYAML lets through whatever its constructors stumble over: `!!bool x` is a KeyError.
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, ArithmeticError, RecursionError) as exc:
        raise Unreadable(_stumble(node), "not YAML; mend this line") from exc
    if node is None:
        return {}, None
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise Unreadable(1, "not a mapping of settings; write `name: value`")
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


def _stumble(root: yaml.Node | None) -> int:
    """The line of the first value that no constructor takes: PyYAML itself does not say where `2026-02-30` stands."""
    waiting = [root] if root is not None else []
    while waiting:
        node = waiting.pop()
        if isinstance(node, yaml.SequenceNode):
            waiting += reversed(node.value)
        elif isinstance(node, yaml.MappingNode):
            waiting += [part for item in reversed(node.value) for part in reversed(item)]
        else:
            try:
                yaml.SafeLoader("").construct_object(node)
            except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, ArithmeticError):
                return int(node.start_mark.line) + 1
    return 1


def _refuse_twins(root: yaml.Node) -> None:
    """And refuse what has no end: by its aliases a value may hold itself, or a thousand times a thousand others."""
    waiting, seen_values = [(root, 0)], 0
    while waiting:
        node, depth = waiting.pop()
        seen_values += 1
        if seen_values > _MAX_VALUES or depth > _MAX_DEPTH:
            raise Unreadable(node.start_mark.line + 1, "values within values without end; make it flatter")
        if isinstance(node, yaml.SequenceNode):
            waiting += [(item, depth + 1) for item in node.value]
        if isinstance(node, yaml.MappingNode):
            names = set()
            for key, value in node.value:
                if not isinstance(key, yaml.ScalarNode):
                    raise Unreadable(key.start_mark.line + 1, "a name that is not a word")
                if key.value in names:
                    raise Unreadable(key.start_mark.line + 1, "a setting that stands twice; remove one")
                names.add(key.value)
                waiting.append((value, depth + 1))
