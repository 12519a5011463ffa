"""`ratchet rollback | hold | release | promote`: send a command through its door, then wait for what became of it."""

import json
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from ratchet.application.state import load, load_alias, load_keyed
from ratchet.domain.codec import encode
from ratchet.domain.decision import Decision, Outcome, command_key
from ratchet.domain.keys import AliasKey, CheckpointKey, short_id
from ratchet.domain.records import Alias, Checkpoint, Direction
from ratchet.ports import Store
from ratchet_cli.problem import USAGE, Problem
from ratchet_cli.render import place as where
from ratchet_cli.stores import opened, place, read_settings
from ratchet_cli.telling.decision import moved_to
from ratchet_cli.why import by_prefix

PATIENCE_SECONDS = 60.0
_POLL_SECONDS = 0.2
_HTTP_SECONDS = 10.0
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_LONGEST_REASON = 500

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Order:
    """What a person asks for, as typed. `decision` is the one that asks for a vote, or that a roll-back is to end."""

    verb: str
    alias: str
    reason: str
    checkpoint: str | None = None
    force: bool = False
    decision: str | None = None


def run(
    config: Path, context: str | None, order: Order, *, as_json: bool, patience: float = PATIENCE_SECONDS
) -> tuple[str, bool]:
    """What to print, and whether it was done. Raises: Problem."""
    alias = checked(order)
    settings = read_settings(config)
    with opened(settings, context) as store:
        if order.decision is not None:
            order = replace(order, decision=by_prefix(store, order.decision).id)
        # Chosen here, so that the decision is found even if the door's reply is lost.
        command_id = uuid.uuid4().hex
        send(place(settings, context).command_url, order, command_id)
        with waiting(f"waiting for the decision on {order.verb} {order.alias}"):
            decision = decided(store, alias, command_id, patience)
            after = carried_out(store, decision, patience)
        left = load_keyed(store, Checkpoint, decision.baseline) if decision.baseline else None
    done = is_done(after, decision)
    if as_json:
        document = {
            **encode(decision), "short": decision.short, "done": done, "serial_after": moved_to(after, decision),
        }  # fmt: skip
        return json.dumps(document, indent=2), done
    return render(order, decision, after, left.value.step if left else None), done


def render(order: Order, decision: Decision, after: Alias, left: int | None) -> str:
    """What became of a command, and what to do next; `left` is the step that a roll-back went away from."""
    by = f"by {decision.actor}"
    head = f"{decision.short}"
    name = "--all" if order.alias == "*" else order.alias
    what = "every alias" if order.alias == "*" else order.alias
    back = f"back to automatic: ratchet release {name} --reason ..."
    if decision.outcome is Outcome.REJECTED:
        return f"{head} REFUSED  {order.verb} {what}  {by}   {decision.reason.removeprefix('refused: ')}"
    if order.verb == "hold":
        return f"{head} HELD  {what}  {by}: {order.reason}\n{back}"
    if order.verb == "release":
        return f"{head} RELEASED  {what}  {by}: {order.reason}"
    if order.verb == "rollback" and decision.outcome is Outcome.KEPT_CURRENT:
        words = decision.reason.removeprefix(f"{order.reason.strip()}; ")
        until = ""
        if after.intent is not None:
            until = "; the provider's default is set back within minutes, see ratchet status"
        return f"{head} TURNED BACK  {what}  {by}   {words}, alias held{until}\n{back}"
    serial = moved_to(after, decision)
    target = where(decision.candidate, decision.candidate_step) if decision.candidate else "nothing"
    if serial is None:
        if after.intent is None:
            state = "was turned back, or could not be carried out at the provider"
        elif after.intent.direction is Direction.BACK:
            state = "is being turned back"
        else:
            state = "is being carried out"
        return f"{head} {_verb(decision)}  to {target}  {by}   {state}; see ratchet status"
    moved = f"{head} {_verb(decision)}  serial {serial - 1} -> {serial}  {by}"
    if decision.outcome is Outcome.ROLLED_BACK:
        gone = (
            f"step {left}" if left is not None else f"checkpoint {decision.baseline.id if decision.baseline else '?'}"
        )
        held = "alias held" if after.hold is not None else "alias not held"
        return f"{moved}   now {target}; {gone} quarantined, {held}   apps follow within 30 s\n{back}"
    undo = f"undo: ratchet rollback {order.alias} --reason ..."
    return f"{moved}   now {target}   apps follow within 30 s\n{undo}"


def _verb(decision: Decision) -> str:
    return "ROLLED BACK" if decision.outcome is Outcome.ROLLED_BACK else "PROMOTED"


def checked(order: Order) -> AliasKey:
    """Raises: Problem: what the door would refuse without saying why."""
    try:
        alias = AliasKey.parse(order.alias)
    except ValueError as exc:
        raise Problem(f"{order.alias}: not LINE@ALIAS, such as support-router@prod", USAGE) from exc
    if order.checkpoint is not None:
        try:
            CheckpointKey.parse(order.checkpoint)
        except ValueError as exc:
            text = f"{order.checkpoint}: not a checkpoint's key; write provider:account:location:job/id"
            raise Problem(text, USAGE) from exc
    reason = order.reason.strip()
    if not reason or len(reason) > _LONGEST_REASON or not reason.isprintable():
        raise Problem(f"--reason: write one line of 1 to {_LONGEST_REASON} characters", USAGE)
    return alias


def send(url: str, order: Order, command_id: str) -> None:
    """Raises: Problem: it was not accepted."""
    body = {"verb": order.verb, "alias": order.alias, "reason": order.reason, "id": command_id}
    body |= {name: value for name in ("checkpoint", "decision") if (value := getattr(order, name)) is not None}
    content = json.dumps({**body, **({"force": True} if order.force else {})}).encode()
    headers = {"Content-Type": "application/json", **_identity(url)}
    request = urllib.request.Request(url, content, headers, method="POST")  # noqa: S310  (the scheme is checked)
    local = urlsplit(url).hostname in _LOOPBACK
    opener = urllib.request.build_opener(*([urllib.request.ProxyHandler({})] if local else []))
    try:
        with opener.open(request, timeout=_HTTP_SECONDS) as reply:
            status = reply.status
    except urllib.error.HTTPError as exc:
        status = exc.code
    except OSError as exc:
        mend = "start `ratchet up`" if local else "check `command_url` in the configuration"
        raise Problem(f"{url}: no command door answers there; {mend}") from exc
    if status in (401, 403):
        raise Problem(f"{url}: you may not give commands ({status}); ask for the right to call receive_command")
    if status == 503:
        raise Problem(f"{url}: the command could not be queued; try again")
    if status != 202:
        raise Problem(f"{url}: answered {status}, not 202; is this the command door of this version of ratchet?")


def _identity(url: str) -> dict[str, str]:
    """A Google identity token for a deployed door; on this machine none is asked for."""
    place_ = urlsplit(url)
    if place_.scheme == "http" and place_.hostname in _LOOPBACK:
        return {}
    if place_.scheme != "https":
        raise Problem(f"{url}: a command goes over https, or http on this machine; mend `command_url`", USAGE)
    import google.auth.transport.requests
    from google.auth import exceptions
    from google.oauth2 import id_token

    request = google.auth.transport.requests.Request()
    try:
        token = id_token.fetch_id_token(request, f"https://{place_.netloc}")  # type: ignore[no-untyped-call]
    except exceptions.DefaultCredentialsError:
        token = _users_token(request)
    except exceptions.GoogleAuthError as exc:
        raise Problem("no Google identity; run `gcloud auth application-default login`") from exc
    return {"Authorization": f"Bearer {token}"}


def _users_token(request: Any) -> str:
    """A person's own credentials bring their identity token with each refresh."""
    import google.auth
    from google.auth import exceptions

    try:
        credentials: Any = google.auth.default()[0]
        credentials.refresh(request)
        return str(credentials.id_token)
    except (exceptions.GoogleAuthError, AttributeError) as exc:
        raise Problem("no Google identity; run `gcloud auth application-default login`") from exc


def decided(store: Store, alias: AliasKey, command_id: str, patience: float) -> Decision:
    key = command_key(alias, command_id)
    found = until(lambda: load(store, Decision, key), patience)
    if found is None:
        raise Problem(
            f"accepted, but nobody has decided within {patience:.0f} s; it expires ten minutes after it was sent. "
            f"Later: ratchet why {short_id(key)}; and see that `ratchet up` still runs"
        )
    return found.value


def carried_out(store: Store, decision: Decision, patience: float) -> Alias:
    """The alias once the decision is carried out or given up; as it is then, if that takes too long."""

    def ended() -> Alias | None:
        alias = load_alias(store, decision.alias).value
        open_still = alias.intent is not None and alias.intent.decision == decision.id
        return None if open_still else alias

    return until(ended, patience) or load_alias(store, decision.alias).value


def is_done(after: Alias, decision: Decision) -> bool:
    if decision.outcome in (Outcome.PROMOTED, Outcome.ROLLED_BACK):
        return moved_to(after, decision) is not None
    return decision.outcome is not Outcome.REJECTED


def until(look: Callable[[], T | None], patience: float) -> T | None:
    end = time.monotonic() + patience
    while True:
        found = look()
        if found is not None or time.monotonic() >= end:
            return found
        time.sleep(_POLL_SECONDS)


def waiting(text: str) -> AbstractContextManager[object]:
    from rich.console import Console

    return Console(stderr=True).status(text)
