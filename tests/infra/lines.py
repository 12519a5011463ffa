"""Every kind of line that the code writes, as Cloud Logging would get it: one for each event and its closed words.

Loaded as a plugin (`pytest -p infra.lines`), it keeps what the tests of the code's paths make the code write.
"""

import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest

from ratchet.runtime.logging import JsonLines

CLOSED = ("code", "outcome")


class Kept(logging.Handler):
    """The first line of each event, code and outcome."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: dict[tuple[Any, ...], dict[str, Any]] = {}
        self.setFormatter(JsonLines("a_function", None))

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "facts", None) is not None:
            line = json.loads(self.format(record))
            self.lines.setdefault((line["event"], *(str(line.get(name)) for name in CLOSED)), line)

    def __enter__(self) -> "Kept":
        logging.getLogger("ratchet").addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger("ratchet").removeHandler(self)


_kept = Kept()


def pytest_configure(config: pytest.Config) -> None:
    logging.getLogger("ratchet").addHandler(_kept)
    logging.getLogger("ratchet").setLevel(logging.INFO)


def pytest_unconfigure(config: pytest.Config) -> None:
    Path(os.environ["RATCHET_LINES"]).write_text(json.dumps(list(_kept.lines.values())), encoding="utf-8")
