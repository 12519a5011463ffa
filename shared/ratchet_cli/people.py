"""What people order: each a command through its door, kept in the history with who gave it and why."""

from pathlib import Path
from typing import Annotated

import typer

from ratchet_cli.options import YAML, Alias, All, Asking, Config, Context, Json, MaybeAlias, Reason
from ratchet_cli.problem import FINDINGS, OK, told

people = typer.Typer()


@people.command()
def rollback(
    alias: Alias,
    reason: Reason,
    promotion: Annotated[
        str | None,
        typer.Option("--promotion", metavar="DECISION", help="End this one, which is being carried out, instead."),
    ] = None,
    config: Config = YAML,
    context: Context = None,
    json: Json = False,
) -> None:
    """Go back to the last good checkpoint, quarantine what serves, and hold the alias."""
    _command("rollback", alias, reason, config, context, json, decision=promotion)


@people.command()
def hold(
    reason: Reason,
    alias: MaybeAlias = None,
    every: All = False,
    config: Config = YAML,
    context: Context = None,
    json: Json = False,
) -> None:
    """Switch automation off, for an alias or for all."""
    _command("hold", _one_or_all(alias, every), reason, config, context, json)


@people.command()
def release(
    reason: Reason,
    alias: MaybeAlias = None,
    every: All = False,
    config: Config = YAML,
    context: Context = None,
    json: Json = False,
) -> None:
    """Switch automation back on."""
    _command("release", _one_or_all(alias, every), reason, config, context, json)


@people.command()
def promote(
    checkpoint: Annotated[str, typer.Argument(metavar="CHECKPOINT", help="Its key, as `ratchet why` shows it.")],
    alias: Alias,
    reason: Reason,
    force: Annotated[bool, typer.Option("--force", help="Even if the policy would refuse it.")] = False,
    config: Config = YAML,
    context: Context = None,
    json: Json = False,
) -> None:
    """Make a checkpoint serve by hand."""
    _command("promote", alias, reason, config, context, json, checkpoint=checkpoint, force=force)


@people.command()
def approve(
    alias: Alias,
    reason: Reason,
    decision: Asking = None,
    config: Config = YAML,
    context: Context = None,
    json: Json = False,
) -> None:
    """Agree to a promotion that waits for people; the vote is on what was measured, and void once that changes."""
    _vote("approve", alias, reason, decision, config, context, json)


@people.command()
def reject(
    alias: Alias,
    reason: Reason,
    decision: Asking = None,
    config: Config = YAML,
    context: Context = None,
    json: Json = False,
) -> None:
    """Refuse a promotion that waits for people."""
    _vote("reject", alias, reason, decision, config, context, json)


def _one_or_all(alias: str | None, every: bool) -> str:
    if (alias is None) is not every:
        raise typer.BadParameter("name an alias, or --all")
    return alias or "*"


def _command(
    verb: str,
    alias: str,
    reason: str,
    config: Path,
    context: str | None,
    json: bool,
    *,
    checkpoint: str | None = None,
    force: bool = False,
    decision: str | None = None,
) -> None:
    with told():
        from ratchet_cli.commands import Order, run

        text, done = run(config, context, Order(verb, alias, reason, checkpoint, force, decision), as_json=json)
        typer.echo(text)
        raise typer.Exit(OK if done else FINDINGS)


def _vote(
    verb: str, alias: str, reason: str, decision: str | None, config: Path, context: str | None, json: bool
) -> None:
    with told():
        from ratchet_cli.commands import Order
        from ratchet_cli.votes import run

        order = Order(verb, alias, reason, decision=decision)
        text, counts = run(config, context, order, typer.echo, as_json=json)
        typer.echo(text)
        raise typer.Exit(OK if counts else FINDINGS)
