"""`ratchet doctor`: everything that `ratchet up` relies on, tried once and harmlessly, each with its mend."""

import json
import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

from ratchet.domain.keys import JobKey, Provider
from ratchet.domain.policy import Apply, Mode
from ratchet.domain.rules import Rules
from ratchet.ports import (
    Create,
    Delete,
    Denied,
    Key,
    NotFound,
    PermanentError,
    ProviderError,
    ProviderPort,
    RetryableError,
    Store,
    Throttled,
)
from ratchet.runtime.connect import openai_port, vertex_port
from ratchet.runtime.settings import OpenAIAccount, Settings, SettingsError, VertexAccount
from ratchet_cli.problem import FINDINGS, OK, Problem
from ratchet_cli.stores import place, read_settings

_LOOK_BACK = timedelta(days=90)


class Health(StrEnum):
    GOOD = "ok"
    WARN = "warn"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class Line:
    health: Health
    subject: str
    text: str
    mend: str = ""

    def __str__(self) -> str:
        mend = f". Mend: {self.mend}" if self.mend else ""
        return f"{self.health:<5} {self.subject}   {self.text}{mend}"


def run(config: Path, context: str | None, *, as_json: bool) -> int:
    """Print a line for each check as it ends; the exit status. Raises: Problem."""
    settings = read_settings(config)
    found = []
    for line in examine(settings, place(settings, context).store_url):
        found.append(line)
        if not as_json:
            _show(line)
    if as_json:
        print(json.dumps([asdict(line) for line in found], indent=2))
    return FINDINGS if any(line.health is Health.FAIL for line in found) else OK


def examine(settings: Settings, store_url: str) -> Iterator[Line]:
    rules: Rules | None = None
    yield from _base_urls(settings)
    yield _since(settings)
    yield from _store(store_url)
    lines, rules = _rules(settings)
    yield from lines
    accounts: list[VertexAccount | OpenAIAccount] = [*settings.providers.vertex, *settings.providers.openai]
    if not accounts:
        mend = "add your project under `providers` in the configuration"
        yield Line(Health.FAIL, "providers", "no account is named, so there is nothing to watch", mend)
    since = _now(settings) - _LOOK_BACK
    for vertex in settings.providers.vertex:
        yield from _vertex(settings, vertex, since, rules)
    for openai in settings.providers.openai:
        yield from _openai(settings, openai, since)
    if rules is not None:
        yield _summary(rules)


def _base_urls(settings: Settings) -> Iterator[Line]:
    for provider, url in (("vertex", settings.vertex_base_url), ("openai", settings.openai_base_url)):
        if url is None:
            continue
        local = urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")
        what = "a simulator on this machine" if local else "not the provider's own address"
        yield Line(Health.WARN, provider, f"is asked at {url}: {what}", "unset it to reach the real one")
    for variable in ("FIRESTORE_EMULATOR_HOST", "PUBSUB_EMULATOR_HOST"):
        if host := os.environ.get(variable):
            yield Line(Health.WARN, variable, f"is set: the emulator at {host}", "unset it to reach the real one")
    if settings.clock_url is not None:
        yield Line(Health.WARN, "clock", f"simulated, from {settings.clock_url}", "unset clock_url to keep real time")


def _since(settings: Settings) -> Line:
    if settings.since is None:
        mend = f'add since: "{_now(settings):%Y-%m-%dT%H:%M:%SZ}"'
        return Line(Health.WARN, "since", "is missing: jobs count from the first start of `ratchet up`", mend)
    return Line(Health.GOOD, "since", f"jobs created before {settings.since:%Y-%m-%dT%H:%MZ} are recorded, not tested")


def _now(settings: Settings) -> datetime:
    from ratchet.runtime import clock

    try:
        return clock.connect(settings.clock_url).now()
    except SettingsError as exc:
        raise Problem(str(exc)) from exc


def _store(url: str) -> Iterator[Line]:
    from ratchet.runtime.connect import open_store, settings_of_store

    subject = f"store {url}"
    try:
        path = settings_of_store(url).sqlite_path
        if path is not None and not path.parent.is_dir():
            yield Line(Health.FAIL, subject, "its folder does not exist", f"mkdir -p {path.parent}")
            return
        if path is not None and not path.is_file():
            able = os.access(path.parent, os.W_OK)
            if able:
                yield Line(Health.GOOD, subject, "not there yet; `ratchet up` makes it")
            else:
                yield Line(Health.FAIL, subject, "its folder cannot be written", "choose another folder")
            return
        yield _written(open_store(url), subject)
    except SettingsError as exc:
        yield Line(Health.FAIL, "store", str(exc))
    except RetryableError as exc:
        cause = type(exc.__cause__ or exc).__name__
        mend = "check the file and its rights" if url.startswith("sqlite") else "check project, database and rights"
        yield Line(Health.FAIL, subject, f"cannot be read and written ({cause})", mend)
    except Exception as exc:
        # Firestore's client looks for credentials when it is made, and says so with an exception of google.auth.
        if not type(exc).__module__.startswith("google.auth"):
            raise
        yield Line(Health.FAIL, subject, "no credentials", "gcloud auth application-default login")


def _written(store: Store, subject: str) -> Line:
    """Create a document that means nothing to anybody, read it, and take it away again."""
    key = Key("doctor", uuid.uuid4().hex)
    store.commit([Create(key, {"note": "written and removed by ratchet doctor"})], uuid.uuid4().hex)
    snapshot = store.get(key)
    if snapshot is None:
        return Line(Health.FAIL, subject, "does not give back what was written", "check that it is the right one")
    store.commit([Delete(key, snapshot.token)], uuid.uuid4().hex)
    return Line(Health.GOOD, subject, "readable and writable")


def _rules(settings: Settings) -> tuple[Sequence[Line], Rules | None]:
    from ratchet.adapters.rule_files import check, load_rules
    from ratchet_cli.check import summary

    findings = check(settings.policies_dir, settings.suites_dir, _now(settings))
    lines = [
        Line(
            Health.WARN if finding.severity == "warning" else Health.FAIL,
            f"{finding.file}:{finding.line}",
            finding.what,
            finding.mend,
        )
        for finding in findings
    ]
    if any(line.health is Health.FAIL for line in lines):
        return lines, None
    rules = load_rules(settings.policies_dir, settings.suites_dir)
    folders = f"{settings.policies_dir}, {settings.suites_dir}"
    return [
        *lines,
        Line(Health.GOOD, "rules", f"{summary(len(rules.policies), len(rules.suites))} from {folders}"),
    ], rules


def _vertex(settings: Settings, account: VertexAccount, since: datetime, rules: Rules | None) -> Iterator[Line]:
    subject = f"vertex {account.project}/{account.location}"

    denied = "gcloud auth application-default login, with the role aiplatform.viewer or user in this project"
    yield from _provider(subject, Provider.VERTEX, lambda: vertex_port(settings, account), since, denied)
    applies = [p.name for p in rules.policies if Apply.VERTEX_DEFAULT in p.apply] if rules else []
    if applies:
        yield Line(
            Health.WARN,
            subject,
            f"not checked: aiplatform.models.update, which {', '.join(applies)} needs to set defaults; only a write "
            "would tell",
            "grant it, or leave `apply` empty",
        )


def _openai(settings: Settings, account: OpenAIAccount, since: datetime) -> Iterator[Line]:
    subject = f"openai {account.account}"
    if os.environ.get(account.api_key_env):
        denied = f"put a key in {account.api_key_env} that may list fine-tuning jobs and call models"
        yield from _provider(subject, Provider.OPENAI, lambda: openai_port(settings, account), since, denied)
    else:
        mend = f"export {account.api_key_env}=..."
        yield Line(Health.FAIL, subject, f"no key: the variable {account.api_key_env} is empty", mend)
    yield _webhook(subject, account)


def _webhook(subject: str, account: OpenAIAccount) -> Line:
    from ratchet.runtime.webhook_secrets import read_secrets

    if not account.webhook_secrets_env and not account.webhook_secrets_files:
        mend = "to know of a job's end at once, set webhook_secrets_env or webhook_secrets_files"
        return Line(Health.WARN, subject, "no webhook secret: jobs are found by the sweep alone", mend)
    try:
        keys = read_secrets([account])[account.account]
    except SettingsError as exc:
        return Line(Health.FAIL, subject, str(exc))
    return Line(Health.GOOD, subject, f"{len(keys)} webhook secret{'' if len(keys) == 1 else 's'} readable")


def _provider(
    subject: str, provider: Provider, connect: Callable[[], ProviderPort], since: datetime, denied: str
) -> Iterator[Line]:
    """List the jobs, then read the newest one's checkpoints."""
    noun = "tuning job" if provider is Provider.VERTEX else "job"
    what = "tuning jobs cannot be listed"
    try:
        port = connect()
        jobs = port.list_jobs(since)
        count = f"{len(jobs)} {noun}{'' if len(jobs) == 1 else 's'} of the last {_LOOK_BACK.days} days listed"
        if not jobs:
            yield Line(Health.GOOD, subject, f"{count}; no checkpoints to read yet")
            return
        what = f"{count}, but the newest one's checkpoints cannot be read"
        newest: JobKey = jobs[0].key
        checkpoints = port.list_checkpoints(newest)
        read = f"{len(checkpoints)} checkpoint{'' if len(checkpoints) == 1 else 's'} of the newest read"
        yield Line(Health.GOOD, subject, f"{count}; {read}")
    except Denied:
        yield Line(Health.FAIL, subject, f"{what}: credentials or rights are missing", denied)
    except NotFound:
        yield Line(Health.FAIL, subject, f"{what}: no such place", "check project and location")
    except Throttled:
        yield Line(Health.WARN, subject, f"{what}: too many requests just now", "try again in a minute")
    except PermanentError as exc:
        yield Line(Health.FAIL, subject, f"{what}: the reply is unusable ({exc.code})", "check account and base URL")
    except ProviderError as exc:
        cause = type(exc.__cause__ or exc).__name__
        yield Line(Health.FAIL, subject, f"{what} ({cause})", "check the network and the base URL, then try again")


def _summary(rules: Rules) -> Line:
    enforcing = [policy.name for policy in rules.policies if policy.mode is Mode.ENFORCE]
    if enforcing:
        return Line(Health.GOOD, "changes", f"{', '.join(enforcing)} may promote (mode: enforce)")
    if not rules.policies:
        return Line(Health.WARN, "changes", "there is no policy: checkpoints are recorded, not tested", "write one")
    return Line(Health.GOOD, "changes", "may change NOTHING (no policy is mode: enforce)")


def _show(line: Line) -> None:
    import typer

    colour = {Health.GOOD: typer.colors.GREEN, Health.WARN: typer.colors.YELLOW, Health.FAIL: typer.colors.RED}
    head, rest = str(line)[:5], str(line)[5:]
    typer.echo(typer.style(head, fg=colour[line.health]) + rest)
