"""A scenario file with a mistake is refused with its line and what is wrong."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from ratchet_sim.scenario import ScenarioError, load, parse
from support.sim_clients import SMALL

HEAD = """kind: Scenario
metadata: {name: t}
spec:
  clock: {start: "2026-11-22T12:00:00Z"}
  accounts:
    - {provider: vertex, account: "1", location: l}
    - {provider: openai, account: p, api_key: k}
  jobs:
    - provider: vertex
      account: "1"
      location: l
      id: "8"
      base_model: g
      model: "7"
      ends: {at: 1h}
      checkpoints:
        - {id: "1", step: 1, at: 10m, endpoint: "9"}
"""


def findings(text: str) -> str:
    with pytest.raises(ScenarioError) as refusal:
        parse(text, name="s.yaml")
    return str(refusal.value)


def test_the_shipped_scenario_loads_and_its_folders_lie_beside_it(tmp_path: Path) -> None:
    assert load(SMALL).spec.jobs[0].checkpoints[0].at == timedelta(minutes=10)
    path = tmp_path / "s.yaml"
    path.write_text(HEAD + "  policies: ./policies\n  suites: ./suites\n")
    spec = load(path).spec
    assert (spec.policies, spec.suites) == (tmp_path / "policies", tmp_path / "suites")


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("10m", 600), ("2h", 7200), ("1h30m", 5400), ("-2h", -7200), ("1.5s", 1.5)]
)
def test_durations_are_written_with_their_unit(text: str, seconds: float) -> None:
    scenario = parse(HEAD.replace("at: 1h", f"at: {text}"))
    assert scenario.spec.jobs[0].ends is not None
    assert scenario.spec.jobs[0].ends.at.total_seconds() == seconds


@pytest.mark.parametrize(
    ("old", "new", "finding"),
    [
        ("at: 1h", "at: 60", "s.yaml:15: spec.jobs.0.ends.at: Value error, 60 is not a duration"),
        ("at: 1h", "at: soon", "s.yaml:15: spec.jobs.0.ends.at: Value error, 'soon' is not a duration"),
        ("at: 1h", "at: 1h, by: x", "s.yaml:15: spec.jobs.0.ends.by: Extra inputs are not permitted"),
        ('id: "8"', 'id: "8"\n      id: "9"', "s.yaml:13: the key 'id' is there twice"),
        ('account: "1"\n', "account: 1\n", "s.yaml:10: spec.jobs.0.account: Input should be a valid string"),
        ('account: "1"\n', 'account: "2"\n', "job 8: unknown account"),
        (", endpoint:", ", point:", "s.yaml:17: spec.jobs.0.checkpoints.0.point: Extra inputs"),
        (', endpoint: "9"', "", "s.yaml:9: spec.jobs.0: Value error, job 8: a Vertex checkpoint needs at and endpoint"),
        (
            'id: "8"',
            'id: "8"\n      datasets: {test: x}',
            "s.yaml:13: spec.jobs.0.datasets.test.[key]: Input should be",
        ),
        ("kind: Scenario", "kind: [", "s.yaml:3: expected ',' or ']'"),
        ("kind: Scenario", "kind: Play", "s.yaml:1: kind: Input should be 'Scenario'"),
    ],
)
def test_a_mistake_is_named_with_its_line(old: str, new: str, finding: str) -> None:
    assert old in HEAD
    assert finding in findings(HEAD.replace(old, new, 1))


@pytest.mark.parametrize(
    ("fault", "finding"),
    [
        ("{id: f, when: {}, do: {kind: explode}}", "s.yaml:19: spec.faults.0.do: Input tag 'explode'"),
        ("{id: f, when: {}, do: {kind: slowBody}}", "s.yaml:19: spec.faults.0.do.slowBody.seconds: Field required"),
        ("{id: f, do: {kind: reset}}", "reset needs a when"),
        ("{id: f, when: {path: '('}, do: {kind: reset}}", "s.yaml:19: spec.faults.0.when.path: Value error, '('"),
        ("{id: f, when: {}, do: {kind: modelDeleted, job: '8', at: 1h}}", "modelDeleted takes no when"),
        ("{id: f, do: {kind: modelDeleted, job: '8'}}", "modelDeleted needs at"),
        ("{id: f, do: {kind: goneTarget, job: '8', at: 1h}}", "goneTarget needs a checkpoint"),
        ("{id: f, do: {kind: neverReady, job: '8', checkpoint: '2'}}", "fault f: unknown job or checkpoint"),
        ("{id: f, nth: [1], do: {kind: neverReady, job: '8', checkpoint: '1'}}", "takes neither nth nor count"),
    ],
)
def test_a_mistaken_fault_is_named(fault: str, finding: str) -> None:
    assert finding in findings(f"{HEAD}  faults:\n    - {fault}\n")


def test_a_kill_must_name_a_fault_and_fault_ids_are_unique() -> None:
    fault = "{id: f, when: {}, do: {kind: reset}}"
    text = f"{HEAD}  faults: [{fault}, {fault}]\n  kills: [{{function: enforce_promotion, on: g}}]\n"
    assert "two faults have the same id; kill of enforce_promotion: unknown fault g" in findings(text)


@pytest.mark.parametrize("text", ["", "- a\n", "\x00"])
def test_what_is_no_scenario_at_all_is_refused(text: str) -> None:
    assert findings(text).startswith("s.yaml:1: ")


def test_the_word_on_is_a_key_and_not_a_boolean() -> None:
    fault = "{id: f, when: {}, do: {kind: reset}}"
    scenario = parse(f"{HEAD}  faults: [{fault}]\n  kills:\n    - {{function: enforce_promotion, on: f}}\n")
    assert scenario.spec.kills[0].on == "f"


def test_all_findings_are_told_at_once() -> None:
    text = HEAD.replace("at: 1h", "at: x").replace("at: 10m", "at: y")
    assert [line.split(":")[1] for line in findings(text).splitlines()] == ["15", "17"]
