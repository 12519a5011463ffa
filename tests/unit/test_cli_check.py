"""`ratchet check` and `ratchet schema`: what they print, and their exit status."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ratchet_cli.main import app
from support.rules import POLICY, SUITE, Folders, make

OVER = '  windows: [{name: once, kind: deny, tz: UTC, from: "2000-01-01T00:00", to: "2000-01-02T00:00"}]\n'


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folders:
    monkeypatch.chdir(tmp_path)
    return make(Path(), POLICY, SUITE)


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.output


CHECK = ("check", "--policies", "policies", "--suites", "suites")


@pytest.mark.usefixtures("folders")
def test_what_loads_is_counted() -> None:
    assert run(*CHECK) == (0, "1 policy and 1 suite load\n")
    assert json.loads(run(*CHECK, "--json")[1]) == {"clean": True, "findings": []}


def test_a_window_that_is_over_is_a_warning_and_nothing_to_stop_for(folders: Folders) -> None:
    (folders[0] / "p.yaml").write_text(POLICY + OVER)
    said = "policies/p.yaml:13: the window `once` ended on 2000-01-02, move it, or remove it (warning)"
    assert run(*CHECK) == (0, f"{said}\n1 policy and 1 suite load\n")
    (finding,) = json.loads(run(*CHECK, "--json")[1])["findings"]
    assert finding == {
        "file": "policies/p.yaml",
        "line": 13,
        "what": "the window `once` ended on 2000-01-02",
        "mend": "move it, or remove it",
        "severity": "warning",
    }


def test_a_finding_is_one_and_wrong_usage_two(folders: Folders) -> None:
    (folders[0] / "p.yaml").write_text(POLICY.replace("line: router", "lin: router"))
    status, text = run(*CHECK)
    assert (status, text.splitlines()) == (
        1,
        ["policies/p.yaml:3: `line` is missing, add it", "policies/p.yaml:4: unknown key `lin`, did you mean `line`?"],
    )
    assert run("check")[0] == 2  # neither folders nor a configuration that names them
    assert run("check", "--policy", "policies")[0] == 2
    assert run("schema")[0] == 2
    assert run("schema", "alias")[0] == 2


@pytest.mark.parametrize(("kind", "name"), [("policy", "PromotionPolicy"), ("suite", "Suite")])
def test_a_schema_is_of_what_it_is_asked_for(kind: str, name: str) -> None:
    status, text = run("schema", kind)
    assert status == 0
    assert json.loads(text)["properties"]["kind"]["const"] == name
