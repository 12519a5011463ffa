"""Scenarios, each played once and looked at by several tests."""

from pathlib import Path

import pytest

from support.playing import Played, play


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Played:
    """The built-in scenario on SQLite."""
    return play(tmp_path_factory.mktemp("embedded"))


@pytest.fixture(scope="session")
def other(tmp_path_factory: pytest.TempPathFactory) -> Played:
    """A scenario that nobody wrote the driver for."""
    return play(tmp_path_factory.mktemp("other"), scenario=Path(__file__).with_name("other.yaml"))
