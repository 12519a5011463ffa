"""One plan of the example for all tests here; where Terraform cannot run, they say why and are skipped.

With RATCHET_INFRA=required they fail there: a deployment's own check must not pass for want of a tool.
"""

import os
from pathlib import Path

import pytest

from support import terraform
from support.terraform import Plan


@pytest.fixture(scope="session", autouse=True)
def _terraform() -> None:
    reason = terraform.missing()
    if reason and os.environ.get("RATCHET_INFRA") == "required":
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)


@pytest.fixture(scope="session")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    folder: Path = tmp_path_factory.mktemp("infra")
    return terraform.copy(folder / "whole").initialised().plan()
