"""What all tests share: the emulators, each started once, and only where a test asks for it."""

from collections.abc import Iterator
from functools import cache

import pytest

from support import emulators

_EMULATORS = {"firestore_emulator", "pubsub_emulator"}


_missing = cache(emulators.missing)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--promptfoo-seed", default="1", help="another search of verdicts that differ from promptfoo's")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep every test that needs an emulator in one worker (`-n N --dist loadgroup`), so that each starts once."""
    needy = [
        item
        for item in items
        if item.get_closest_marker("emulators") or not _EMULATORS.isdisjoint(getattr(item, "fixturenames", ()))
    ]
    for item in needy:
        item.add_marker(pytest.mark.emulators)
        item.add_marker(pytest.mark.xdist_group("emulators"))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    # A skip from here, and not by a mark, is one line for all of them in the report.
    reason = _missing() if item.get_closest_marker("emulators") else None
    if reason:
        pytest.skip(reason)


@pytest.fixture(scope="session")
def firestore_emulator() -> Iterator[str]:
    """`host:port`. A random project id is a database of one's own."""
    with emulators.firestore() as address:
        yield address


@pytest.fixture(scope="session")
def pubsub_emulator() -> Iterator[str]:
    """`host:port`. A random project id is a set of topics of one's own."""
    with emulators.pubsub() as address:
        yield address
