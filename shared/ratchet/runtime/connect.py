"""Connections, each made on first use and kept: importing a function needs no credentials and no network.

Only the SDK that a setting asks for is imported, when it is asked for.
"""

from collections.abc import Sequence
from datetime import datetime
from functools import cache

from ratchet.domain.events import DeadLetter
from ratchet.domain.keys import JobKey, Provider
from ratchet.domain.limits import Limits
from ratchet.domain.rules import Rules
from ratchet.domain.topology import SUBSCRIBERS, subscription
from ratchet.ports import Bus, Clock, PermanentError, ProviderPort, RawBus, Store
from ratchet.runtime import clock as clocks
from ratchet.runtime import logging
from ratchet.runtime.ids import SystemIds
from ratchet.runtime.oidc import OidcVerifier
from ratchet.runtime.push import Authenticate
from ratchet.runtime.settings import OpenAIAccount, Settings, SettingsError, VertexAccount


@cache
def settings() -> Settings:
    """Raises: SettingsError."""
    return Settings.from_environment()


def since() -> datetime:
    """Jobs created before are recorded, never tested or promoted. Raises: SettingsError: not set."""
    moment = settings().since
    if moment is None:
        raise SettingsError("since: missing; write the time from which jobs count, such as ratchet init does")
    return moment


@cache
def limits() -> Limits:
    return settings().limits.chain()


@cache
def clock() -> Clock:
    return clocks.connect(settings().clock_url)


@cache
def ids() -> SystemIds:
    return SystemIds()


@cache
def store() -> Store:
    return open_store(settings().store)


def open_store(url: str) -> Store:
    """The store that `sqlite:///path` or `firestore://project/database` names. Raises: SettingsError."""
    named = settings_of_store(url)
    if named.sqlite_path is not None:
        from ratchet.adapters.sqlite import SqliteStore

        return SqliteStore(named.sqlite_path)
    from ratchet.adapters.firestore import connect

    assert named.database is not None
    return connect(*named.database)


def settings_of_store(url: str) -> Settings:
    """Raises: SettingsError: not a store."""
    try:
        return Settings(store=url)
    except ValueError as exc:
        raise SettingsError(f"{url}: write sqlite:///path or firestore://project/database") from exc


@cache
def bus() -> Bus:
    return open_bus(settings())


def open_bus(chosen: Settings) -> RawBus:
    """The bus that belongs to the settings' store: in the same file, or in the same project."""
    if chosen.sqlite_path is not None:
        from ratchet.adapters.sqlite_queue import SqliteQueue, Subscription

        deadline = chosen.limits.ack_deadline
        return SqliteQueue(
            chosen.sqlite_path,
            [Subscription(subscription(topic), topic, ack_deadline=deadline) for topic in SUBSCRIBERS],
        )
    from ratchet.adapters.pubsub import PubSubBus

    assert chosen.database is not None
    return PubSubBus(chosen.database[0])


class ConfiguredProviders:
    """The accounts of `ratchet.yaml`; an account's SDK is imported when its first job is looked at."""

    def __init__(self, chosen: Settings) -> None:
        self._chosen = chosen
        self._ports: dict[VertexAccount | OpenAIAccount, ProviderPort] = {}
        self._vertex = {(account.account, account.location): account for account in chosen.providers.vertex}
        self._vertex_by_project = {(account.project, account.location): account for account in self._vertex.values()}
        self._openai = {account.account: account for account in chosen.providers.openai}

    def of(self, job: JobKey) -> ProviderPort:
        match job.provider:
            case Provider.VERTEX:
                vertex = self._vertex.get((job.account, job.location))
                if vertex is not None:
                    return self._port(vertex)
            case Provider.OPENAI:
                openai = self._openai.get(job.account)
                if openai is not None and job.location == "-":
                    return self._port(openai)
            case Provider.CANARY:
                if self._chosen.canary:
                    from ratchet.adapters.canary import CanaryProvider

                    return CanaryProvider()
        raise PermanentError("not_ours")

    def canonical(self, job: JobKey) -> JobKey:
        """The audit log may name a project by its id; our keys hold its number."""
        found = self._vertex_by_project.get((job.account, job.location)) if job.provider is Provider.VERTEX else None
        return JobKey(job.provider, found.account, job.location, job.id) if found else job

    def all(self) -> Sequence[tuple[JobKey, ProviderPort]]:
        places: list[tuple[JobKey, VertexAccount | OpenAIAccount]] = [
            *((JobKey(Provider.VERTEX, *place, "-"), account) for place, account in self._vertex.items()),
            *((JobKey(Provider.OPENAI, name, "-", "-"), account) for name, account in self._openai.items()),
        ]
        return [(place, self._port(account)) for place, account in places]

    def _port(self, account: VertexAccount | OpenAIAccount) -> ProviderPort:
        if account not in self._ports:
            chosen = self._chosen
            self._ports[account] = (
                vertex_port(chosen, account) if isinstance(account, VertexAccount) else openai_port(chosen, account)
            )
        return self._ports[account]


@cache
def providers() -> ConfiguredProviders:
    return ConfiguredProviders(settings())


def vertex_port(chosen: Settings, account: VertexAccount) -> ProviderPort:
    from ratchet.adapters.vertex import VertexProvider

    return VertexProvider(
        account=account.account,
        project=account.project,
        location=account.location,
        base_url=chosen.vertex_base_url,
        timeout=chosen.limits.provider_timeout,
        shutdown_dates=chosen.shutdown_dates,
    )


def openai_port(chosen: Settings, account: OpenAIAccount) -> ProviderPort:
    """Raises: SettingsError: there is no key."""
    import os

    from ratchet.adapters.openai import OpenAIProvider

    key = os.environ.get(account.api_key_env)
    if not key:
        raise SettingsError(f"environment {account.api_key_env}: no key for OpenAI account {account.account}; set it")
    return OpenAIProvider(
        account=account.account,
        api_key=key,
        base_url=chosen.openai_base_url,
        timeout=chosen.limits.provider_timeout,
        shutdown_dates=chosen.shutdown_dates,
    )


_seen: dict[str, tuple[object, Rules]] = {}


def rules() -> Rules:
    """The policies and suites in force; a changed file is read again, so that an edit needs no restart.

    Raises:
        RuleErrors: a file is wrong and there is nothing older to go on with.
    """
    from ratchet import log
    from ratchet.adapters.rule_files import RuleErrors, load_rules

    chosen = settings()
    folders = (chosen.policies_dir, chosen.suites_dir)
    state = tuple(
        (str(path), stat.st_mtime_ns, stat.st_size)
        for folder in folders
        for path in sorted(folder.rglob("*"))  # what a suite imports lies below
        for stat in [path.stat()]
    )
    known = _seen.get("rules")
    if known is not None and known[0] == state:
        return known[1]
    try:
        loaded = load_rules(*folders)
    except RuleErrors as exc:
        log.emit(log.Event.CONFIGURATION_REFUSED, code="rules", findings=[str(finding) for finding in exc.findings])
        if known is None:
            raise
        loaded = known[1]
    _seen["rules"] = (state, loaded)
    return loaded


@cache
def authenticate() -> Authenticate | None:
    """The check of who pushes; None where the settings (on loopback only) have turned it off."""
    chosen = settings()
    if chosen.push_auth == "off":
        return None
    if not chosen.push_audience or not chosen.push_invokers:
        raise SettingsError("push_audience, push_invokers: missing; set them, or push_auth: off on your own machine")
    return OidcVerifier(chosen.push_audience, chosen.push_invokers)


def park(letter: DeadLetter) -> None:
    """Keep what can never be handled, for a function that has a store."""
    from ratchet.application.park_dead_letter import park_dead_letter

    park_dead_letter(letter, store=store(), clock=clock(), ids=ids())


def prepare(function: str) -> str:
    """Called once when a function is imported: its log, before any SDK has one. Returns the function's name."""
    logging.configure(function)
    return function
