"""Rows 50 and 52 of the table of bad inputs, through the functions framework, over a real store."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from ratchet.adapters.sqlite import SqliteStore
from ratchet.runtime.alias_door import serve_alias
from support.recording import LogLines, captured, framework_app

CANARY = "canaryCANARYcanary"


@dataclass
class Door:
    app: Flask
    log: LogLines

    def get(self, path: str, method: str = "GET") -> Any:
        answer = self.app.test_client().open(path, method=method)
        assert CANARY not in answer.get_data(as_text=True) + str(answer.headers) + self.log.text
        return answer


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    store = SqliteStore(tmp_path / "ratchet.db")
    with captured("resolve_alias") as lines:
        yield Door(framework_app(tmp_path, lambda request: serve_alias(request, store)), lines)


def test_an_unknown_alias_is_not_found_row50(door: Door) -> None:
    answer = door.get("/v1/aliases/line@prod")
    assert (answer.status_code, answer.json) == (404, {"error": "not found"})
    assert door.log.lines == []


def test_a_store_that_does_not_answer_is_told_of_and_asked_again(door: Door, tmp_path: Path) -> None:
    (tmp_path / "ratchet.db").write_bytes(b"no database at all. " * 100)
    answer = door.get("/v1/aliases/line@prod")
    assert (answer.status_code, answer.json) == (503, {"error": "try again later"})
    (line,) = door.log.lines
    assert (line["event"], line["severity"], line["code"]) == ("alias.unread", "WARNING", "unavailable")
    assert line["exception"] == ["StoreUnavailable", "DatabaseError"]


NAMES = [
    "",
    "*",
    "line",
    "@",
    "Line@prod",
    "a@b@c",
    "..%2F..@x",
    f"{CANARY}@prod",
    "a%00@b",
    "x" * 100 + "@a",
]


@pytest.mark.parametrize("name", NAMES, ids=[f"row50-{n}" for n in range(len(NAMES))])
def test_a_bad_name_is_refused(door: Door, name: str) -> None:
    answer = door.get(f"/v1/aliases/{name}")
    assert (answer.status_code, answer.json) == (400, {"error": "bad request"})


SERIALS = ["", "x", "-1", "+1", "1_0", "%201", "1.0", "٣", "9" * 19, "9" * 4000, CANARY]


@pytest.mark.parametrize("serial", SERIALS, ids=[f"row50-serial-{n}" for n in range(len(SERIALS))])
def test_a_serial_has_one_form(door: Door, serial: str) -> None:
    assert door.get(f"/v1/aliases/line@prod?serial={serial}").status_code == 400
    assert door.log.lines == []


def test_a_caller_who_has_seen_more_gets_no_model_and_alarms_row52(door: Door) -> None:
    answer = door.get("/v1/aliases/line@prod?serial=7")
    assert (answer.status_code, answer.json) == (409, {"error": "an older state"})
    (line,) = door.log.lines
    assert (line["event"], line["code"], line["seen"], line["serial"]) == ("alias.regressed", "alias_regress", 7, 0)
    assert line["severity"] == "ERROR"


def test_an_alias_is_only_read(door: Door) -> None:
    assert door.get("/v1/aliases/line@prod", method="POST").status_code == 405
    assert json.loads(door.get("/v2/aliases/line@prod").get_data()) == {"error": "not found"}
