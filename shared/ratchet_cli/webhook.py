"""`ratchet webhook register | rotate`: have OpenAI send its webhooks, and put away the secret that signs them.

Facts, from the SDK (openai 3.54.0, `resources/webhooks`): an endpoint belongs to the project of the API key, which is
the ordinary one, no admin key; its secret is told only in the reply that makes it, of `create` or `rotate_secret`, and
the old one dies at once unless `keep_old_secret_active_for_24_hours`. What a second rotation within those 24 hours does
to the first secret is written nowhere, so that one is refused unless it is insisted on.

The provider makes the secret, so the one moment at which it can be lost is between its reply and our first write:

    find the endpoint -> can the secret be put away? -> note what is about to be done
      -> ask the provider -> note the secret -> put it away -> remove the note

The note is a file of mode 0600 beside ratchet.yaml. With a secret in it, the next run puts that away and asks the
provider for nothing; without one, the endpoint's `updated_at` tells whether the provider had done it. Nothing is tried
twice by itself: neither `create` nor `rotate_secret` is idempotent.
"""

import fcntl
import json
import logging
import os
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from ratchet.adapters.calls import NONSENSE
from ratchet.runtime import clock as clocks
from ratchet.runtime.settings import OpenAIAccount, Settings, SettingsError
from ratchet.runtime.webhook_secrets import parse_secret
from ratchet_cli.problem import USAGE, Problem
from ratchet_cli.render import moment, plain
from ratchet_cli.stores import read_settings
from ratchet_cli.webhook_places import Place, Step, open_place, write_private

EVENTS = ("fine_tuning.job.succeeded", "fine_tuning.job.failed", "fine_tuning.job.cancelled")
_NAME = "ratchet"
_OVERLAP = timedelta(hours=24)
_PAGES = 1000
_ENDPOINT = re.compile(r"[A-Za-z0-9_-]{1,128}")
_LATER = "run the same command again: it looks first at what was done"


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person typed. `again`: rotate although the last change is younger than a day."""

    verb: str
    account: str
    url: str
    secret: str
    again: bool = False


@dataclass(frozen=True, slots=True)
class Told:
    """What was done, or with `--dry-run` would be. It is not `good` where a person has to see to something."""

    state: str
    text: str
    url: str
    endpoint: str | None
    stored: str | None = None
    old_valid_until: str | None = None
    next: tuple[Step, ...] = ()
    good: bool = True


def run(config: Path, asked: Asked, *, dry_run: bool, as_json: bool) -> tuple[str, bool]:
    """What to print, and whether all is well. Raises: Problem."""
    # No library logs a word from here on, whatever the environment asks of it: debug logs hold bodies.
    logging.disable(logging.CRITICAL)
    asked = replace(asked, url=_checked(asked.url))
    settings = read_settings(config)
    account = next((each for each in settings.providers.openai if each.account == asked.account), None)
    if account is None:
        known = ", ".join(each.account for each in settings.providers.openai) or "none"
        raise Problem(f"no account {asked.account!r} under `providers.openai` (there: {known})", USAGE)
    place = open_place(asked.secret, account, settings, config)
    with _alone(config):
        told = _Work(config, asked, account, settings, place, dry_run=dry_run).done()
    if as_json:
        return json.dumps({**asdict(told), "event_types": EVENTS}, indent=2), told.good
    steps = [f"  {number}. {step.what}\n     {step.command}" for number, step in enumerate(told.next, 1)]
    return "\n".join([told.text, *(["next:"] if steps else []), *steps]), told.good


@dataclass(frozen=True, slots=True)
class _Endpoint:
    id: str
    url: str
    event_types: tuple[str, ...]
    updated_at: int | None


@dataclass(frozen=True, slots=True)
class _Note:
    """What was about to be done, with the endpoint's `updated_at` before it; or what came of it, with the secret."""

    verb: str
    url: str
    endpoint: str | None
    updated_at: int | None
    secret: SecretStr | None = None


@dataclass(frozen=True, slots=True)
class _Work:
    config: Path
    asked: Asked
    account: OpenAIAccount
    settings: Settings
    place: Place
    dry_run: bool

    def done(self) -> Told:
        note = self._note()
        if note is not None and note.url != self.asked.url:
            raise Problem(f"an earlier run has not ended; first: {self._command(note.verb, url=note.url)}")
        if note is not None and note.secret is not None:
            return self._finish(note, fresh=False)
        provider = _Provider(self.settings, self.account)
        there = [endpoint for endpoint in provider.endpoints() if endpoint.url == self.asked.url]
        if len(there) > 1:
            ids = ", ".join(endpoint.id for endpoint in there)
            raise Problem(f"{self.asked.url}: several endpoints have it ({ids}); delete all but one at OpenAI")
        if self.asked.verb == "register":
            return self._there(there[0], note) if there else self._register(provider)
        if not there:
            raise Problem(f"{self.asked.url}: no endpoint has it; make one: {self._command('register')}")
        self._old_enough(there[0], note)
        return self._rotate(provider, there[0])

    def _register(self, provider: "_Provider") -> Told:
        self.place.check()
        if self.dry_run:
            text = f"would register {self.asked.url} for {_listed(EVENTS)}, and put its secret into {self.asked.secret}"
            return Told("dry-run", text, self.asked.url, None)
        note = _Note("register", self.asked.url, None, None)
        return self._finish(self._answered(note, lambda: provider.create(self.asked.url)), fresh=True)

    def _rotate(self, provider: "_Provider", endpoint: _Endpoint) -> Told:
        self.place.check()
        if self.dry_run:
            text = f"would rotate {endpoint.id}, keep the old secret for 24 h, and put the new into {self.asked.secret}"
            return Told("dry-run", text, self.asked.url, endpoint.id)
        note = _Note("rotate", self.asked.url, endpoint.id, endpoint.updated_at)
        return self._finish(self._answered(note, lambda: provider.rotate(endpoint.id)), fresh=True)

    def _there(self, endpoint: _Endpoint, note: _Note | None) -> Told:
        """It is registered already. What it lacks is told and not mended: it may be somebody else's, too."""
        lost = note is not None and note.verb == "register"
        found, steps = [], list[Step]()
        if missing := [kind for kind in EVENTS if kind not in endpoint.event_types]:
            found.append(f"it does not send {_listed(missing)}: add them at OpenAI, or delete it and register again")
        if lost or self.place.lacks():
            how = "was lost with an earlier run" if lost else f"is not in {self.asked.secret}"
            found.append(f"its secret {how}, and is told only once")
            steps.append(Step("have a new one made", self._command("rotate", again=True)))
        else:
            steps.append(Step(f"if its secret is not in {self.asked.secret}", self._command("rotate")))
        if lost and not self.dry_run:
            self._forget()
        text = f"already there: {endpoint.id} for {_listed(endpoint.event_types)}; nothing was made"
        text = "; ".join([text, *found])
        return Told("there", text, self.asked.url, endpoint.id, next=tuple(steps), good=not found)

    def _old_enough(self, endpoint: _Endpoint, note: _Note | None) -> None:
        """Raises: Problem: one more rotation may end what the functions still use."""
        if self.asked.again:
            return
        insist = self._command("rotate", again=True)
        changed = None if endpoint.updated_at is None else datetime.fromtimestamp(endpoint.updated_at, UTC)
        if note is not None and (changed is None or endpoint.updated_at != note.updated_at):
            end = f"until {moment(changed + _OVERLAP)}" if changed else "for at most 24 h"
            held = f" The one before holds {end}." if note.verb == "rotate" else ""
            raise Problem(
                f"{endpoint.id}: an earlier run ended after the provider had made a secret, and that is lost.{held} "
                "One more rotation may end what came before, so deploy at once; what is refused meanwhile comes again "
                f"for 72 h: {insist}"
            )
        if changed is not None and self._now() < changed + _OVERLAP:
            raise Problem(
                f"{endpoint.id} was made, changed or rotated at {moment(changed)}, less than 24 h ago: rotating again "
                f"may end what the functions use. Wait until {moment(changed + _OVERLAP)}, or insist: {insist}"
            )

    def _answered(self, note: _Note, ask: "Callable[[], tuple[_Endpoint, SecretStr]]") -> _Note:
        """The provider's answer, noted before anything else is done with it."""
        self._write(note)
        try:
            endpoint, secret = ask()
        except _Refused:
            self._forget()
            raise
        answered = replace(note, endpoint=endpoint.id, updated_at=endpoint.updated_at, secret=secret)
        self._write(answered)
        return answered

    def _finish(self, note: _Note, *, fresh: bool) -> Told:
        assert note.secret is not None
        if self.dry_run:
            text = f"would put the secret that an earlier run got into {self.asked.secret}, and ask OpenAI for nothing"
            return Told("dry-run", text, note.url, note.endpoint)
        try:
            stored = self.place.put(note.secret, maybe_there=not fresh)
        except Problem as exc:
            raise Problem(
                f"{exc}\nNothing is lost: the new secret is in {self._path} (mode 0600). After the mend, run the same "
                "command again: it puts that away, and asks OpenAI for nothing",
                exc.code,
            ) from None
        self._forget()
        since = self._now() if note.updated_at is None else datetime.fromtimestamp(note.updated_at, UTC)
        until = since + _OVERLAP if note.verb == "rotate" else None
        verb = "registered" if until is None else "rotated"
        rest = f"for {_listed(EVENTS)}" if until is None else f"the old secret holds until {moment(until)}"
        text = f"{verb} {note.endpoint}, {note.url}; {rest}\nits secret is in {stored}"
        return Told(
            verb if fresh else "finished", text, note.url, note.endpoint, stored,
            None if until is None else moment(until), self.place.steps(until),
        )  # fmt: skip

    def _now(self) -> datetime:
        try:
            return clocks.connect(self.settings.clock_url).now()
        except SettingsError as exc:
            raise Problem(str(exc)) from exc

    def _command(self, verb: str, *, url: str | None = None, again: bool = False) -> str:
        words = ["ratchet", "webhook", verb, "--account", self.asked.account, "--url", url or self.asked.url]
        words += ["--secret", self.asked.secret, *(["--again"] if again else [])]
        return shlex.join(words + ([] if self.config == Path("ratchet.yaml") else ["--config", str(self.config)]))

    @property
    def _path(self) -> Path:
        return self.config.parent / f".ratchet-webhook-{self.asked.account}.pending"

    def _note(self) -> _Note | None:
        try:
            content = json.loads(self._path.read_text(encoding="utf-8"))
            secret = content.pop("secret")
            return _Note(**content, secret=None if secret is None else SecretStr(secret))
        except FileNotFoundError:
            return None
        # Whatever is wrong with it, its text is not shown: it may hold a secret.
        except (OSError, *NONSENSE):
            raise Problem(f"{self._path}: what an earlier run left cannot be read; look at it, and remove it") from None

    def _write(self, note: _Note) -> None:
        secret = None if note.secret is None else note.secret.get_secret_value()
        write_private(self._path, json.dumps({**asdict(replace(note, secret=None)), "secret": secret}))

    def _forget(self) -> None:
        self._path.unlink(missing_ok=True)


class _Refused(Problem):
    """The provider has certainly not done it."""


class _Provider:
    """The project's webhook endpoints, through the SDK: one attempt each, and no word of a body in any message."""

    def __init__(self, settings: Settings, account: OpenAIAccount) -> None:
        import httpx2
        import openai

        self._variable = account.api_key_env
        key = os.environ.get(self._variable)
        if not key:
            raise Problem(f"no key: the variable {self._variable} is empty; export {self._variable}=...")
        seconds = settings.limits.provider_timeout
        # Follows no redirect: it would carry the key to another host.
        http = httpx2.Client(timeout=seconds, follow_redirects=False)
        self._client = openai.OpenAI(
            api_key=key, base_url=settings.openai_base_url, timeout=seconds, max_retries=0, http_client=http
        )

    def endpoints(self) -> list[_Endpoint]:
        found: dict[str, _Endpoint] = {}
        with self._said("the endpoints cannot be listed"):
            page: Any = self._client.webhooks.list(limit=100)
            for _ in range(_PAGES):
                # What is no list must not look like an empty one: an endpoint would be made twice.
                if page.object != "list" or not isinstance(page.data, list):
                    raise ValueError
                fresh = {each.id: each for each in map(_endpoint, page.data) if each.id not in found}
                found |= fresh
                if not fresh or not page.has_next_page():
                    break
                page = page.get_next_page()
        return list(found.values())

    def create(self, url: str) -> tuple[_Endpoint, SecretStr]:
        kinds: Any = list(EVENTS)
        with self._said("the endpoint is not registered"):
            return _with_secret(self._client.webhooks.create(name=_NAME, url=url, event_types=kinds))

    def rotate(self, endpoint: str) -> tuple[_Endpoint, SecretStr]:
        with self._said("the secret is not rotated"):
            reply = self._client.webhooks.rotate_secret(endpoint, keep_old_secret_active_for_24_hours=True)
            return _with_secret(reply)

    @contextmanager
    def _said(self, what: str) -> Iterator[None]:
        """Raises: Problem, without its cause: an SDK's exception holds the reply."""
        import openai

        try:
            yield
        except openai.APIStatusError as exc:
            code = exc.status_code
            if 400 <= code < 500 and code != 408:
                raise _Refused(f"OpenAI: {what} ({code}): {self._mend(code)}") from None
            # A time-out or a server's error may come after the deed.
            raise Problem(f"OpenAI: {what}, as far as is known ({code}); {_LATER}") from None
        except openai.APIConnectionError:
            raise Problem(f"OpenAI: {what}, as far as is known: no answer; check the network, and {_LATER}") from None
        except (openai.OpenAIError, *NONSENSE):
            text = f"OpenAI: {what}, as far as is known: the answer makes no sense; check the base URL, and {_LATER}"
            raise Problem(text) from None

    def _mend(self, code: int) -> str:
        match code:
            case 401:
                return f"the key in {self._variable} is not accepted; put one of this project there"
            case 403:
                return (
                    f"the key in {self._variable} may not manage webhooks; allow it to, or use one of this project "
                    "that is not restricted (an ordinary key, not an admin key)"
                )
            case 404:
                return "no such thing; check the base URL, and whether somebody has deleted the endpoint"
            case 429:
                return "too many requests; try again in a minute"
        return "not accepted; check that --url is one that can be reached from outside"


def _endpoint(item: Any) -> _Endpoint:
    """Raises: what `NONSENSE` lists."""
    if not _ENDPOINT.fullmatch(item.id) or not isinstance(item.url, str):
        raise ValueError
    # No calendar has what lies far beyond.
    updated = item.updated_at if isinstance(item.updated_at, int) and 0 < item.updated_at < 2**33 else None
    return _Endpoint(item.id, _normal(item.url), tuple(map(str, item.event_types)), updated)


def _with_secret(reply: Any) -> tuple[_Endpoint, SecretStr]:
    """Raises: what `NONSENSE` lists, also for a secret that the functions would refuse."""
    secret = SecretStr(reply.signing_secret.strip())
    try:
        parse_secret(secret.get_secret_value(), "the answer")
    except SettingsError:
        raise ValueError from None
    return _endpoint(reply), secret


def _checked(url: str) -> str:
    """Raises: Problem, without the URL: a password may be in it."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme == "https" and parts.hostname and "@" not in parts.netloc and not parts.fragment
    except ValueError:
        usable = None
    if not usable or not url.isprintable() or " " in url:
        raise Problem("--url: write the https address of receive_webhook, without a password in it", USAGE)
    return _normal(url)


def _normal(url: str) -> str:
    """As endpoints are compared. Raises: ValueError."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.lower()).geturl()


def _listed(kinds: Sequence[str]) -> str:
    return ", ".join(plain(kind) for kind in kinds)


@contextmanager
def _alone(config: Path) -> Iterator[None]:
    """One run at a time: two would each have a secret made, and one would be lost."""
    with config.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Problem(f"{config}: another `ratchet webhook` is at work; wait until it has ended") from None
        yield
