"""The parsers: whatever they are given, a value, or the refusal that they document."""

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import yaml

import ratchet_sim
from fuzz.doors import JOB, NOW, OPENAI_JOB, PAYLOADS, WIRE, envelopes
from fuzz.requests import parse as request_of
from fuzz.target import CANARY, Check, Target, parser, timed
from ratchet.adapters import calls
from ratchet.adapters.assertions.facts import LOGPROBS
from ratchet.adapters.assertions.grade import KINDS, grade
from ratchet.adapters.assertions.kinds import Unfit
from ratchet.adapters.assertions.tool_calls import VALID_CALLS
from ratchet.adapters.openai import OpenAIProvider
from ratchet.adapters.rule_files import RuleErrors, load_rules, policy_from_text, suite_from_text
from ratchet.adapters.vertex import VertexProvider
from ratchet.domain import records
from ratchet.domain.codec import Malformed, canonical, decode, encode, format_time, parse_time
from ratchet.domain.events import Topic
from ratchet.domain.history import Anchor
from ratchet.domain.keys import AliasKey, CheckpointKey, JobKey
from ratchet.domain.suite import Assertion, Case
from ratchet.ports import Answer, Finish, PermanentError, Prompt, ProviderError, ProviderPort
from ratchet.runtime import strict_json
from ratchet.runtime.envelope import TYPES, SchemaNewer, read, unwrap
from ratchet.runtime.oidc import Unauthenticated, claims_of_verified
from ratchet.runtime.settings import Settings, SettingsError
from ratchet.runtime.webhook_secrets import parse_secret
from ratchet.runtime.webhook_signature import Rejection, Unverified, Verified, verify
from ratchet_cli import anchors
from ratchet_cli.problem import Problem
from support.policies import policy_of
from support.rules import FULL_POLICY, FULL_SUITE
from support.scripted_http import Say, scripted

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def wire(start: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted(WIRE.glob(f"{start}*.json"))]


def _chosen(kinds: Sequence[Any], data: bytes) -> tuple[Any, bytes]:
    """The first byte names one of several."""
    return kinds[data[0] % len(kinds)] if data else kinds[0], data[1:]


def _json(data: bytes) -> None:
    value = strict_json.loads(data)
    assert json.loads(data) == value


def _envelope(data: bytes) -> None:
    topic, body = _chosen(list(TYPES), data)
    push = unwrap(body)
    push.dead(topic, "bad_env")
    read(push, topic)


def _log_entry(data: bytes) -> None:
    read(replace(unwrap(b""), data=data), Topic.TUNING_JOBS)


def _keys(data: bytes) -> None:
    kind, rest = _chosen((JobKey, CheckpointKey, AliasKey), data)
    key = kind.parse(text(rest))
    assert str(key) == text(rest)


_DOCUMENTS: Sequence[type] = (*TYPES.values(), records.Job, records.Checkpoint, records.Alias, Anchor)


def _document(data: bytes) -> None:
    kind, rest = _chosen(_DOCUMENTS, data)
    value = decode(kind, strict_json.loads(rest))
    written = json.loads(canonical(value))
    assert encode(decode(kind, written)) == encode(value)


def _documents() -> list[bytes]:
    events = [(TYPES[event.topic], event.payload) for event in PAYLOADS]
    job = records.Job(key=JOB, state=records.JobState.RUNNING, first_seen_at=NOW, labels={"a": "b"}, created_at=NOW)
    values: list[tuple[type, Any]] = [*events, (records.Job, job)]
    return [bytes([_DOCUMENTS.index(kind)]) + json.dumps(encode(value)).encode() for kind, value in values]


def _on_disk(name: str, use: Callable[[Path], object], data: bytes) -> None:
    # One file for the whole process: a new one each time is most of the time.
    path = Path(_folder.name, name)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    use(path)


_folder = tempfile.TemporaryDirectory()
_RULES = Path(ratchet_sim.__path__[0], "scenarios", "builtin")
_POLICY, _SUITE = _RULES / "policies" / "faq.yaml", _RULES / "suites" / "faq-core.yaml"
_SETTINGS = b"""store: sqlite:///ratchet.db
providers:
  vertex: [{project: example-project, account: "123456789012", location: us-central1}]
  openai: [{account: proj_1, webhook_secrets_files: [/secrets/current]}]
since: "2026-01-01T00:00:00Z"
contexts: {cloud: {store: firestore://p/d, command_url: "https://c.example.com"}}
limits: {budget: 90, lease: 150}
clock_url: http://127.0.0.1:9
release: 3
"""


def _rules(other: Path, changed: Path) -> None:
    folders = {"policies": changed.parent, "suites": other.parent}
    if changed.parent.name == "suites-fuzzed":
        folders = {"policies": other.parent, "suites": changed.parent}
    rules = load_rules(folders["policies"], folders["suites"])
    for policy in rules.policies:
        assert policy_from_text(policy.text) == policy
    for suite in rules.suites.values():
        assert suite_from_text(suite.text) == suite


def _stored_rule(data: bytes) -> None:
    reader, rest = _chosen((policy_from_text, suite_from_text), data)
    reader(text(rest))


def _stored_rules() -> list[bytes]:
    rules = load_rules(_POLICY.parent, _SUITE.parent)
    suites = [b"\1" + suite.text.encode() for suite in rules.suites.values()]
    every_key = policy_of(yaml.safe_load(FULL_POLICY.replace("tags.a.", "")))
    return [*(b"\0" + policy.text.encode() for policy in (*rules.policies, every_key)), *suites]


def _assertion(data: bytes) -> None:
    kind, rest = _chosen(tuple(sorted(KINDS)), data)
    value, _, said = rest.partition(b"\0")
    given: str | None = text(value).encode("utf-8", "replace").decode()
    if kind in ("is-refusal", "latency", "cost", *LOGPROBS, VALID_CALLS):
        given = None
    KINDS[kind].fits(given)
    compared: Any = {"book": {"required": ["seats"]}} if kind == VALID_CALLS else given
    # Where one is required, no suite is loaded without.
    threshold = 1.0 if KINDS[kind].required else None
    answered = said[: 16 * 1024].decode("utf-8", "replace")
    digest = hashlib.sha256(answered.encode()).hexdigest()
    for negated in (False, True):
        case = Case(
            id="c", prompt="p", asserts=(Assertion(type=kind, value=compared, threshold=threshold, negated=negated),)
        )
        found = grade(case, Answer(0, answered, Finish.STOP, digest, 1, 1, 1, called=kind == VALID_CALLS, logprob=-1.0))
        assert 0 <= found.score <= 1
        assert CANARY not in found.reason


def _retry_after(data: bytes) -> None:
    wait = calls.retry_after(data.decode("latin-1"), NOW)
    assert wait is None or 0 <= wait <= 3600


def _time(data: bytes) -> None:
    moment = parse_time(text(data))
    assert parse_time(format_time(moment)) == moment
    assert len(format_time(moment)) == 27


def _signature(data: bytes) -> None:
    sent = request_of(data)
    headers = {name.lower(): value for name, value in sent.headers.items()}
    verdict = verify(headers, Unverified(sent.body), {"acme": (b"k" * 32,)}, _SENT_AT)
    assert isinstance(verdict, Rejection | Verified)
    assert not isinstance(verdict, Verified), "nobody signed it"


@contextmanager
def _replies(port: Callable[[str], ProviderPort], job: JobKey, target: str, model: str) -> Iterator[Check]:
    """The first byte says what is asked; the rest is the body of a 200."""
    with scripted(Say()) as script:
        provider = port(script.url)
        asks: Sequence[Callable[[], object]] = (
            lambda: provider.get_job(job),
            lambda: provider.list_jobs(LONG_AGO),
            lambda: provider.list_checkpoints(job),
            lambda: provider.probe(target),
            lambda: provider.get_default(model),
            lambda: provider.shutdown_date("gpt-4.1-mini-2025-04-14"),
            lambda: list(provider.generate(target, [Prompt("x")], 1, 30)),
        )

        def check(data: bytes) -> None:
            ask, body = _chosen(asks, data)
            script.replies[:] = [Say(body)]
            script.asked.clear()
            with suppress(ProviderError):
                canonical(ask())

        with timed(check) as timely:
            yield timely


def _vertex(url: str) -> ProviderPort:
    return VertexProvider("123456789012", "acme-ml", "us-central1", base_url=url, timeout=5)


def _openai(url: str) -> ProviderPort:
    return OpenAIProvider("proj_a1", "sk-x", base_url=url, timeout=5)


_HOME = "projects/123456789012/locations/us-central1"
_ASKED: Mapping[str, Sequence[tuple[int, str]]] = {
    "vertex": ((0, "vertex_tuning_job"), (1, "vertex_tuning_jobs"), (2, "vertex_tuning_job_"),
               (3, "vertex_generate"), (4, "vertex_model_get"), (6, "vertex_generate")),
    "openai": ((0, "openai_job_"), (1, "openai_jobs"), (2, "openai_checkpoints"), (3, "openai_chat"),
               (5, "openai_model"), (6, "openai_chat")),
}  # fmt: skip


_CALLS: Mapping[str, bytes] = {
    "vertex": b'{"candidates": [{"content": {"parts": [{"functionCall": {"name": "book", "args": {"seats": 2}}}]}}]}',
    "openai": b'{"choices": [{"message": {"tool_calls": [{"function": {"name": "book", "arguments": "{}"}}]}}]}',
}


def _reply_seeds(provider: str) -> list[bytes]:
    found = [bytes([number]) + body for number, start in _ASKED[provider] for body in wire(start)]
    return [*found, b"\6" + _CALLS[provider]]


def _as_text(parse: Callable[[str], object]) -> Callable[[bytes], object]:
    return lambda data: parse(text(data))


_ANCHORS = b"""{"event":"history.anchored","alias":"support-router@prod","n":61,"head":"%s","at":"2026-11-22T12:00:00Z"}
{"event":"event.settled","outcome":"recorded"}
""" % (b"a" * 64)
_LISTED = b"[%s]" % _ANCHORS.partition(b"\n")[0]
_KEYS = [b"\0" + str(OPENAI_JOB).encode(), b"\1vertex:1:us:8812/2", b"\2line@prod"]
_AUDIT = wire("audit_log_entry")
_MADE = b'[{"function": {"name": "book", "arguments": "{\\"seats\\": 2}"}}]'
_PATTERNS = [
    bytes([sorted(KINDS).index(VALID_CALLS)]) + b"\0" + _MADE,
    b"\x009(:00)? ?(am)?\0open at 9 am",
    b"\x01yes\0yes",
    b'\x04\0{"a": [1]}',
    b"\x00^(a|b){1,20}$\0abab",
]
_CLAIMS = b"e30.eyJlbWFpbCI6ImFAZXhhbXBsZS5jb20iLCJlbWFpbF92ZXJpZmllZCI6dHJ1ZX0.SIGNATURE_REMOVED"
_VECTOR = json.loads((WIRE / "openai_webhook_signed_vector.json").read_text())["request"]
_SENT_AT = datetime.fromtimestamp(int(_VECTOR["headers"]["webhook-timestamp"]), UTC)
_DELIVERY = "POST /\n" + "".join(f"{k}: {v}\n" for k, v in _VECTOR["headers"].items()) + "\n" + _VECTOR["raw_body"]


# Every key of the language, on a suite that is there.
_EVERY_KEY = FULL_POLICY.replace("core", "faq-core").replace("tags.a.", "").replace("minRepeats: 2", "minRepeats: 1")


def _rule_target(name: str, changed: Path, other: Path, *more: bytes) -> Target:
    use = partial(_rules, other)
    seeds = [changed.read_bytes(), *more]
    return parser(name, partial(_on_disk, f"{name}-fuzzed/x.yaml", use), seeds, RuleErrors, quotes=True)


PARSERS: Sequence[Target] = [
    parser("strict_json", _json, [*wire("openai_job"), *wire("audit")], strict_json.NotJson),
    parser(
        "envelope",
        _envelope,
        [bytes([n]) + seed.partition(b"\n\n")[2] for seed in envelopes() for n in range(2)],
        PermanentError, SchemaNewer,
    ),
    parser("log_entry", _log_entry, _AUDIT, PermanentError),
    parser("keys", _keys, _KEYS, ValueError, quotes=True),
    parser("documents", _document, _documents(), strict_json.NotJson, Malformed),
    parser("settings", partial(_on_disk, "ratchet.yaml", Settings.read), [_SETTINGS], SettingsError, quotes=True),
    _rule_target("policies", _POLICY, _SUITE, _EVERY_KEY.encode()),
    _rule_target("suites", _SUITE, _POLICY, FULL_SUITE.replace("name: core", "name: faq-core").encode()),
    parser("stored_rules", _stored_rule, _stored_rules(), RuleErrors, quotes=True),
    parser("assertions", _assertion, _PATTERNS, Unfit),
    parser("retry_after", _retry_after, [b"120", b"0.5", b"-1", b"Sun, 22 Nov 2026 12:00:00 GMT", b"1e9"]),
    parser("times", _time, [b"2026-11-22T12:00:00Z", b"2026-11-22T12:00:00.123456+05:30"], ValueError, quotes=True),
    parser("webhook_secret", lambda data: parse_secret(text(data), "here"), [b"whsec_" + b"a" * 44], SettingsError),
    parser("webhook_signature", _signature, [_DELIVERY.encode()]),
    parser("token_claims", _as_text(claims_of_verified), [_CLAIMS], Unauthenticated),
    parser("anchors", partial(_on_disk, "x.anchors.jsonl", anchors.read), [_ANCHORS, _LISTED], Problem),
    Target(
        "vertex_replies",
        _reply_seeds("vertex"),
        partial(_replies, _vertex, JOB, f"{_HOME}/endpoints/9002", f"{_HOME}/models/7777@1"),
    ),
    Target("openai_replies", _reply_seeds("openai"), partial(_replies, _openai, OPENAI_JOB, "ft:gpt:x", "m")),
]  # fmt: skip
