"""The mutants that `make mutation` makes: each one small, each another, and the module is left as it was."""

import ast
from textwrap import dedent
from typing import Any

import pytest

from mutation.operators import compiled, mutants


def texts(source: str) -> list[str]:
    return [mutant.text.partition(": ")[2] for mutant in mutants(ast.parse(source))]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a < b", ["a < b -> a <= b", "a < b -> a >= b"]),
        ("a == b", ["a == b -> a != b"]),
        ("a in b", ["a in b -> a not in b"]),
        ("a and b", ["a and b -> a or b", "a and b -> b", "a and b -> a"]),
        ("not a", ["not a -> a"]),
        ("a + b", ["a + b -> a - b"]),
        ("7", ["7 -> 8", "7 -> 6"]),
        ("True", ["True -> False"]),
        ("min(a)", ["min -> max"]),
        ("a[b:]", ["b: -> :"]),
        ("[x for x in a if b]", ["for ... if b -> without"]),
        ("a if b else c", ["if b -> not"]),
    ],
)
def test_each_operator_makes_what_a_person_might_get_wrong(source: str, expected: list[str]) -> None:
    assert texts(f"x = {source}") == expected


def test_statements_are_left_out_or_turned() -> None:
    source = """
        def f(a):
            for b in a:
                if b:
                    continue
                g(b, key=a)
            return a
    """
    assert texts(dedent(source)) == [
        "if b -> not",
        "continue -> break",
        "g(b, key=a) -> pass",
        "g(b, key=a) -> g(b)",
        "return a -> return None",
    ]


def test_what_says_nothing_or_cannot_be_is_not_mutated() -> None:
    source = '''
        """Doc."""
        from a import b

        @dataclass(frozen=True)
        class C:
            """Doc."""

            x: "int" = y

            def f(self, a: "str") -> "int":
                """Doc."""
                assert a > 0, "never"

        LIMIT = y
        """Why."""
    '''
    assert texts(dedent(source)) == []


def test_a_mutant_is_told_by_where_it_is_and_two_alike_by_their_number() -> None:
    found = mutants(ast.parse("class C:\n    n = 0\n    def f(self):\n        return g(1, 1)\n"))
    assert [(mutant.text, mutant.function, mutant.lines) for mutant in found] == [
        ("C: 0 -> 1", None, range(2, 3)),
        ("C.f: return g(1, 1) -> return None", "C.f", range(4, 5)),
        ("C.f: 1 -> 2", "C.f", range(4, 5)),
        ("C.f: 1 -> 2 (number 2)", "C.f", range(4, 5)),
    ]


def test_the_module_is_left_as_it_was() -> None:
    tree = ast.parse("x = 1\ny = x < 2\n")
    before = ast.dump(tree)
    results = []
    for mutant in mutants(tree):
        names: dict[str, Any] = {}
        exec(compiled(tree, mutant, "m.py"), names)
        results.append((names["x"], names["y"]))
    assert ast.dump(tree) == before
    assert results == [(2, False), (1, True), (1, False), (1, True), (1, False)]
