"""A request as bytes that a fuzzer can change anywhere: a line, headers, an empty line, the body.

    POST /tuning-jobs
    Content-Type: application/json
    @ce-type: ratchet.TuningJobHint

    {"job": "…"}

A header with an `@` is an attribute of a pushed message, whose data the body then is. `@sign: new`, `old` or `forged`
has the body signed as a webhook's after every change, so that the fuzzer comes to the signature, and behind it.
"""

import base64
import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

from flask import Flask
from werkzeug.test import EnvironBuilder, run_wsgi_app

from fuzz.target import CANARY

_NAME = re.compile(r"@?[A-Za-z0-9_-]{1,80}")
_METHOD = re.compile(r"[A-Z]{1,20}")
_NOT_SENT = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
"""What no HTTP server hands on within a line."""


@dataclass(frozen=True, slots=True)
class Sent:
    method: str
    path: str
    headers: Mapping[str, str]
    attributes: Mapping[str, str]
    body: bytes

    @property
    def wrapped(self) -> bytes:
        """The body as a push has it."""
        attributes = {name: value for name, value in self.attributes.items() if name != "sign"}
        if not attributes:
            return self.body
        message = {"data": base64.b64encode(self.body).decode(), "attributes": attributes, "messageId": "17"}
        return json.dumps({"message": message, "subscription": CANARY, "deliveryAttempt": 1}).encode()


@dataclass(frozen=True, slots=True)
class Got:
    status: int
    text: str
    """Headers and body."""


def request(line: str, body: Any = b"", **headers: str) -> bytes:
    """A seed; `_` in a header's name is a dash, and a leading one an `@`."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {("@" + name[1:] if name[0] == "_" else name).replace("_", "-"): text for name, text in headers.items()}
    lines = [line, "Content-Type: application/json", f"X-Extra: {CANARY}", *(f"{k}: {v}" for k, v in named.items())]
    return "\n".join(lines).encode() + b"\n\n" + content


def parse(data: bytes) -> Sent:
    """Of any bytes, a request that a server could have handed on."""
    head, _, body = data.partition(b"\n\n")
    first, *rest = head.decode("latin-1").split("\n")
    method, _, path = first.partition(" ")
    pairs = [(name, _NOT_SENT.sub("", text).strip()) for name, _, text in (line.partition(":") for line in rest)]
    kept = {name: text for name, text in pairs if _NAME.fullmatch(name)}
    return Sent(
        method=method if _METHOD.fullmatch(method) else "POST",
        path="/" + re.sub(r"[\x00-\x20\x7f]", "", path).removeprefix("/"),
        headers={name: text for name, text in kept.items() if name[0] != "@"},
        attributes={name[1:]: text for name, text in kept.items() if name[0] == "@"},
        body=body,
    )


def send(app: Flask, sent: Sent, body: bytes, extra: Mapping[str, str]) -> Got:
    """Ask the application as its server would."""
    environ = EnvironBuilder(path="/", method=sent.method).get_environ()
    path, _, query = sent.path.partition("?")
    environ |= {
        "PATH_INFO": unquote_to_bytes(path.encode("latin-1")).decode("latin-1"),
        "QUERY_STRING": query,
        "RAW_URI": sent.path,
        "REQUEST_URI": sent.path,
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": io.BytesIO(body),
    }
    for name, text in {**sent.headers, **extra}.items():
        key = name.upper().replace("-", "_")
        environ[key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"] = text
    chunks, status, headers = run_wsgi_app(app, environ, buffered=True)
    return Got(int(status[:3]), f"{headers}\n{b''.join(chunks).decode('utf-8', 'replace')}")
