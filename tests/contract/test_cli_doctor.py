"""`ratchet doctor` against the simulated providers, healthy and not."""

from pathlib import Path
from typing import Any

import pytest

from support.cli import Home
from support.sim_clients import KEY, SECRET, providers, small

ACCOUNTS = """\
providers:
  vertex:
    - {project: acme-ml, account: "123456789012", location: us-central1}
  openai:
    - {account: proj_a1, api_key_env: SIM_KEY, webhook_secrets_env: SIM_SECRET}
"""


def doctor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str = KEY, faults: Any = ()) -> tuple[int, str]:
    (tmp_path / "home").mkdir()
    home = Home(tmp_path / "home").write(ACCOUNTS)
    monkeypatch.setenv("SIM_KEY", key)
    monkeypatch.setenv("SIM_SECRET", SECRET)
    with providers(small(factor=1, faults=faults), tmp_path / "state", minutes=40) as simulated:
        monkeypatch.setenv("OPENAI_BASE_URL", simulated.sim.openai_url)
        monkeypatch.setenv("RATCHET_VERTEX_BASE_URL", simulated.sim.vertex_url)
        monkeypatch.setenv("RATCHET_CLOCK_URL", simulated.sim.url)
        result = home.run("doctor")
        assert result.exception is None or isinstance(result.exception, SystemExit), result.output
        return result.exit_code, result.output


def test_healthy_providers_are_listed_and_their_newest_job_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, text = doctor(tmp_path, monkeypatch)
    assert code == 0, text
    assert (
        "ok    vertex acme-ml/us-central1   1 tuning job of the last 90 days listed; 2 checkpoints of the newest"
        in text
    )
    assert "ok    openai proj_a1   1 job of the last 90 days listed; " in text
    assert "ok    openai proj_a1   1 webhook secret readable" in text
    assert "warn  vertex acme-ml/us-central1   not checked: aiplatform.models.update, which support-router-prod" in text
    assert "warn  openai   is asked at http://127.0.0.1" in text
    assert "ok    changes   support-router-prod may promote (mode: enforce)" in text
    assert KEY not in text


def test_a_refused_key_is_a_failure_with_its_mend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, text = doctor(tmp_path, monkeypatch, key="sk-wrong")
    assert code == 1
    assert (
        "FAIL  openai proj_a1   tuning jobs cannot be listed: credentials or rights are missing. Mend: put a key"
        in text
    )
    assert "sk-wrong" not in text
