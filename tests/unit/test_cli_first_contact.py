"""`ratchet`, `init`, `check` and `doctor`: what somebody meets who has just cloned it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ratchet.adapters.rule_files import load_rules
from ratchet.domain.policy import Mode
from ratchet.runtime.settings import Settings
from ratchet_cli.main import app
from support.cli import Home

RUNNER = CliRunner()


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "gcloud"))
    for name in (
        "OPENAI_API_KEY", "OPENAI_PROJECT_ID", "OPENAI_BASE_URL", "RATCHET_CONFIG", "RATCHET_STORE", "RATCHET_SINCE",
        "RATCHET_VERTEX_BASE_URL", "GOOGLE_CLOUD_PROJECT", "FIRESTORE_EMULATOR_HOST", "PUBSUB_EMULATOR_HOST",
    ):  # fmt: skip
        monkeypatch.delenv(name, raising=False)


def test_help_imports_no_sdk_and_no_store() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from ratchet_cli.main import app;"
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0;"
        "heavy = {'pydantic', 'openai', 'google.auth', 'google.api_core', 'jinja2', 'flask', 'sqlite3', 'yaml'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n", done.stderr


def test_what_init_writes_loads_clean_and_may_change_nothing() -> None:
    result = RUNNER.invoke(app, ["init"])
    assert result.exit_code == 0, result.output
    assert "next: name your projects in ratchet.yaml, then ratchet doctor && ratchet up" in result.output
    settings = Settings.read(Path("ratchet.yaml"))
    assert settings.since is not None
    assert settings.sqlite_path == Path("ratchet.db")
    rules = load_rules(settings.policies_dir, settings.suites_dir)
    assert [policy.mode for policy in rules.policies] == [Mode.DRY_RUN]
    assert [policy.apply for policy in rules.policies] == [frozenset()]
    checked = RUNNER.invoke(app, ["check"])
    assert (checked.exit_code, checked.output) == (0, "1 policy and 1 suite load\n")


def test_init_takes_projects_and_finds_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-shown")
    arguments = ["init", "--vertex", "acme-ml:123456789012:us-central1", "--config", "deep/ratchet.yaml"]
    assert RUNNER.invoke(app, [*arguments, "--openai", "proj_a1"]).exit_code == 0
    settings = Settings.read(Path("deep/ratchet.yaml"))
    assert settings.providers.vertex[0].account == "123456789012"
    assert settings.providers.openai[0].account == "proj_a1"
    assert RUNNER.invoke(app, ["init"]).exit_code == 0
    assert Settings.read(Path("ratchet.yaml")).providers.openai[0].account == "my-openai-project"
    assert "sk-not-shown" not in Path("ratchet.yaml").read_text()


def test_init_finds_the_project_of_gcloud_offline() -> None:
    Path("gcloud/configurations").mkdir(parents=True)
    Path("gcloud/configurations/config_default").write_text("[core]\nproject = acme-ml\n")
    RUNNER.invoke(app, ["init"])
    assert "gcloud projects describe acme-ml" in Path("ratchet.yaml").read_text()


@pytest.mark.parametrize("there", ["ratchet.yaml", "policies/my-line-prod.yaml", "suites/my-suite.yaml"])
def test_init_never_overwrites(there: str) -> None:
    Path(there).parent.mkdir(exist_ok=True)
    Path(there).write_text("mine")
    result = RUNNER.invoke(app, ["init"])
    assert result.exit_code == 1
    assert there in result.output
    assert Path(there).read_text() == "mine"
    assert [str(path) for path in Path().rglob("*.yaml")] == [there]


@pytest.mark.parametrize("option", [("--vertex", "acme"), ("--openai", "a b")])
def test_init_refuses_a_project_that_cannot_be_one(option: tuple[str, str]) -> None:
    assert RUNNER.invoke(app, ["init", *option]).exit_code == 2
    assert not Path("ratchet.yaml").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "no such file; run `ratchet init`"),
        ("store: [", "ratchet.yaml:1"),
        ("stor: sqlite:///x\n", "stor"),
        ("store: postgres://x\n", "write sqlite:///path"),
    ],
)
def test_a_bad_configuration_is_said_with_its_mend(text: str | None, words: str) -> None:
    if text is not None:
        Path("ratchet.yaml").write_text(text)
    for command in (["status"], ["doctor"], ["check"], ["hold", "--all", "--reason", "x"]):
        result = RUNNER.invoke(app, command)
        assert result.exit_code == 2, result.output
        assert words in result.output
        assert "Traceback" not in result.output


def test_a_store_that_is_not_there_is_not_made() -> None:
    Path("ratchet.yaml").write_text("store: sqlite:///ratchet.db\n")
    result = RUNNER.invoke(app, ["status"])
    assert (result.exit_code, result.output) == (
        1, "ratchet.db: no store there yet; start `ratchet up`, which makes it\n",
    )  # fmt: skip
    assert not Path("ratchet.db").exists()


def test_a_store_that_is_no_database_is_one_line() -> None:
    Path("ratchet.yaml").write_text("store: sqlite:///ratchet.db\n")
    Path("ratchet.db").write_text("this is not a database, whatever its name says" * 100)
    result = RUNNER.invoke(app, ["status"])
    assert result.exit_code == 1
    assert "the store cannot be read" in result.output
    assert result.output.count("\n") == 1


def test_check_says_file_line_and_mend(tmp_path: Path) -> None:
    home = Home(tmp_path).write()
    policy = tmp_path / "policies" / "prod.yaml"
    policy.write_text(policy.read_text().replace("mode: enforce", "mode: enfroce"))
    result = home.run("check")
    assert result.exit_code == 1
    assert result.output.startswith(f"{policy}:6: ")
    assert "enforce" in result.output
    document = json.loads(home.run("check", "--json").output)
    assert document["clean"] is False
    assert document["findings"][0]["line"] == 6
    nowhere = home.run("check", "--policies", str(tmp_path / "nowhere"))
    assert nowhere.exit_code == 1
    assert "there is no such folder" in nowhere.output


def test_doctor_without_accounts_fails_and_says_what_to_add() -> None:
    RUNNER.invoke(app, ["init"])
    result = RUNNER.invoke(app, ["doctor"])
    assert result.exit_code == 1
    assert "FAIL  providers   no account is named" in result.output
    assert "ok    rules   1 policy and 1 suite load from policies, suites" in result.output
    assert "ok    changes   may change NOTHING" in result.output
    assert not Path("ratchet.db").exists()


def test_doctor_names_a_missing_key_a_bad_secret_and_a_broken_rule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = "{account: proj_a1, api_key_env: NO_SUCH_KEY, webhook_secrets_env: BAD_SECRET}"
    home = Home(tmp_path).write(f"providers:\n  openai:\n    - {account}\n")
    home.world().alias()
    (tmp_path / "suites" / "core.yaml").write_text("kind: Suite\n")
    monkeypatch.setenv("BAD_SECRET", "whsec_c2hvcnQ=")
    result = home.run("doctor")
    assert result.exit_code == 1
    assert (
        "FAIL  openai proj_a1   no key: the variable NO_SUCH_KEY is empty. Mend: export NO_SUCH_KEY=..."
        in result.output
    )
    assert "FAIL  openai proj_a1   environment BAD_SECRET: empty or too short" in result.output
    assert "c2hvcnQ" not in result.output
    assert f"FAIL  {tmp_path}/suites/core.yaml:1" in result.output
    assert "readable and writable" in result.output
    lines = json.loads(home.run("doctor", "--json").output)
    assert {line["health"] for line in lines} >= {"ok", "FAIL"}


def test_doctor_leaves_nothing_in_the_store(tmp_path: Path) -> None:
    import sqlite3

    home = Home(tmp_path).write()
    home.world().alias()
    assert "readable and writable" in home.run("doctor").output
    with sqlite3.connect(home.database) as connection:
        assert connection.execute("SELECT count(*) FROM documents").fetchone() == (0,)
