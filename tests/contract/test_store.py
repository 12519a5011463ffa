"""The store's contract, for every adapter: what one takes, refuses or answers, all do."""

import math
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.cloud.firestore_v1.types import RunQueryResponse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ratchet import deadline
from ratchet.deadline import OutOfTime
from ratchet.domain.codec import format_time
from ratchet.ports import (
    QUERIES,
    Commit,
    Create,
    Delete,
    Key,
    PermanentError,
    Postpone,
    Query,
    Replace,
    Snapshot,
    Store,
    StoreUnavailable,
    StoreUncertain,
    Token,
    Write,
)
from support import stores
from support.depth import LONG, deep, pytest_command
from support.figures import record
from support.stores import Backend, Lost

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
JOB = Key("jobs", "vertex:1:europe-west4:7")
ALIAS = Key("aliases", "support@production")


@pytest.fixture(params=["sqlite-file", "sqlite-memory", pytest.param("firestore", marks=pytest.mark.emulators)])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    match request.param:
        case "sqlite-file":
            opening = stores.sqlite_file(tmp_path / "store.sqlite")
        case "sqlite-memory":
            opening = stores.sqlite_memory()
        case _:
            opening = stores.firestore_emulated(request.getfixturevalue("firestore_emulator"))
    with opening as opened:
        yield opened


@pytest.fixture
def store(backend: Backend) -> Store:
    return backend.store


def commit(store: Store, *writes: Write) -> Commit:
    return store.commit(writes, uuid.uuid4().hex)


def put(store: Store, key: Key, **data: Any) -> Snapshot:
    assert commit(store, Create(key, data)) is Commit.COMMITTED
    return read(store, key)


def read(store: Store, key: Key) -> Snapshot:
    found = store.get(key)
    assert found is not None
    return found


def fill(store: Store, collection: str, documents: Mapping[str, Mapping[str, Any]]) -> None:
    for name, data in documents.items():
        put(store, Key(collection, name), **data)


def names(store: Store, collection: str, **query: Any) -> list[str]:
    return [found.key.id for found in store.query(Query(collection, **query))]


def hour(n: int) -> str:
    return format_time(NOON + timedelta(hours=n))


class TestWrites:
    def test_a_created_document_reads_back_whole(self, store: Store) -> None:
        data = {
            "a": 1,
            "b": 1.5,
            "c": None,
            "d": True,
            "e": ["x", {"y": [1]}],
            "f": {},
            "g": [],
            "h": "é\u0000\U0001f600",
        }
        found = put(store, JOB, **data)
        assert (found.key, dict(found.data), found.token.version, found.looks) == (JOB, data, 1, 0)

    def test_numbers_keep_their_kind(self, store: Store) -> None:
        found = put(store, JOB, whole=2, broken=2.0, tiny=5e-324, minus=-0.0)
        assert [type(found.data[name]) for name in ("whole", "broken")] == [int, float]
        assert found.data["tiny"] == 5e-324
        assert math.copysign(1, found.data["minus"]) == -1

    def test_an_empty_document_is_a_document(self, store: Store) -> None:
        assert dict(put(store, JOB).data) == {}
        assert commit(store, Replace(JOB, {}, read(store, JOB).token)) is Commit.COMMITTED

    def test_nothing_is_read_where_nothing_is(self, store: Store) -> None:
        assert store.get(JOB) is None

    def test_replace_leaves_nothing_of_the_old_document(self, store: Store) -> None:
        first = put(store, JOB, old=1, nested={"old": 1, "both": 1}, same=1)
        assert commit(store, Replace(JOB, {"nested": {"both": 2}, "same": 1}, first.token)) is Commit.COMMITTED
        assert dict(read(store, JOB).data) == {"nested": {"both": 2}, "same": 1}

    def test_version_rises_even_when_nothing_differs(self, store: Store) -> None:
        first = put(store, JOB, a=1)
        assert commit(store, Replace(JOB, first.data, first.token)) is Commit.COMMITTED
        assert read(store, JOB).token.version == 2
        assert commit(store, Replace(JOB, {"a": 2}, first.token)) is Commit.CONFLICT

    def test_postpone_moves_the_timer_alone(self, store: Store) -> None:
        first = put(store, JOB, a={"b.c": 1}, next_look_at=hour(0))
        for looks in (1, 2):
            assert (
                commit(store, Postpone(JOB, NOON + timedelta(hours=looks), read(store, JOB).token)) is Commit.COMMITTED
            )
            found = read(store, JOB)
            assert (dict(found.data), found.looks) == ({"a": {"b.c": 1}, "next_look_at": hour(looks)}, looks)
            assert found.token.version == first.token.version

    def test_a_real_change_forgets_the_looks(self, store: Store) -> None:
        put(store, JOB, next_look_at=hour(0))
        commit(store, Postpone(JOB, NOON, read(store, JOB).token))
        commit(store, Replace(JOB, {}, read(store, JOB).token))
        assert read(store, JOB).looks == 0

    def test_a_deleted_document_is_gone_and_its_place_free(self, store: Store) -> None:
        assert commit(store, Delete(JOB, put(store, JOB).token)) is Commit.COMMITTED
        assert store.get(JOB) is None
        assert put(store, JOB, a=2).token.version == 1

    def test_no_writes_are_a_commit(self, store: Store) -> None:
        assert commit(store) is Commit.COMMITTED

    @pytest.mark.parametrize("name", ["a.b", "vertex:1:-:2", "`", "\\", "ключ", "a b", "1", "*", "~", "[0]", "x" * 740])
    def test_any_name_may_be_a_field(self, store: Store, name: str) -> None:
        first = put(store, JOB, **{name: 1, "m": {name: {name: 1}}})
        assert dict(first.data) == {name: 1, "m": {name: {name: 1}}}
        commit(store, Replace(JOB, {name: {name: 2}}, first.token))
        commit(store, Postpone(JOB, NOON, read(store, JOB).token))
        assert dict(read(store, JOB).data) == {name: {name: 2}, "next_look_at": hour(0)}

    def test_another_connection_sees_what_is_committed(self, backend: Backend) -> None:
        put(backend.store, JOB, a=1)
        other = backend.another()
        commit(other, Replace(JOB, {"a": 2}, read(other, JOB).token))
        assert read(backend.store, JOB).data["a"] == 2
        assert [found.data["a"] for found in backend.another().query(Query("jobs", order="first_seen_at"))] == []


class TestPreconditions:
    def test_create_loses_to_what_exists(self, store: Store) -> None:
        put(store, JOB, a=1)
        assert commit(store, Create(JOB, {"a": 2})) is Commit.CONFLICT
        assert read(store, JOB).data["a"] == 1

    @pytest.mark.parametrize("kind", [Replace, Postpone, Delete])
    @pytest.mark.parametrize("state", ["stale", "absent", "deleted"])
    def test_a_write_loses_to_any_other_state(self, store: Store, kind: type[Write], state: str) -> None:
        first = put(store, JOB, a=1)
        key = Key("jobs", "absent") if state == "absent" else JOB
        if state == "stale":
            commit(store, Replace(JOB, {"a": 2}, first.token))
        if state == "deleted":
            commit(store, Delete(JOB, first.token))
        before = store.get(key)
        assert commit(store, write(kind, key, first.token)) is Commit.CONFLICT
        assert store.get(key) == before

    def test_a_commit_that_lost_only_to_a_sweep_goes_on(self, store: Store) -> None:
        first = put(store, JOB, a=1, next_look_at=hour(0))
        alias = put(store, ALIAS)
        commit(store, Postpone(JOB, NOON + timedelta(hours=1), first.token))
        assert commit(store, Replace(JOB, {"a": 2}, first.token), Replace(ALIAS, {}, alias.token)) is Commit.COMMITTED
        found = read(store, JOB)
        assert (dict(found.data), found.looks, found.token.version) == ({"a": 2}, 0, 2)

    @pytest.mark.parametrize("bad", ["create", "replace", "postpone", "delete"])
    def test_one_bad_precondition_stops_the_batch(self, store: Store, bad: str) -> None:
        job, alias = put(store, JOB, a=1), put(store, ALIAS, a=1)
        commit(store, Replace(ALIAS, {"a": 2}, alias.token))
        loser = {
            "create": Create(ALIAS, {}),
            "replace": Replace(ALIAS, {}, alias.token),
            "postpone": Postpone(ALIAS, NOON, alias.token),
            "delete": Delete(ALIAS, alias.token),
        }[bad]
        row = Key("history", "1")
        assert commit(store, Replace(JOB, {"a": 2}, job.token), Create(row, {}), loser) is Commit.CONFLICT
        assert (read(store, JOB), store.get(row), read(store, ALIAS).data["a"]) == (job, None, 2)

    def test_a_batch_of_every_kind_is_one(self, store: Store) -> None:
        keys = [Key("jobs", str(n)) for n in range(4)]
        found = [put(store, key, n=1) for key in keys[:3]]
        writes: list[Write] = [
            Replace(keys[0], {"n": 2}, found[0].token),
            Postpone(keys[1], NOON, found[1].token),
            Delete(keys[2], found[2].token),
            Create(keys[3], {"n": 2}),
        ]
        assert commit(store, *writes) is Commit.COMMITTED
        assert [store.get(key) and dict(read(store, key).data) for key in keys] == [
            {"n": 2},
            {"n": 1, "next_look_at": hour(0)},
            None,
            {"n": 2},
        ]


def write(kind: type[Write], key: Key, token: Token) -> Write:
    if kind is Replace:
        return Replace(key, {"a": 3}, token)
    return Postpone(key, NOON, token) if kind is Postpone else Delete(key, token)


class TestLostReplies:
    def test_our_own_write_is_recognised(self, backend: Backend) -> None:
        first = put(backend.store, JOB, n=1)
        backend.wire.lose(Lost(with_effect=True))
        writes = [Replace(JOB, {"n": 2}, first.token), Create(ALIAS, {})]
        assert commit(backend.store, *writes) is Commit.COMMITTED
        assert (read(backend.store, JOB).token.version, read(backend.store, JOB).data["n"]) == (2, 2)

    def test_a_create_is_recognised(self, backend: Backend) -> None:
        backend.wire.lose(Lost(with_effect=True))
        assert commit(backend.store, Create(JOB, {"n": 1})) is Commit.COMMITTED

    def test_a_row_that_stays_proves_a_commit_that_others_have_built_upon(self, backend: Backend) -> None:
        alias, other, row = put(backend.store, ALIAS, n=1), backend.another(), Key("history", "1")
        later = Lost(True, lambda: commit(other, Replace(ALIAS, {"n": 3}, read(other, ALIAS).token)))
        backend.wire.lose(later)
        assert commit(backend.store, Replace(ALIAS, {"n": 2}, alias.token), Create(row, {})) is Commit.COMMITTED
        assert read(backend.store, ALIAS).data["n"] == 3

    def test_what_never_arrived_is_sent_again(self, backend: Backend) -> None:
        first = put(backend.store, JOB, n=1)
        before = backend.wire.commits
        backend.wire.lose(Lost(with_effect=False), Lost(with_effect=False))
        assert commit(backend.store, Replace(JOB, {"n": 2}, first.token)) is Commit.COMMITTED
        assert read(backend.store, JOB).token.version == 2
        assert backend.wire.commits == before + 3

    def test_a_sweep_in_between_does_not_stop_the_second_sending(self, backend: Backend) -> None:
        first, other = put(backend.store, JOB, n=1), backend.another()
        sweep = Lost(False, lambda: commit(other, Postpone(JOB, NOON, read(other, JOB).token)))
        backend.wire.lose(sweep)
        assert commit(backend.store, Replace(JOB, {"n": 2}, first.token)) is Commit.COMMITTED
        assert dict(read(backend.store, JOB).data) == {"n": 2}

    @pytest.mark.parametrize("with_effect", [True, False])
    def test_two_workers_that_race_to_one_fence_have_one_winner(self, backend: Backend, with_effect: bool) -> None:
        first, other = put(backend.store, JOB, fence=1), backend.another()
        taking = Replace(JOB, {"fence": 2}, first.token)
        rival: list[Commit] = []
        backend.wire.lose(Lost(with_effect, lambda: rival.append(commit(other, taking))))
        mine = commit(backend.store, taking)
        assert (mine, rival) == (
            (Commit.COMMITTED, [Commit.CONFLICT]) if with_effect else (Commit.CONFLICT, [Commit.COMMITTED])
        )
        assert read(backend.store, JOB).token.version == 2

    @pytest.mark.parametrize("with_effect", [True, False])
    def test_a_create_race_has_one_winner(self, backend: Backend, with_effect: bool) -> None:
        other, rival = backend.another(), list[Commit]()
        backend.wire.lose(Lost(with_effect, lambda: rival.append(commit(other, Create(JOB, {})))))
        assert {commit(backend.store, Create(JOB, {})), *rival} == {Commit.COMMITTED, Commit.CONFLICT}

    def test_a_store_that_stays_silent_is_uncertain(self, backend: Backend) -> None:
        first = put(backend.store, JOB, n=1)
        backend.wire.faults = repeat(Lost(with_effect=False))
        with pytest.raises(StoreUncertain):
            commit(backend.hasty, Replace(JOB, {"n": 2}, first.token))
        backend.wire.lose()
        assert read(backend.store, JOB) == first

    def test_a_store_out_of_reach_says_so(self, backend: Backend) -> None:
        store = backend.unreachable()
        with pytest.raises(StoreUnavailable):
            store.get(JOB)
        with pytest.raises(StoreUnavailable):
            store.query(Query("aliases"))
        with pytest.raises(StoreUncertain):
            commit(store, Create(JOB, {}))


class TestRaces:
    def test_increments_are_never_lost(self, backend: Backend) -> None:
        put(backend.store, JOB, n=0)
        each = [backend.another() for _ in range(8)]

        def increment(store: Store) -> int:
            tries = 0
            for _ in range(5):
                while True:
                    tries += 1
                    found = read(store, JOB)
                    if commit(store, Replace(JOB, {"n": found.data["n"] + 1}, found.token)) is Commit.COMMITTED:
                        break
            return tries

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(increment, each))
        assert (read(backend.store, JOB).data["n"], read(backend.store, JOB).token.version) == (40, 41)

    def test_one_creator_of_sixteen_wins(self, backend: Backend) -> None:
        with ThreadPoolExecutor(16) as pool:
            outcomes = list(pool.map(lambda n: commit(backend.store, Create(JOB, {"n": n})), range(16)))
        assert outcomes.count(Commit.COMMITTED) == 1
        assert read(backend.store, JOB).data["n"] == outcomes.index(Commit.COMMITTED)

    def test_processes_may_open_one_new_file_at_once(self, tmp_path: Path) -> None:
        script = """if True:
            import sys, uuid
            from ratchet.adapters.sqlite import SqliteStore
            from ratchet.ports import Commit, Create, Key, Replace
            store, key = SqliteStore(sys.argv[1]), Key("jobs", "1")
            store.commit([Create(key, {"n": 0})], uuid.uuid4().hex)
            for _ in range(10):
                done = Commit.CONFLICT
                while done is Commit.CONFLICT:
                    found = store.get(key)
                    done = store.commit([Replace(key, {"n": found.data["n"] + 1}, found.token)], uuid.uuid4().hex)
        """
        path = tmp_path / "store.sqlite"
        shared = str(Path(__file__).parents[2] / "shared")
        command = [sys.executable, "-c", script, str(path)]
        processes = [subprocess.Popen(command, env={"PYTHONPATH": shared}) for _ in range(4)]
        assert [process.wait(60) for process in processes] == [0, 0, 0, 0]
        with stores.sqlite_file(path) as backend:
            assert read(backend.store, Key("jobs", "1")).data["n"] == 40


DEEP: Any = {"deep": 1}
for _ in range(25):
    DEEP = {"deep": DEEP}


class TestStrictness:
    @pytest.mark.parametrize(
        "value",
        [
            math.nan, math.inf, -math.inf, 2**63, -(2**63) - 1, "\ud800", [["nested"]], {"": 1}, {"__x__": 1},
            {"\udfff": 1}, {"k" * 1501: 1}, {"k" * 750: [{"k" * 750: 1}]},
            {1: 1}, (1, 2), {1}, b"bytes", NOON, ..., Commit.COMMITTED, DEEP,
            "x" * 1_048_576, {"version": math.nan}, [{"a": [math.nan]}],
        ],
        ids=lambda value: repr(value)[:24].encode("ascii", "backslashreplace").decode(),
    )  # fmt: skip
    def test_what_no_store_can_hold_is_refused(self, store: Store, value: Any) -> None:
        first = put(store, ALIAS, a=1)
        for write in (Create(JOB, {"v": value}), Replace(ALIAS, {"v": value}, first.token)):
            with pytest.raises(PermanentError, match="bad_document"):
                commit(store, write)
        assert (store.get(JOB), read(store, ALIAS)) == (None, first)

    @pytest.mark.parametrize("name", ["version", "op_id", "looks", "__x__", ""])
    def test_a_reserved_field_is_refused(self, store: Store, name: str) -> None:
        with pytest.raises(PermanentError):
            commit(store, Create(JOB, {name: 1}))

    @pytest.mark.parametrize("value", [2**63 - 1, -(2**63), 1.7976931348623157e308, "x" * 900_000, "\ud7ff\ue000"])
    def test_what_is_just_allowed_is_held(self, store: Store, value: Any) -> None:
        assert put(store, JOB, v=value, m={"v": value} if not isinstance(value, str) else {}).data["v"] == value

    def test_a_document_may_fill_the_limit_and_no_more(self, store: Store) -> None:
        # The path counts 16 + 5 + 4, the document 32, `version` 16, `looks` 14, `op_id` 39, and `a` and `b` 3 each.
        key, free = Key("jobs", "abc"), 1_048_576 - 25 - 32 - 16 - 14 - 39 - 6
        with pytest.raises(PermanentError):
            commit(store, Create(key, {"a": "x" * 500_000, "b": "x" * (free - 500_000 + 1)}))
        assert commit(store, Create(key, {"a": "x" * 500_000, "b": "x" * (free - 500_000)})) is Commit.COMMITTED

    def test_a_field_may_fill_the_limit_and_no_more(self, store: Store) -> None:
        with pytest.raises(PermanentError):
            store.commit([Create(Key("jobs", "a"), {"v": "x" * 1_048_487})], "o")
        # Firestore's own sum has 89 bytes to spare beside a field; our names take a little more, so stay below.
        assert commit(store, Create(Key("jobs", "a"), {"v": "x" * 1_048_400})) is Commit.COMMITTED

    def test_depth_has_a_limit(self, store: Store) -> None:
        def nest(levels: int) -> Any:
            value: Any = 1
            for _ in range(levels):
                value = {"d": value}
            return value

        assert commit(store, Create(JOB, nest(20))) is Commit.COMMITTED
        with pytest.raises(PermanentError):
            commit(store, Create(ALIAS, nest(21)))

    @pytest.mark.parametrize("name", ["", ".", "..", "a/b", "__x__", "____", "\ud800", "x" * 1501, "é" * 751])
    def test_a_bad_id_is_refused(self, store: Store, name: str) -> None:
        for key in (Key("jobs", name), Key(name, "a")):
            with pytest.raises(PermanentError, match="bad_document"):
                commit(store, Create(key, {}))
            with pytest.raises(PermanentError, match="bad_document"):
                store.get(key)

    @pytest.mark.parametrize(
        "name", ["...", "__x", "x__", "a.b", "*", "\u0000", "é" * 750, "x" * 1500, "a b", "#?%", "`"]
    )
    def test_an_odd_id_is_an_id(self, store: Store, name: str) -> None:
        first = put(store, Key("aliases", name), a=1)
        assert first.key.id == name
        assert commit(store, Replace(first.key, {"a": 2}, first.token)) is Commit.COMMITTED
        assert names(store, "aliases") == [name]

    def test_a_batch_holds_twenty(self, store: Store) -> None:
        with pytest.raises(PermanentError):
            commit(store, *(Create(Key("jobs", str(n)), {}) for n in range(21)))
        assert commit(store, *(Create(Key("jobs", str(n)), {}) for n in range(20))) is Commit.COMMITTED

    def test_a_document_is_written_once_in_a_batch(self, store: Store) -> None:
        with pytest.raises(PermanentError):
            commit(store, Create(JOB, {"a": 1}), Create(JOB, {"a": 1}))

    def test_a_batch_as_large_as_no_request_may_be_is_refused(self, store: Store) -> None:
        with pytest.raises(PermanentError):
            commit(store, *(Create(Key("jobs", str(n)), {"v": "x" * 1_000_000}) for n in range(9)))


class TestQueries:
    @pytest.mark.parametrize("shape", sorted(QUERIES, key=str), ids=str)
    def test_everything_in_the_catalogue_can_be_asked(self, store: Store, shape: Any) -> None:
        data = {**dict.fromkeys(shape.equals, "x"), **({shape.order: "y"} if shape.order else {})}
        put(store, Key(shape.collection, "a"), **data)
        equals = dict.fromkeys(shape.equals, "x")
        for descending in (False, True) if shape.order else (False,):
            asked = {"equals": equals, "order": shape.order, "descending": descending}
            assert names(store, shape.collection, **asked) == ["a"]

    @pytest.mark.parametrize(
        "query",
        [
            Query("jobs"),
            Query("jobs", {"state": "running"}),
            Query("jobs", order="state"),
            Query("jobs", {"a": "b"}, order="next_look_at"),
            Query("models"),
            Query("aliases", descending=True),
            Query("case_results", {"run": "a"}, descending=True),
            Query("checkpoints", {"job": "a"}, order="next_look_at"),
            Query("aliases", order="x'; drop table documents; --"),
        ],
    )
    def test_nothing_else_can(self, store: Store, query: Query) -> None:
        with pytest.raises(LookupError):
            store.query(query)

    def test_order_is_the_field_and_then_the_id(self, store: Store) -> None:
        fill(store, "jobs", {name: {"next_look_at": hour(n)} for name, n in [("c", 1), ("a", 2), ("b", 1), ("Z", 1)]})
        assert names(store, "jobs", order="next_look_at") == ["Z", "b", "c", "a"]
        assert names(store, "jobs", order="next_look_at", descending=True) == ["a", "c", "b", "Z"]

    def test_text_is_ordered_by_its_bytes(self, store: Store) -> None:
        texts = ["", "A", "a", "a ", "aa", "b", "é", "\ufffd", "\U0001f600"]
        fill(store, "jobs", {f"{n}": {"selected_under": text} for n, text in enumerate(reversed(texts))})
        found = store.query(Query("jobs", order="selected_under"))
        assert [snapshot.data["selected_under"] for snapshot in found] == texts

    def test_ids_are_ordered_by_their_bytes(self, store: Store) -> None:
        ids = ["*", "1", "10", "2", "A", "a", "a.b", "a:b", "aa", "é", "\ufffd", "\U0001f600"]
        fill(store, "aliases", {name: {} for name in reversed(ids)})
        assert names(store, "aliases") == ids

    def test_numbers_are_ordered_as_numbers(self, store: Store) -> None:
        fill(store, "history", {str(n): {"alias": "x", "n": n} for n in (10, 9, -1, 2**53 + 1, 2**53, 2**62)})
        found = store.query(Query("history", {"alias": "x"}, order="n"))
        assert [snapshot.data["n"] for snapshot in found] == [-1, 9, 10, 2**53, 2**53 + 1, 2**62]
        assert names(store, "history", equals={"alias": "x"}, order="n", at_least=10, at_most=2**53) == [
            "10",
            str(2**53),
        ]

    def test_bounds_include_themselves(self, store: Store) -> None:
        fill(store, "jobs", {str(n): {"next_look_at": hour(n)} for n in range(5)})
        assert names(store, "jobs", order="next_look_at", at_most=hour(2)) == ["0", "1", "2"]
        assert names(store, "jobs", order="next_look_at", at_least=hour(3)) == ["3", "4"]
        assert names(store, "jobs", order="next_look_at", at_least=hour(1), at_most=hour(1)) == ["1"]
        assert names(store, "jobs", order="next_look_at", at_least=hour(3), at_most=hour(1)) == []

    def test_null_and_absent_are_outside_every_bound(self, store: Store) -> None:
        fill(store, "jobs", {"null": {"next_look_at": None}, "absent": {}, "due": {"next_look_at": hour(0)}})
        assert names(store, "jobs", order="next_look_at", at_most=hour(9)) == ["due"]
        assert names(store, "jobs", order="next_look_at", at_least="") == ["due"]

    def test_without_a_bound_null_comes_first_and_absent_never(self, store: Store) -> None:
        fill(store, "jobs", {"b": {"next_look_at": None}, "absent": {}, "a": {"next_look_at": hour(0)}})
        assert names(store, "jobs", order="next_look_at") == ["b", "a"]
        assert names(store, "jobs", order="next_look_at", descending=True) == ["a", "b"]

    def test_a_bound_compares_only_with_its_own_kind(self, store: Store) -> None:
        fill(
            store,
            "jobs",
            {"text": {"next_look_at": "5"}, "number": {"next_look_at": 5}, "truth": {"next_look_at": True}},
        )
        assert names(store, "jobs", order="next_look_at", at_most="9") == ["text"]
        assert names(store, "jobs", order="next_look_at", at_least=1) == ["number"]

    def test_equality_compares_only_with_its_own_kind(self, store: Store) -> None:
        fill(
            store,
            "checkpoints",
            {"text": {"job": "1"}, "number": {"job": 1}, "truth": {"job": True}, "null": {"job": None}},
        )
        assert names(store, "checkpoints", equals={"job": "1"}) == ["text"]
        assert names(store, "checkpoints", equals={"job": 1}) == ["number"]

    def test_pages_lose_and_repeat_nothing(self, store: Store) -> None:
        hours = {"a": None, "b": None, "c": 0, "d": 0, "e": 0, "f": 1, "g": 2}
        fill(store, "jobs", {k: {"next_look_at": v if v is None else hour(v)} for k, v in hours.items()})
        for descending in (False, True):
            for size in (1, 2, 3, 7):
                seen, last = list[str](), None
                while page := store.query(
                    Query("jobs", order="next_look_at", descending=descending, limit=size, after=last)
                ):
                    assert len(page) <= size
                    seen += [snapshot.key.id for snapshot in page]
                    last = page[-1]
                assert seen == sorted(hours, reverse=descending)

    def test_pages_keep_to_equality_and_bounds(self, store: Store) -> None:
        fill(store, "history", {f"{a}-{n}": {"alias": a, "n": n} for a in "xy" for n in range(6)})
        asked: dict[str, Any] = {"equals": {"alias": "x"}, "order": "n", "at_least": 1, "at_most": 4, "limit": 2}
        first = store.query(Query("history", **asked))
        second = store.query(Query("history", **asked, after=first[-1]))
        assert [found.key.id for found in [*first, *second]] == ["x-1", "x-2", "x-3", "x-4"]
        assert store.query(Query("history", **asked, after=second[-1])) == []

    def test_pages_by_id_go_on_behind_a_document_that_has_gone(self, store: Store) -> None:
        fill(store, "aliases", {name: {} for name in "abcd"})
        page = store.query(Query("aliases", limit=2))
        commit(store, Delete(page[-1].key, page[-1].token))
        assert names(store, "aliases", after=page[-1]) == ["c", "d"]

    def test_found_documents_can_be_written(self, store: Store) -> None:
        put(store, JOB, next_look_at=hour(0))
        (found,) = store.query(Query("jobs", order="next_look_at", at_most=hour(1)))
        assert found == read(store, JOB)
        assert commit(store, Replace(JOB, {"next_look_at": None}, found.token)) is Commit.COMMITTED

    def test_what_expires_looks_like_any_other_document(self, store: Store) -> None:
        data = {"text": "so", "expires_at": format_time(NOON + timedelta(days=9999))}
        found = put(store, COMPLETION, **data)
        assert found.data == data
        assert commit(store, Replace(COMPLETION, {**data, "text": "no"}, found.token)) is Commit.COMMITTED
        assert read(store, COMPLETION).data == {**data, "text": "no"}

    def test_a_query_for_what_no_document_holds_is_refused(self, store: Store) -> None:
        with pytest.raises(PermanentError):
            store.query(Query("jobs", order="next_look_at", at_most="\ud800"))


COMPLETION = Key("completions", "one")


def test_what_has_expired_is_gone_when_a_process_begins(tmp_path: Path) -> None:
    past, coming = ({"expires_at": format_time(datetime.now(UTC) + timedelta(hours=n))} for n in (-1, 1))
    with stores.sqlite_file(tmp_path / "store.sqlite") as first:
        put(first.store, COMPLETION, **past)
        put(first.store, Key("completions", "two"), **coming)
        put(first.store, JOB, note="stays")
    with stores.sqlite_file(tmp_path / "store.sqlite") as second:
        assert second.store.get(COMPLETION) is None
        assert second.store.get(Key("completions", "two")) is not None
        assert second.store.get(JOB) is not None


@pytest.mark.emulators
def test_what_expires_has_the_timestamp_that_firestore_deletes_by(firestore_emulator: str) -> None:
    with stores.firestore_emulated(firestore_emulator) as opened:
        put(opened.store, COMPLETION, expires_at=format_time(NOON))
        raw = opened.store._client.collection("completions").document("one").get().to_dict()
    assert raw["ttl"] == NOON


IDS = ["a", "b", "кл.c", "__d__"]
"""The last is none."""
VALUES = st.sampled_from([None, "1", "2", 3, 4, 2.5, True, 2**63 - 1, 2**63, math.nan, "\ud800"])
"""The last three are none either."""
BODIES = st.fixed_dictionaries(
    {"x.y": st.integers(0, 2)}, optional={"next_look_at": VALUES, "m": st.just({"é": [1.5]})}
)
WRITES = st.tuples(st.sampled_from(["create", "replace", "postpone", "delete"]), st.booleans(), BODIES)
BATCHES = st.dictionaries(st.sampled_from(IDS[:3] * 3 + IDS[3:]), WRITES, min_size=1)
STEPS = st.lists(st.tuples(BATCHES, st.sampled_from([None, None, None, Lost(True), Lost(False)])), max_size=6)
Step = tuple[dict[str, tuple[str, bool, dict[str, Any]]], Lost | None]


@pytest.mark.emulators
@pytest.mark.timeout(3600)
def test_any_sequence_looks_the_same_in_every_store(firestore_emulator: str) -> None:
    examples = deep(100, 5000)

    @settings(
        max_examples=examples,
        derandomize=not LONG,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(steps=STEPS)
    def check(steps: list[Step]) -> None:
        with stores.sqlite_memory() as one, stores.firestore_emulated(firestore_emulator) as other:
            _compare(steps, (one, other))

    check()
    if LONG:
        record(
            "Store contract",
            pytest_command(__file__),
            {"sequences": examples, "of at most so many batches": 6, "unlike": 0},
        )


SWEPT: list[Step] = [
    ({"a": ("create", False, {"x.y": 0})}, None),
    ({"a": ("create", False, {"x.y": 0})}, None),
    ({"a": ("postpone", False, {"x.y": 0})}, None),
]


@pytest.mark.emulators
@pytest.mark.parametrize("kind", ["postpone", "delete", "replace"])
@pytest.mark.parametrize("with_effect", [True, False])
def test_a_reply_lost_after_a_sweep_looks_the_same_in_every_store(
    firestore_emulator: str, kind: str, with_effect: bool
) -> None:
    """Firestore refuses the first attempt, whose mark the sweep has moved; the reply of the second is lost."""
    with stores.sqlite_memory() as one, stores.firestore_emulated(firestore_emulator) as other:
        _compare([*SWEPT, ({"a": (kind, True, {"x.y": 0})}, Lost(with_effect))], (one, other))


def _compare(steps: list[Step], both: tuple[Backend, Backend]) -> None:
    tokens: dict[str, list[list[Token]]] = {name: [] for name in IDS}
    for batch, fault in steps:
        outcomes = []
        for number, backend in enumerate(both):
            backend.wire.lose(fault)
            writes = [_write(name, *what, [pair[number] for pair in tokens[name]]) for name, what in batch.items()]
            outcomes.append(_said(partial(commit, backend.store, *writes)))
            backend.wire.lose()
        assert outcomes[0] == outcomes[1]
        found = [{name: _said(partial(backend.store.get, Key("jobs", name))) for name in IDS} for backend in both]
        assert list(map(_plain, found[0].values())) == list(map(_plain, found[1].values()))
        for name in IDS:
            pair = [documents[name] for documents in found]
            if all(isinstance(document, Snapshot) for document in pair):
                tokens[name].append([document.token for document in pair])
    for asked in _questions():
        answers = [_said(partial(backend.store.query, asked)) for backend in both]
        plain = [answer if isinstance(answer, str) else list(map(_plain, answer)) for answer in answers]
        assert plain[0] == plain[1]


def _said(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except PermanentError as refusal:
        return refusal.code
    except LookupError:
        return "not in the catalogue"


def _write(name: str, kind: str, stale: bool, data: dict[str, Any], tokens: list[Token]) -> Write:
    key = Key("jobs", name)
    if kind == "create" or not tokens:
        return Create(key, data)
    token = tokens[0 if stale else -1]
    if kind == "replace":
        return Replace(key, data, token)
    return Postpone(key, NOON, token) if kind == "postpone" else Delete(key, token)


def _plain(found: Any) -> Any:
    return (found.key, dict(found.data), found.token.version, found.looks) if isinstance(found, Snapshot) else found


def _questions() -> Iterator[Query]:
    for descending in (False, True):
        yield Query("jobs", order="next_look_at", descending=descending)
        yield Query("jobs", order="next_look_at", at_least="1", at_most="2", descending=descending, limit=2)
        yield Query("jobs", order="next_look_at", at_least=3, descending=descending)
        yield Query("jobs", order="next_look_at", at_most="\ud800", descending=descending)
        yield Query("jobs", {"x.y": 1}, descending=descending)


def test_nothing_is_begun_when_the_event_is_out_of_time(store: Store) -> None:
    found = put(store, JOB, a=1)
    with deadline.within(0):
        for call in (
            lambda: store.get(JOB),
            lambda: store.query(Query("aliases")),
            lambda: commit(store, Replace(JOB, {"a": 2}, found.token)),
        ):
            with pytest.raises(OutOfTime):
                call()
    assert read(store, JOB) == found


def test_a_stream_that_breaks_between_two_documents_is_an_unavailable_store() -> None:
    """The client's own retry of a broken query raises AttributeError when it was told not to retry."""

    def breaks(_request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        name = "projects/test-spoken/databases/(default)/documents/aliases/a"
        fields = {"version": {"integer_value": 1}, "looks": {"integer_value": 0}, "op_id": {"string_value": "1"}}
        found = RunQueryResponse(document={"name": name, "fields": fields, "update_time": NOON}, read_time=NOON)
        yield RunQueryResponse.serialize(found)
        context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "too late")

    with stores.firestore_speaking(RunQuery=breaks) as store, pytest.raises(StoreUnavailable):
        store.query(Query("aliases"))
