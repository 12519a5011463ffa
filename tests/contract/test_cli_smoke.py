"""`ratchet smoke` on the simulated providers: what it says, what it writes, and that nothing is stored."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import Result

from ratchet.adapters.rule_files import load_suites
from ratchet.adapters.sqlite import SqliteStore
from ratchet.application.state import create
from ratchet.domain.keys import AliasKey, CheckpointKey, JobKey, Provider
from ratchet.domain.records import Alias, CaseOutcome, CaseResult, Checkpoint, CheckpointState, Pointer
from ratchet.ports import Commit
from ratchet_sim.server import Sim
from support.cli import Home
from support.sim_clients import KEY, TARGETS, endpoint, providers, small

ACCOUNTS = """\
providers:
  vertex:
    - {project: acme-ml, account: "123456789012", location: us-central1}
  openai:
    - {account: proj_a1, api_key_env: SIM_KEY}
prices: {gemini-2.5-flash: {input: 1, output: 2, as_of: 2026-11-01}}
"""
SUITE = """\
kind: Suite
metadata: {name: core}
spec:
  prompts: ["{{q}}"]
  run: {repeats: 2}
  tests:
    - {id: refund, vars: {q: "Where is my refund?"}, assert: [{type: contains, value: on its way}]}
    - {id: cancel, vars: {q: "Cancel my order"}, assert: [{type: contains, value: cancelled}]}
    - {id: person, vars: {q: "Talk to a person"}, assert: [{type: icontains, value: AGENT}]}
    - {id: hours, vars: {q: "Opening hours?"}, assert: [{type: contains, value: from 9}]}
"""
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
JOB = JobKey(Provider.VERTEX, "123456789012", "us-central1", "8812")
ALIAS = AliasKey("support-router", "prod")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Home, Sim]]:
    (tmp_path / "home").mkdir()
    made = Home(tmp_path / "home").write(ACCOUNTS)
    (made.folder / "suites" / "core.yaml").write_text(SUITE)
    monkeypatch.setenv("SIM_KEY", KEY)
    with providers(small(factor=1), tmp_path / "state", minutes=70) as simulated:
        monkeypatch.setenv("OPENAI_BASE_URL", simulated.sim.openai_url)
        monkeypatch.setenv("RATCHET_VERTEX_BASE_URL", simulated.sim.vertex_url)
        yield made, simulated.sim


def ran(home: Home, *arguments: str) -> Result:
    result = home.run("smoke", *arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    return result


def recorded(home: Home) -> None:
    """Step 200 and step 100 of one job; step 100 serves, and two of its cases failed with this very suite."""
    digest = load_suites(home.folder / "suites")["core"].digest
    common = {"job": JOB, "base_model": "gemini-2.5-flash", "labels": {}, "job_created_at": NOW, "recorded_at": NOW}
    serving = Checkpoint(
        key=CheckpointKey(JOB, "1"), state=CheckpointState.READY, step=100, target=endpoint(9001),
        runs={digest: "r"}, decided={str(ALIAS): "p"}, **common,
    )  # fmt: skip
    better = Checkpoint(
        key=CheckpointKey(JOB, "2"), state=CheckpointState.READY, step=200, target=endpoint(9002),
        open_aliases=(ALIAS,), **common,
    )  # fmt: skip
    current = Pointer(checkpoint=serving.key, step=100, target=endpoint(9001), model=None, decision="d", since=NOW)
    results = [
        CaseResult(
            run="r", case=case, repeat=0, fence=1, outcome=outcome, reason="", answer_sha256="", latency_ms=1,
            tokens_in=1, tokens_out=1,
        )
        for case, outcome in (
            ("refund", CaseOutcome.PASS), ("cancel", CaseOutcome.FAIL), ("person", CaseOutcome.FAIL),
            ("hours", CaseOutcome.PASS),
        )
    ]  # fmt: skip
    store = SqliteStore(home.database)
    alias = Alias(key=ALIAS, serial=1, current=current)
    writes = [create(record) for record in (serving, better, alias, *results)]
    assert store.commit(writes, "test") is Commit.COMMITTED


def stored(home: Home) -> list[str]:
    with closing(sqlite3.connect(home.database)) as connection:
        return list(connection.iterdump())


def test_a_target_of_either_provider_is_tested_without_any_store(home: tuple[Home, Sim]) -> None:
    where, _ = home
    good = ran(where, "--target", TARGETS[200])
    assert good.exit_code == 0, good.output
    assert f"core on {TARGETS[200]}\n  4/4 cases pass   score 1.000   p50 " in good.output
    bad = ran(where, "--target", endpoint(9001))
    assert bad.exit_code == 1
    assert "2/4 cases pass   score 0.500" in bad.output
    assert bad.output.count("  FAIL   ") == 2
    assert not where.database.exists()


def test_a_case_without_assertions_is_asked_and_told_of_and_counts_for_nothing(home: tuple[Home, Sim]) -> None:
    where, _ = home
    bare = SUITE + '    - {id: bare, vars: {q: "Anything else?"}}\n'
    (where.folder / "suites" / "core.yaml").write_text(bare)
    junit = where.folder / "junit.xml"
    good = ran(where, "--target", TARGETS[200], "--junit", str(junit))
    assert good.exit_code == 0, good.output
    (told,) = ElementTree.fromstring(junit.read_text())
    assert (told.get("tests"), told.get("failures"), told.get("skipped")) == ("10", "0", "2")
    assert [case.get("name") for case in told if case.find("skipped") is not None] == ["bare #1", "bare #2"]
    assert "\n  4/4 cases pass   1 more without a verdict   score 1.000" in good.output
    assert "answers: 10 ok\n" in good.output


def test_a_checkpoint_is_compared_with_what_serves_case_by_case(home: tuple[Home, Sim]) -> None:
    where, _ = home
    recorded(where)
    before = stored(where)
    result = ran(where, str(CheckpointKey(JOB, "2")))
    assert result.exit_code == 0, result.output
    head = f"core on step 200 of vertex job 8812 ({endpoint(9002)})\n  4/4 cases pass   score 1.000"
    assert result.output.startswith(head)
    assert " tokens   0.0" in result.output
    assert "\n  pass rate 0.597 to 1.000 (90% Wilson)   4/4 in all repeats   answers: 8 ok\n" in result.output
    assert result.output.endswith(
        "  against step 100 of vertex job 8812, which support-router@prod serves:\n"
        "    regressions: none\n"
        "    improvements: cancel, person\n"
    )
    assert stored(where) == before


def test_a_suite_that_has_changed_since_is_compared_with_nothing(home: tuple[Home, Sim]) -> None:
    where, _ = home
    recorded(where)
    (where.folder / "suites" / "core.yaml").write_text(SUITE.replace("repeats: 2", "repeats: 1"))
    result = ran(where, str(CheckpointKey(JOB, "2")))
    told = "step 100 of vertex job 8812, which support-router@prod serves, was never tested with this suite"
    assert result.output.endswith(f"  {told} as it is now\n")


def test_the_results_are_written_for_ci_and_as_json_without_any_text_of_the_model(
    home: tuple[Home, Sim], tmp_path: Path
) -> None:
    where, _ = home
    junit, report = tmp_path / "junit.xml", tmp_path / "report.json"
    result = ran(where, "--target", endpoint(9001), "--junit", str(junit), "--report", str(report))
    assert result.exit_code == 1
    (suite,) = ElementTree.fromstring(junit.read_text())
    assert {name: suite.get(name) for name in ("name", "tests", "failures", "errors")} == {
        "name": "core", "tests": "8", "failures": "4", "errors": "0",
    }  # fmt: skip
    assert {case.get("name") for case in suite} >= {"refund #1", "hours #2"}
    (told,) = json.loads(report.read_text())
    assert (told["suite"], told["clean"], told["summary"]["cases"], len(told["cases"])) == ("core", False, 4, 8)
    printed = ran(where, "--target", endpoint(9001), "--json")
    assert json.loads(printed.output)[0]["suite_digest"] == told["suite_digest"]
    for text in (junit.read_text(), report.read_text(), result.output, printed.output):
        assert "on its way" not in text


def test_what_is_not_answered_is_said_and_never_held_against_the_model(
    home: tuple[Home, Sim], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where, sim = home
    monkeypatch.setattr("ratchet_cli.smoke.time.sleep", lambda _: None)
    (where.folder / "suites" / "core.yaml").write_text(SUITE.replace("{repeats: 2}", "{repeats: 2, concurrency: 1}"))
    junit = tmp_path / "junit.xml"
    result = ran(where, "--target", endpoint(4711), "--junit", str(junit))
    assert result.exit_code == 1
    # Who is silent is not asked for everything, and all of it is told of.
    assert result.output == (
        f"core on {endpoint(4711)}\n"
        "  SILENT cancel: not_found\n  SILENT person: not_found\n  SILENT refund: not_found\n"
        "  SILENT 1 more: not asked, as nothing was answered\n"
    )
    (suite,) = ElementTree.fromstring(junit.read_text())
    assert (suite.get("tests"), suite.get("errors")) == ("4", "4")
    assert len([line for line in sim.requests() if "endpoints/4711" in line["path"]]) == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "name a checkpoint, or a target with --target"),
        (("a", "--target", "b"), "name a checkpoint, or a target with --target"),
        (("--target", "projects/1/locations/x/endpoints/2"), "no account under `providers` has it"),
        (("--target", "m", "--suite", "cores"), "no suite is named cores; there: core"),
        (("nothing",), "not a checkpoint's key; write provider:account:location:job/id"),
        ((str(CheckpointKey(JOB, "9")),), "no checkpoint vertex:123456789012:us-central1:8812/9 is recorded"),
    ],
)
def test_what_cannot_be_tested_is_said_with_its_mend(
    home: tuple[Home, Sim], arguments: tuple[str, ...], said: str
) -> None:
    where, _ = home
    recorded(where)
    result = ran(where, *arguments)
    assert result.exit_code != 0
    assert said in " ".join(result.output.split()).replace("│ ", "")
