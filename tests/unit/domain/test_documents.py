"""What no store may be given, and what an interrupted commit turned out to be."""

from typing import Any

import pytest

from ratchet.domain.documents import (
    ENVELOPE,
    EXPIRY,
    MAX_BATCH_BYTES,
    MAX_DEPTH,
    MAX_DOCUMENT_BYTES,
    MAX_FIELD_BYTES,
    MAX_NAME_BYTES,
    MAX_WRITES,
    Standing,
    Unstorable,
    check_batch,
    check_place,
    check_values,
    standing,
)

Write = tuple[str, str, dict[str, Any] | None]


def refused(writes: list[Write], op_id: str = "op") -> str | None:
    try:
        check_batch(writes, op_id)
    except Unstorable as exc:
        return str(exc)
    return None


def one(data: dict[str, Any], name: str = "d") -> str | None:
    return refused([("jobs", name, data)])


def test_the_limits_are_those_of_firestore() -> None:
    assert (MAX_NAME_BYTES, MAX_FIELD_BYTES, MAX_DOCUMENT_BYTES, MAX_DEPTH) == (1_500, 1_048_487, 1_048_576, 20)
    assert (MAX_WRITES, MAX_BATCH_BYTES) == (20, 8 * 1_048_576)
    assert (frozenset({"version", "op_id", "looks", "ttl"}), "expires_at") == (ENVELOPE, EXPIRY)


# An interrupted commit ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("documents", "found"),
    [
        ([(1, 1, "old"), (None, None, None)], Standing.UNCHANGED),
        ([], Standing.UNCHANGED),
        ([(1, 2, "op"), (None, None, None)], Standing.OURS),
        ([(1, 2, "other"), (3, 4, "op")], Standing.OURS),
        ([(1, 2, "other")], Standing.CHANGED),
        ([(1, 1, "old"), (None, 1, "other")], Standing.CHANGED),
        ([(1, None, None)], Standing.CHANGED),
    ],
)
def test_what_the_documents_say_of_a_commit_whose_reply_did_not_come(
    documents: list[tuple[int | None, int | None, str | None]], found: Standing
) -> None:
    assert standing("op", iter(documents)) is found


# Places ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "____", "__x__", "__a\nb__"])
def test_an_id_that_is_empty_or_reserved_is_no_place(name: str) -> None:
    for place in ((name, "d"), ("jobs", name)):
        with pytest.raises(Unstorable, match=r"^an id that is empty or reserved$"):
            check_place(*place)


@pytest.mark.parametrize("name", ["a", "...", "__x", "x__", "a__b__c", "x" * 1500, "é" * 750])
def test_any_other_id_is_a_place(name: str) -> None:
    check_place(name, name)


@pytest.mark.parametrize("name", ["x" * 1501, "é" * 750 + "x"])
def test_an_id_is_counted_in_bytes(name: str) -> None:
    with pytest.raises(Unstorable, match=r"^an id that is too long$"):
        check_place("jobs", name)


def test_half_a_character_is_no_text() -> None:
    with pytest.raises(Unstorable, match=r"^a lone surrogate$"):
        check_place("jobs", "\ud800")
    assert one({"a": "\ud800"}) == "a lone surrogate"


# Batches --------------------------------------------------------------------------------------------------------------


def test_a_batch_has_so_many_writes_and_each_to_another_document() -> None:
    many: list[Write] = [("jobs", str(n), {}) for n in range(20)]
    assert refused(many) is None
    assert refused([*many, ("jobs", "20", None)]) == "too many writes in a batch"
    assert refused([("jobs", "1", {}), ("jobs", "1", None)]) == "two writes to one document"
    assert refused([("jobs", "1", {}), ("aliases", "1", {})]) is None
    assert refused([("jobs", "__x__", None)]) == "an id that is empty or reserved"


def test_a_batch_is_so_large() -> None:
    big = {"a": "x" * 1_040_000}
    assert refused([("jobs", str(n), big) for n in range(8)]) is None
    assert refused([("jobs", str(n), big) for n in range(9)]) == "a batch that is too large"


def test_eight_documents_that_are_just_not_too_large_are_a_batch() -> None:
    rest = MAX_DOCUMENT_BYTES - EMPTY - 2 * 2
    whole = {"a": "x" * (rest // 2 - 1), "b": "x" * (rest - rest // 2 - 1)}
    assert refused([("jobs", str(n), whole) for n in range(8)]) is None
    assert refused([*(("jobs", str(n), whole) for n in range(8)), ("jobs", "8", {})]) == "a batch that is too large"


@pytest.mark.parametrize("name", sorted(ENVELOPE))
def test_the_envelope_is_the_stores_own(name: str) -> None:
    assert one({name: 1}) == "a field name that the store keeps for itself"


# Sizes ----------------------------------------------------------------------------------------------------------------

# The path `jobs/d` with 16 for its root (16 + 5 + 2), the document (32), and what every store adds to it:
# version and looks (7 + 1 + 8, 5 + 1 + 8 + 1) and op_id with the text `op` (5 + 1 + 2 + 1).
EMPTY = 23 + 32 + 16 + 14 + 9


def test_a_document_is_so_large_with_all_that_is_stored_beside_it() -> None:
    rest = MAX_DOCUMENT_BYTES - EMPTY - len("a") - 1 - len("b") - 1
    half = rest // 2 - 1

    def filled(more: int) -> str | None:
        return one({"a": "x" * half, "b": "y" * (rest - half - 2 + more)})

    assert filled(0) is None
    assert filled(1) == "a document that is too large"


@pytest.mark.parametrize(
    ("value", "size"),
    [
        (None, 1),
        (True, 1),
        (7, 8),
        (0.5, 8),
        ("", 1),
        ("é", 3),
        ([], 0),
        ([1, None], 9),
        ({}, 32),
        ({"n": 7}, 32 + 2 + 8),
        ({"n": {"m": "x"}}, 32 + 2 + 32 + 2 + 2),
        ([{"n": True}], 32 + 2 + 1),
    ],
)
def test_every_value_has_the_size_that_firestore_counts(value: Any, size: int) -> None:
    def filled(more: int) -> str | None:
        rest = MAX_DOCUMENT_BYTES - EMPTY - (1 + 1 + size) - 2 * 2
        return one({"v": value, "a": "x" * (rest // 2 - 1), "b": "x" * (rest - rest // 2 - 1 + more)})

    assert filled(0) is None
    assert filled(1) == "a document that is too large"


@pytest.mark.parametrize("wrap", [lambda text: text, lambda text: [text], lambda text: {"n": text}])
def test_a_field_is_so_large(wrap: Any) -> None:
    extra = 1 if wrap("") == "" or wrap("") == [""] else 32 + 2 + 1
    check_values([wrap("x" * (MAX_FIELD_BYTES - extra))])
    with pytest.raises(Unstorable, match=r"^a field that is too large$"):
        check_values([wrap("x" * (MAX_FIELD_BYTES - extra + 1))])


# Values ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (2**63, "an integer beyond 64 bits"),
        (-(2**63) - 1, "an integer beyond 64 bits"),
        (float("nan"), "not a finite number"),
        (float("inf"), "not a finite number"),
        ([[1]], "a list inside a list"),
        ([1, [2]], "a list inside a list"),
        ((1,), "a value that is not JSON"),
        (b"x", "a value that is not JSON"),
        ({"": 1}, "a field name that is empty, reserved or no text"),
        ({"__x__": 1}, "a field name that is empty, reserved or no text"),
        ({1: 1}, "a field name that is empty, reserved or no text"),
        ({"x" * 1501: 1}, "a field name that is too long, with those around it"),
    ],
)
def test_what_no_document_can_hold(value: Any, why: str) -> None:
    assert one({"a": value}) == why
    with pytest.raises(Unstorable, match=rf"^{why}$"):
        check_values([1, value])


@pytest.mark.parametrize("value", [2**63 - 1, -(2**63), 1e308, [{"a": [1]}], {"x" * 1490: 1}, {"__x": 1}, {"x__": 1}])
def test_what_a_document_can_just_hold(value: Any) -> None:
    assert one({"a": value}) is None


def test_a_value_that_is_asked_for_is_no_deeper_than_one_field() -> None:
    check_values([{"x" * 1490: 1}, [1], -(2**63)])
    with pytest.raises(Unstorable, match=r"^nested too deeply$"):
        check_values([{"a": [1]}])


def test_a_path_is_as_long_as_all_of_its_names_with_their_dots() -> None:
    assert one({"a" * 750: {"b" * 749: 1}}) is None
    assert one({"a" * 750: {"b" * 750: 1}}) == "a field name that is too long, with those around it"
    assert one({"a" * 750: [{"b" * 749: 1}]}) is None
    assert one({"a" * 750: [{"b" * 750: 1}]}) == "a field name that is too long, with those around it"


def test_a_value_is_nested_so_deeply() -> None:
    def nested(depth: int) -> Any:
        return {"n": nested(depth - 1)} if depth else 1

    assert one(nested(20)) is None
    assert one(nested(21)) == "nested too deeply"
    lists = {"n": [{"n": [{"n": 1}]}]}
    for _ in range(7):
        lists = {"n": [lists]}
    assert one(lists) is None
    assert one({"n": lists, "m": {"n": [lists]}}) == "nested too deeply"


def test_no_subclass_of_a_json_type_would_come_back_as_itself() -> None:
    class Text(str):
        __slots__ = ()

    assert one({"a": Text("x")}) == "a value that is not JSON"
