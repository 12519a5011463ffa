"""Filters select the lines that the code really writes, and no others; each event that wants a person has an alert."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from infra.lines import Kept
from ratchet.log import Event
from simulation.play import play
from support.terraform import ROOT, Plan

CATALOGUE = {event.label for event in Event}
SEEDS = range(1, 37)
"""Between them they reach every event that a decision or a record may lead to."""
ELSEWHERE = [
    "tests/contract/test_webhook_door.py", "tests/contract/test_push_door.py", "tests/contract/test_command_door.py",
    "tests/contract/test_alias_door.py", "tests/unit/test_bad_events.py", "tests/unit/test_what_a_job_tells.py",
    "tests/unit/test_history.py", "tests/unit/test_watch.py", "tests/unit/test_answers.py", "tests/unit/test_drift.py",
    "tests/unit/test_main_path.py",
]  # fmt: skip
"""The doors, and what takes days."""

_TERM = re.compile(r'jsonPayload\.([a-z_]+)="([a-z_.]+)"')

Line = dict[str, Any]


def conditions(filter_: str) -> dict[str, str]:
    """Of a filter on our own lines. Nothing but equal simple fields, all of them: so that everybody can read it."""
    terms = [_TERM.fullmatch(term) for term in filter_.split(" AND ")]
    assert all(terms), filter_
    return {term[1]: term[2] for term in terms if term}


def selects(filter_: str, line: Line) -> bool:
    return all(str(line.get(field)) == value for field, value in conditions(filter_).items())


def ours(plan: Plan) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Each metric and alert on our own lines, with its filter and what it takes out of a line."""
    for address, values in plan.of("google_logging_metric").items():
        yield address, values["filter"], {}
    for address, values in plan.of("google_monitoring_alert_policy").items():
        for condition in values["conditions"]:
            for matched in condition.get("condition_matched_log") or []:
                if "protoPayload" not in matched.get("filter", "protoPayload"):
                    yield address, matched["filter"], matched["label_extractors"] or {}


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> list[Line]:
    with Kept() as kept:
        for seed in SEEDS:
            play(seed)
    told = tmp_path_factory.mktemp("lines") / "lines.json"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "infra.lines", "-p", "no:cacheprovider", *ELSEWHERE]
    environment = {**os.environ, "PYTHONPATH": "shared:tests", "RATCHET_LINES": str(told)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    return [*kept.lines.values(), *json.loads(told.read_text(encoding="utf-8"))]


def test_every_filter_names_events_of_the_catalogue(plan: Plan) -> None:
    named = {conditions(filter_)["event"] for _, filter_, _ in ours(plan)}
    assert named <= CATALOGUE


def test_every_event_that_wants_a_person_has_an_alert_and_one_alone(plan: Plan) -> None:
    told = [conditions(filter_)["event"] for address, filter_, _ in ours(plan) if "alert_policy" in address]
    assert sorted(told) == sorted(event.label for event in Event if event.wants_person)


@pytest.mark.timeout(300)
def test_the_code_writes_every_event_of_its_catalogue(lines: list[Line]) -> None:
    assert {line["event"] for line in lines} == CATALOGUE


@pytest.mark.timeout(300)
def test_each_filter_selects_its_lines_and_not_their_neighbours(plan: Plan, lines: list[Line]) -> None:
    for address, filter_, _ in ours(plan):
        wanted = conditions(filter_)
        chosen = [line for line in lines if selects(filter_, line)]
        assert chosen, f"{address}: no line that the code writes is selected"
        assert {line["event"] for line in chosen} == {wanted["event"]}, address
        for field, value in wanted.items():
            assert all(line[field] == value for line in chosen), address


@pytest.mark.timeout(300)
def test_an_alert_tells_what_its_lines_hold(plan: Plan, lines: list[Line]) -> None:
    for address, filter_, extractors in ours(plan):
        fields = {name: re.fullmatch(r"EXTRACT\(jsonPayload\.([a-z_]+)\)", how) for name, how in extractors.items()}
        for line in [line for line in lines if selects(filter_, line)]:
            missing = [found[1] for found in fields.values() if found and found[1] not in line]
            assert not missing, f"{address}: {missing} is not in {sorted(line)}"


@pytest.mark.timeout(300)
def test_what_is_measured_is_a_number_in_its_lines(plan: Plan, lines: list[Line]) -> None:
    for address, metric in plan.of("google_logging_metric").items():
        if metric["value_extractor"]:
            found = re.fullmatch(r"EXTRACT\(jsonPayload\.([a-z_]+)\)", metric["value_extractor"])
            assert found, address
            for line in [line for line in lines if selects(metric["filter"], line)]:
                assert isinstance(line.get(found[1]), int | float), f"{address}: {found[1]} in {line}"


def test_every_limit_is_one_of_a_metric_that_is_there(plan: Plan) -> None:
    made = {f"logging.googleapis.com/user/{m['name']}" for m in plan.of("google_logging_metric").values()}
    conditions = [c for p in plan.of("google_monitoring_alert_policy").values() for c in p["conditions"]]
    used = re.findall(r'metric\.type=\\?"(logging\.googleapis\.com/user/[^"\\]+)', json.dumps(conditions))
    assert used
    assert set(used) <= made


def test_an_alert_to_people_holds_what_they_decide_by_and_what_to_type(plan: Plan) -> None:
    policies = plan.of("google_monitoring_alert_policy")
    for name in ("needs_approval", "promoted", "rolled_back"):
        text = policies[f'google_monitoring_alert_policy.told["{name}"]']["documentation"][0]["content"]
        for label in ("alias", "candidate", "reason"):
            assert f"${{log.extracted_label.{label}}}" in text
        assert "`ratchet " in text
    drifted = policies['google_monitoring_alert_policy.told["drifted"]']["documentation"][0]["content"]
    assert "${log.extracted_label.alias}" in drifted
