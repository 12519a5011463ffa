"""One JSON line per log record, and nothing in it that came from outside.

An exception is its type and where in the code it arose: messages of exceptions quote what they choke on.
"""

import json
import logging
import os
import sys
import traceback
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any, TextIO

from ratchet import log
from ratchet.domain.codec import format_time

_DEBUG_VARIABLES = ("OPENAI_LOG", "GOOGLE_SDK_PYTHON_LOGGING_SCOPE", "GRPC_TRACE", "GRPC_VERBOSITY", "HTTPX_LOG_LEVEL")
_SEVERITIES = frozenset({"DEBUG", "INFO", "NOTICE", "WARNING", "ERROR", "CRITICAL"})


def describe(error: BaseException) -> dict[str, Any]:
    """An exception without its message: types down the chain of causes, and the innermost code locations."""
    types: list[str] = []
    link = error
    while len(types) < 8:
        types.append(type(link).__name__)
        cause = link.__cause__ or link.__context__
        if cause is None:
            break
        link = cause
    frames = traceback.extract_tb(error.__traceback__)[-8:]
    return {
        "exception": types,
        "at": [f"{PurePath(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames],
    }


class JsonLines(logging.Formatter):
    def __init__(self, function: str, project: str | None) -> None:
        super().__init__()
        self._function = function
        self._project = project

    def format(self, record: logging.LogRecord) -> str:
        facts = getattr(record, "facts", None)
        line: dict[str, Any] = dict(facts) if facts is not None else {"logger": record.name}
        if record.exc_info and record.exc_info[1] is not None:
            line |= describe(record.exc_info[1])
        # Another library's message is kept unformatted: its arguments may be anything.
        name = record.getMessage() if facts is not None else str(record.msg)
        line |= {
            "severity": record.levelname if record.levelname in _SEVERITIES else "DEFAULT",
            "message": name,
            "time": format_time(datetime.fromtimestamp(record.created, UTC)),
            "function": self._function,
        }
        if facts is not None:
            line["event"] = name
        parts = (log.traceparent() or "").split("-")
        if len(parts) == 4:
            trace = parts[1]
            line["logging.googleapis.com/trace"] = (
                f"projects/{self._project}/traces/{trace}" if self._project else trace
            )
        return json.dumps(line, default=str)


def configure(function: str, stream: TextIO | None = None) -> None:
    """Take over the process's logging. Again is harmless, and has the last word."""
    for name in _DEBUG_VARIABLES:
        # An SDK's debug log holds headers and bodies. Removed before the SDKs are imported, it is off.
        os.environ.pop(name, None)
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines(function, os.environ.get("GOOGLE_CLOUD_PROJECT")))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for name in ("openai", "httpx", "httpcore", "google", "google_genai", "urllib3", "werkzeug", "gunicorn"):
        logging.getLogger(name).setLevel(logging.WARNING)
    ours = logging.getLogger("ratchet")
    ours.setLevel(logging.INFO)
    ours.propagate = True
