"""Where a webhook secret is put away: a file, or Google's Secret Manager. Neither ever says it.

From Google's reference (Secret Manager, REST v1): `addVersion`, `testIamPermissions`, `versions.access`.
"""

import base64
import json
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from pydantic import SecretStr

from ratchet.runtime.settings import OpenAIAccount, Settings, SettingsError, on_this_machine
from ratchet.runtime.webhook_secrets import parse_secret
from ratchet_cli.problem import USAGE, Problem
from ratchet_cli.render import moment

_SECRET = re.compile(r"projects/([a-z0-9:.-]{1,64})/secrets/([A-Za-z0-9_-]{1,255})")
_VERSION = re.compile(r"projects/[^/]+/secrets/[^/]+/versions/([0-9]{1,9})")
_ADD = "secretmanager.versions.add"
_SECONDS = 20


@dataclass(frozen=True, slots=True)
class Step:
    """What to do next, as a command to type; `what` says when and why."""

    what: str
    command: str


class Place(Protocol):
    """Each method may raise Problem."""

    def check(self) -> None:
        """See that it can be written, and write nothing."""

    def lacks(self) -> bool:
        """Whether there is surely no secret in it."""

    def put(self, secret: SecretStr, *, maybe_there: bool) -> str:
        """Store it, once even if an earlier run may have done so. Says where it is."""

    def steps(self, until: datetime | None) -> tuple[Step, ...]:
        """What is left to do. With `until`, there is an old secret, which holds until then."""


def open_place(text: str, account: OpenAIAccount, settings: Settings, config: Path) -> Place:
    """Raises: Problem: it names none."""
    kind, _, rest = text.partition(":")
    if kind == "file" and rest and rest.isprintable() and not rest.endswith("/"):
        log = (settings.sqlite_path or config).parent / ".ratchet" / "log.jsonl"
        return _File(Path(rest), account.webhook_secrets_files, config, log)
    if kind == "secretmanager" and (found := _SECRET.fullmatch(rest)):
        return _SecretManager(found[1], found[2], account.account)
    raise Problem("--secret: write file:PATH, or secretmanager:projects/PROJECT/secrets/NAME", USAGE)


@dataclass(frozen=True, slots=True)
class _File:
    """A file of mode 0600; what was in it goes to `PATH.previous`. At no time is the file absent."""

    path: Path
    configured: Sequence[Path]
    config: Path
    log: Path

    @property
    def previous(self) -> Path:
        return self.path.with_name(self.path.name + ".previous")

    def check(self) -> None:
        for path in (self.path, self.previous):
            # A terminal would show it, and a link may lead to one.
            if path.is_symlink() or (path.exists() and not path.is_file()):
                raise Problem(f"{path}: not an ordinary file; name another with --secret", USAGE)
        if not os.access(self.path.parent, os.W_OK | os.X_OK):
            raise Problem(f"{self.path.parent}: no folder that can be written; make it, or name another", USAGE)

    def lacks(self) -> bool:
        try:
            parse_secret(self.path.read_text(encoding="ascii"), str(self.path))
        except (OSError, UnicodeDecodeError, SettingsError):
            return True
        return False

    def put(self, secret: SecretStr, *, maybe_there: bool) -> str:  # noqa: ARG002 (the file can be read)
        self.check()
        try:
            current = self.path.read_text(encoding="utf-8").strip() if self.path.exists() else ""
        except (OSError, UnicodeDecodeError):
            raise Problem(f"{self.path}: cannot be read; move it away") from None
        if current != secret.get_secret_value():
            if current:
                write_private(self.previous, current + "\n")
            write_private(self.path, secret.get_secret_value() + "\n")
        return f"file:{self.path}"

    def steps(self, until: datetime | None) -> tuple[Step, ...]:
        files = [self.path] if until is None else [self.path, self.previous]
        mend = ""
        if not set(files) <= set(self.configured):
            named = ", ".join(json.dumps(str(file)) for file in files)
            mend = f"set webhook_secrets_files: [{named}] in {self.config}, restart `ratchet up`, and "
        option = [] if self.config == Path("ratchet.yaml") else ["--config", str(self.config)]
        read = Step(
            f"deploy: {mend}see what is read (running functions do so every five minutes)",
            shlex.join(["ratchet", "doctor", *option]),
        )
        if until is None:
            return (read,)
        old = shlex.quote(str(self.previous))
        return (
            read,
            Step(
                "watch: no delivery that needs the old one (ok_old) may be new",
                f"grep ok_old {shlex.quote(str(self.log))} | tail -3",
            ),
            Step(f"drop, after {moment(until)}: take it out of webhook_secrets_files, restart, then", f"rm {old}"),
        )


@dataclass(frozen=True, slots=True)
class _SecretManager:
    """A secret of Google's Secret Manager, to which a version is added with the caller's own credentials."""

    project: str
    secret: str
    account: str

    def check(self) -> None:
        """Google says that this may err on the side of yes; then `put` says so, and the secret is not lost."""
        if _ADD not in (self._call("POST", ":testIamPermissions", {"permissions": [_ADD]}).get("permissions") or ()):
            raise Problem(f"{self._name}: no such secret, or you may not add to it; {self._grant}")

    def lacks(self) -> bool:
        return False

    def put(self, secret: SecretStr, *, maybe_there: bool) -> str:
        data, doubt = base64.b64encode(secret.get_secret_value().encode()).decode(), ""
        if maybe_there:
            try:
                latest = self._call("GET", "/versions/latest:access")
                if isinstance(found := latest.get("payload"), dict) and found.get("data") == data:
                    return f"{self._name}, version {self._number(latest)}"
            except _Answered as exc:
                # 404: there is no version yet. Who may add needs not be one who may read.
                if exc.status not in (403, 404):
                    raise
                if exc.status == 403:
                    doubt = "; if the earlier run had added it, the version before is the same: disable that"
        added = self._call("POST", ":addVersion", {"payload": {"data": data}})
        return f"{self._name}, version {self._number(added)}{doubt}"

    def steps(self, until: datetime | None) -> tuple[Step, ...]:
        apply = "make infra-plan infra-apply STATE=... VARS=..."
        if until is None:
            return (Step("deploy, so that receive_webhook has it", apply),)
        of = f"--project={self.project}"
        query = 'jsonPayload.event="webhook.accepted" AND jsonPayload.code="ok_old"'
        watch = ["gcloud", "logging", "read", query, of, "--freshness=1h", "--limit=3"]
        enabled = ["gcloud", "secrets", "versions", "list", self.secret, of, "--filter=state=ENABLED"]
        disable = ["gcloud", "secrets", "versions", "disable", "VERSION", f"--secret={self.secret}", of]
        both = f'previous_webhook_versions = {{ {self.account} = "VERSION" }}'
        return (
            Step("find the number of the version before", shlex.join(enabled)),
            Step(f"deploy both, with {both} in your .tfvars", apply),
            Step("watch: no delivery that needs the old one (ok_old) may be new", shlex.join(watch)),
            Step(f"drop, after {moment(until)}: take that line out of your .tfvars, then", apply),
            Step("and end it", shlex.join(disable)),
        )

    @property
    def _name(self) -> str:
        return f"secretmanager:projects/{self.project}/secrets/{self.secret}"

    @property
    def _grant(self) -> str:
        words = ["gcloud", "secrets", "add-iam-policy-binding", self.secret, f"--project={self.project}"]
        return shlex.join([*words, "--member=user:YOU", "--role=roles/secretmanager.secretVersionAdder"])

    def _number(self, version: Mapping[str, Any]) -> str:
        found = _VERSION.fullmatch(str(version.get("name")))
        if found is None:
            raise Problem(f"{self._name}: it is not known whether a version was added: the answer makes no sense")
        return found[1]

    def _call(self, method: str, suffix: str, body: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
        """Raises: Problem, without its cause: the request holds the secret."""
        import google.auth
        import requests
        from google.auth.exceptions import GoogleAuthError
        from google.auth.transport.requests import AuthorizedSession

        url = f"{_base()}/v1/projects/{self.project}/secrets/{self.secret}{suffix}"
        try:
            credentials = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])[0]
            session: Any = AuthorizedSession(credentials)  # type: ignore[no-untyped-call]
            # Follows no redirect: it would carry the secret to another host.
            reply = session.request(method, url, json=body, timeout=_SECONDS, allow_redirects=False)
        except GoogleAuthError:
            raise Problem(f"{self._name}: no Google credentials; run `gcloud auth application-default login`") from None
        except requests.RequestException:
            raise Problem(f"{self._name}: no answer; check the network, and try again") from None
        if reply.status_code != 200:
            raise _Answered(reply.status_code, f"{self._name}: {self._mend(reply.status_code)}")
        with suppress(ValueError, RecursionError):
            if isinstance(content := reply.json(), dict):
                return content
        raise Problem(f"{self._name}: the answer makes no sense; check the network, and try again")

    def _mend(self, status: int) -> str:
        match status:
            case 401:
                return "your credentials are not accepted (401); run `gcloud auth application-default login`"
            case 403:
                return f"you may not (403), or the API is off; {self._grant}"
            case 404:
                return "no such secret (404); make it: terraform -chdir=infra apply"
            case 429:
                return "too many requests (429); try again in a minute"
        return f"Secret Manager answered {status}; try again in a minute"


class _Answered(Problem):
    """With another status than 200."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def _base() -> str:
    """Google's address, or what gcloud's own variable names, such as a regional one."""
    variable = "CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER"
    url = os.environ.get(variable, "").rstrip("/")
    if url and not url.startswith("https://") and not on_this_machine(url):
        raise Problem(f"{variable}: a secret goes over https; mend or unset it", USAGE)
    return url or "https://secretmanager.googleapis.com"


def write_private(path: Path, text: str) -> None:
    """All of it or nothing, mode 0600 from the first byte on, and on the disk when this returns. Raises: Problem."""
    fresh = path.with_name(path.name + ".new")
    try:
        # It is what a killed run left. What somebody puts there after this is not ours, and O_EXCL refuses it.
        fresh.unlink(missing_ok=True)
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            os.fchmod(handle, 0o600)
            file.write(text)
            file.flush()
            os.fsync(handle)
        fresh.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as exc:
        raise Problem(f"{path}: cannot be written ({exc.strerror}); make room, or name another place") from None
