"""`ratchet backtest`: what a policy would have decided of what the application has decided, and nothing written."""

import json
import re
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from ratchet.adapters.rule_files import load_rules
from ratchet.adapters.sqlite import SqliteStore
from ratchet.application.state import key_of
from ratchet.domain.codec import format_time
from ratchet.domain.decision import Decision
from ratchet.domain.events import Verb
from ratchet.domain.records import JobState
from ratchet.ports import Commit, Replace, Write
from ratchet_cli.backtest import Change, backtest
from ratchet_cli.stores import read_settings
from support.cli import POLICY, Home
from support.world import World

STRICT = """\
strict on support-router@prod: 4 decisions, tried again
2026-11-22T12:00:00Z  job 8611  d-XXXXXX promoted step 400  would have refused: step 400 rejected: \
quality 0.950 (19/20) is not >= 0.97
    step 400, quality: pass (0.950 (19/20), >= 0.90) then, fail (0.950 (19/20), >= 0.97) now
2026-11-22T12:00:00Z  job 8812  d-XXXXXX promoted step 300  same
2026-11-22T12:00:00Z  job 8813  d-XXXXXX rejected           same
2026-11-22T12:00:00Z  job 8814  d-XXXXXX keptCurrent        same
3 the same, 1 would have refused
It cannot know what would have stood otherwise after a move that would have gone otherwise, which jobs only strict
selects, or how people would have voted. Nothing was written.
"""


class ReadOnlyStore(SqliteStore):
    """A store that takes nothing."""

    def commit(self, writes: Sequence[Write], op_id: str) -> Commit:
        raise AssertionError("a backtest writes nothing")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path).write()


@pytest.fixture
def world(home: Home) -> World:
    world = home.world()
    world.hint(world.job("8611", {100: 0.7, 400: 0.95}))
    world.hint(world.job("8812", {200: 0.95, 300: 1.0, 500: 0.7}))
    world.hint(world.job("8813", {100: 0.9, 200: 0.5}))
    world.hint(world.job("8814", {100: 1.0}))
    world.hint(world.job("9000", {100: 0.9}, state=JobState.RUNNING))
    return world


def written(home: Home, *changes: tuple[str, str], name: str = "strict") -> Path:
    """A policy file beside those in force: the one in force with other words in it."""
    text = POLICY.replace("support-router-prod", name)
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = home.folder / f"{name}.yaml"
    path.write_text(text)
    return path


def masked(text: str) -> str:
    return re.sub(r"\bd-[0-9a-f]{6}\b", "d-XXXXXX", text)


def changes(home: Home, file: Path, *more: str) -> list[str]:
    document = json.loads(home.run("backtest", str(file), "--json", *more).output)
    return [each["change"] for each in document["decisions"]]


def test_it_shows_what_would_have_been_otherwise_and_which_gates_differ(home: Home, world: World) -> None:
    file = written(home, ('pass: ">= 0.90"', 'pass: ">= 0.97"'), ("mode: enforce", "mode: disabled"))
    result = home.run("backtest", str(file))
    assert result.exit_code == 0, result.output
    assert masked(result.output) == STRICT


def test_the_policy_in_force_would_have_done_the_same(home: Home, world: World) -> None:
    assert changes(home, home.folder / "policies" / "prod.yaml") == ["same"] * 4


def test_another_choice_promotes_another(home: Home, world: World) -> None:
    by_step = ("choose: [{metric: suites.core.pass_rate, better: higher, tie: 0.01}, {metric", "choose: [{metric")
    file = written(home, by_step, (">= 0.90", ">= 0.60"))
    text = home.run("backtest", str(file)).output
    assert "promoted step 400  would have promoted step 100 instead of step 400\n" in text
    assert "    step 100, quality: fail (0.700 (14/20), >= 0.90) then, pass (0.700 (14/20), >= 0.60) now\n" in text
    assert changes(home, file)[0] == "promotes"


def test_it_would_have_asked_people(home: Home, world: World) -> None:
    file = written(home, ("  apply: [vertexDefault]", "  apply: [vertexDefault]\n  approval: {when: always}"))
    assert changes(home, file) == ["waits", "waits", "same", "same"]
    assert (
        "would have waited with step 300: approval: the policy always asks; 0 of 1 agreed\n"
        in home.run("backtest", str(file)).output
    )


def test_what_was_not_measured_then_is_not_known(home: Home, world: World) -> None:
    file = written(home, ("  gates:", '  gates:\n    - {id: loss, metric: valid_loss, pass: "<= 0.3"}'))
    assert changes(home, file) == ["unknown"] * 4
    text = home.run("backtest", str(file)).output
    assert "promoted step 300  not known: valid_loss was not measured then\n" in text
    assert "    step 300, loss: not asked then, no valid_loss was reported (<= 0.3) now\n" in text
    assert "\n4 not known\n" in text


def test_a_suite_with_other_cases_is_remarked(home: Home, world: World) -> None:
    suites = home.folder / "other"
    suites.mkdir()
    text = (home.folder / "suites" / "core.yaml").read_text()
    (suites / "core.yaml").write_text(text.replace("value: right", "value: right!", 1))
    text = home.run("backtest", str(home.folder / "policies" / "prod.yaml"), "--suites", str(suites)).output
    assert "promoted step 300  same\n    suite core had other cases then\n" in text


def test_a_job_that_the_policy_does_not_select_is_not_looked_at(home: Home, world: World) -> None:
    file = written(home, ("ratchet-line: support-router", "ratchet-line: faq"))
    assert changes(home, file) == ["unselected"] * 4
    assert (
        "would not have looked at it: its label ratchet-line is 'support-router', not 'faq'"
        in home.run("backtest", str(file)).output
    )


def test_since_leaves_out_what_was_decided_before(home: Home, world: World) -> None:
    world.clock.time += timedelta(days=2)
    world.hint(world.job("8815", {100: 0.5}))
    file = home.folder / "policies" / "prod.yaml"
    begin = format_time(world.clock.time - timedelta(hours=1))
    assert len(changes(home, file)) == 5
    assert changes(home, file, "--since", begin) == ["same"]
    assert (
        " 1 decision since 2026-11-24T11:00:00Z, tried again\n"
        in home.run("backtest", str(file), "--since", begin).output
    )
    assert home.run("backtest", str(file), "--since", "yesterday").exit_code == 2


def test_waits_and_commands_are_no_decisions_to_try(home: Home, world: World) -> None:
    world.command(Verb.ROLL_BACK, "bad answers")
    assert len(changes(home, home.folder / "policies" / "prod.yaml")) == 4


def test_more_history_than_a_page_is_read(home: Home, world: World) -> None:
    for n in range(201):
        world.command(Verb.HOLD, f"again {n}")
    assert len(changes(home, home.folder / "policies" / "prod.yaml")) == 4


def test_a_decision_without_its_evidence_is_not_known(home: Home, world: World) -> None:
    promoted = next(each for each in world.decisions() if each.outcome == "promoted")
    snapshot = world.store.get(key_of(promoted))
    assert snapshot is not None
    old = {name: found for name, found in snapshot.data.items() if name not in ("evidence", "standing")}
    world.store.commit([Replace(snapshot.key, old, snapshot.token)], "op-old")
    assert sorted(changes(home, home.folder / "policies" / "prod.yaml")) == ["same", "same", "same", "unknown"]


def test_nothing_is_written(home: Home, world: World) -> None:
    before = home.database.read_bytes()
    rules = load_rules(home.folder / "policies", home.folder / "suites")
    store = ReadOnlyStore(home.database)
    tried = list(backtest(store, rules.policies[0], read_settings(home.config), None))
    assert [each.change for each in tried] == [Change.SAME] * 4
    assert all(isinstance(each.decision, Decision) for each in tried)
    assert home.database.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        (None, 2, "no such file"),
        ("kind: Nothing\n", 1, "broken.yaml:1"),
        (POLICY.replace("gates", "gate"), 1, "did you mean `gates`?"),
    ],
)
def test_a_file_that_is_no_policy_says_what_to_mend(
    home: Home, world: World, content: str | None, code: int, words: str
) -> None:
    path = home.folder / "broken.yaml"
    if content is not None:
        path.write_text(content)
    result = home.run("backtest", str(path))
    assert (result.exit_code, words in result.output) == (code, True), result.output
