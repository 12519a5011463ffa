"""The mutants of a module: each differs from it in one small thing that a person might get wrong.

Not mutated: annotations, docstrings, decorators, imports, and assertions, which name what cannot be.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Place = tuple[ast.AST, str, int | None]
"""A node's parent, the field that it is in, and its index where that field is a list."""

_BOUNDARY = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt}
_OPPOSITE = {
    ast.Lt: ast.GtE, ast.LtE: ast.Gt, ast.Gt: ast.LtE, ast.GtE: ast.Lt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
_ARITHMETIC = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult,
    ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.LShift: ast.RShift,
}  # fmt: skip
_NAMES = {"min": "max", "max": "min", "any": "all", "all": "any", "sorted": "list", "floor": "ceil", "ceil": "floor"}
_UNTOUCHED = (ast.Assert, ast.Import, ast.ImportFrom)
_SKIPPED_FIELDS = frozenset(
    {"annotation", "returns", "decorator_list", "type_comment", "format_spec", "bases", "keywords"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """`text` tells it from all others of its module; the statement that it is in is on `lines`.

    `function` is the outermost function whose body it is in; None: it is made when the module is imported.
    """

    place: Place
    node: ast.AST
    text: str
    function: str | None
    lines: range


def mutants(tree: ast.Module) -> list[Mutant]:
    """All mutants of a module, in the order of its lines. None of them is applied yet."""
    seen: dict[str, int] = {}
    found = []
    for place, node, scope, in_body, lines in _walk(tree, "", False, range(0)):
        for other, words in _others(node):
            text = f"{scope or '<module>'}: {words}"
            seen[text] = count = seen.get(text, 0) + 1
            found.append(
                Mutant(
                    place=place,
                    node=ast.copy_location(other, node),
                    text=text if count == 1 else f"{text} (number {count})",
                    function=scope if in_body else None,
                    lines=lines,
                )
            )
    return found


def compiled(tree: ast.Module, mutant: Mutant, filename: str) -> Any:
    """The code of the module with the mutant in it; the tree is left as it was."""
    parent, name, index = mutant.place
    before = getattr(parent, name) if index is None else getattr(parent, name)[index]
    _put(mutant.place, mutant.node)
    try:
        return compile(ast.fix_missing_locations(tree), filename, "exec")
    finally:
        _put(mutant.place, before)


def _put(place: Place, node: ast.AST) -> None:
    parent, name, index = place
    if index is None:
        setattr(parent, name, node)
    else:
        getattr(parent, name)[index] = node


def _walk(node: ast.AST, scope: str, in_body: bool, lines: range) -> Iterator[tuple[Place, ast.AST, str, bool, range]]:
    """Each node that may be mutated, with the function or class that it is in and the lines of its statement."""
    for name, value in ast.iter_fields(node):
        if name in _SKIPPED_FIELDS and not (name == "keywords" and isinstance(node, ast.Call)):
            continue
        many = isinstance(value, list)
        for index, child in enumerate(value if many else [value]):
            if (
                not isinstance(child, ast.AST)
                or isinstance(child, _UNTOUCHED)
                or _is_docstring(node, name, index, child)
            ):
                continue
            inner, body = scope, in_body
            if isinstance(node, ast.FunctionDef) and not in_body:
                body = name == "body"
            if isinstance(child, ast.ClassDef | ast.FunctionDef) and not in_body:
                inner = f"{scope}.{child.name}" if scope else child.name
            on = _lines(child) if isinstance(child, ast.stmt) else lines
            yield (node, name, index if many else None), child, inner, body, on
            yield from _walk(child, inner, body, on)


def _is_docstring(parent: ast.AST, name: str, index: int, child: ast.AST) -> bool:
    """Any text that stands alone: also the one that tells of a constant."""
    return name == "body" and isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant)


def _lines(statement: ast.stmt) -> range:
    """Of a compound statement its head alone."""
    body = getattr(statement, "body", None)
    last = body[0].lineno - 1 if isinstance(body, list) and body else statement.end_lineno
    return range(statement.lineno, max(statement.lineno, last or 0) + 1)


def _others(node: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    before = ast.unparse(node) if isinstance(node, ast.expr | ast.stmt) else ""

    def told(other: ast.AST, instead: str | None = None) -> tuple[ast.AST, str]:
        return other, f"{_short(before)} -> {_short(ast.unparse(other) if instead is None else instead)}"

    match node:
        case ast.Compare():
            for index, op in enumerate(node.ops):
                for table in (_BOUNDARY, _OPPOSITE):
                    if type(op) in table:
                        ops = [*node.ops[:index], table[type(op)](), *node.ops[index + 1 :]]
                        yield told(ast.Compare(node.left, ops, node.comparators))
        case ast.BoolOp():
            yield told(ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values))
            for index in range(len(node.values)):
                rest = [*node.values[:index], *node.values[index + 1 :]]
                yield told(rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest))
        case ast.UnaryOp(op=ast.Not() | ast.USub()):
            yield told(node.operand)
        case ast.BinOp() if type(node.op) in _ARITHMETIC:
            yield told(ast.BinOp(node.left, _ARITHMETIC[type(node.op)](), node.right))
        case ast.AugAssign() if type(node.op) in _ARITHMETIC:
            yield told(ast.AugAssign(node.target, _ARITHMETIC[type(node.op)](), node.value))
            yield told(ast.Pass())
        case ast.Constant(value=bool() as value):
            yield told(ast.Constant(not value))
        case ast.Constant(value=int() | float() as number):
            yield told(ast.Constant(number + 1))
            if number not in (0, 1):
                yield told(ast.Constant(number - 1))
        case ast.Constant(value=str() as text):
            yield told(ast.Constant(f"XX{text}"))
        case ast.Name(id=name) if name in _NAMES:
            yield told(ast.Name(_NAMES[name], ast.Load()))
        case ast.If() | ast.While() | ast.IfExp():
            if not isinstance(node.test, ast.Compare | ast.UnaryOp):
                yield _instead(node, "test", ast.UnaryOp(ast.Not(), node.test), f"if {_short(ast.unparse(node.test))}")
        case ast.comprehension(ifs=[_, *_]):
            for index, test in enumerate(node.ifs):
                others = [*node.ifs[:index], *node.ifs[index + 1 :]]
                words = f"for ... if {_short(ast.unparse(test))} -> without"
                yield ast.comprehension(node.target, node.iter, others, node.is_async), words
        case ast.Return(value=ast.expr() as value) if not _is_nothing(value):
            yield told(ast.Return(ast.Constant(None)))
        case ast.Expr(value=ast.Call() | ast.Yield() | ast.YieldFrom()) | ast.Raise():
            yield told(ast.Pass())
        case ast.Continue():
            yield told(ast.Break())
        case ast.Break():
            yield told(ast.Continue())
        case ast.Call():
            yield from (told(other) for other in _other_calls(node))
        case ast.Slice():
            for bound in ("lower", "upper"):
                if getattr(node, bound) is not None:
                    yield told(ast.Slice(**{"lower": node.lower, "upper": node.upper, "step": node.step, bound: None}))


def _other_calls(node: ast.Call) -> Iterator[ast.Call]:
    """Without one of its named arguments. Of a function with one argument alone, `_NAMES` has the other one."""
    for index, keyword in enumerate(node.keywords):
        if keyword.arg is not None:
            yield ast.Call(node.func, node.args, [*node.keywords[:index], *node.keywords[index + 1 :]])


def _instead(node: ast.AST, field: str, value: ast.AST, words: str) -> tuple[ast.AST, str]:
    """The same statement with one field otherwise."""
    fields = {name: getattr(node, name) for name in node._fields}
    return type(node)(**{**fields, field: value}), f"{words} -> not"


def _is_nothing(value: ast.expr) -> bool:
    """Whoever asks for yes or no takes None for no."""
    return isinstance(value, ast.Constant) and value.value in (None, False)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 100 else f"{line[:97]}..."
