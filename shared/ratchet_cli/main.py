"""The `ratchet` command. Exit status: 0 ok, 1 findings or a refusal, 2 wrong usage.

What a command needs is imported when it runs, so that `ratchet --help` answers at once.
"""

from pathlib import Path
from typing import Annotated, Literal

import typer

from ratchet_cli.options import (
    YAML,
    Alias,
    AnchorFile,
    Config,
    Context,
    DeathCode,
    Json,
    OpenAIProject,
    SecretPlace,
    Since,
    WebhookUrl,
    WouldDo,
)
from ratchet_cli.people import people
from ratchet_cli.problem import FINDINGS, OK, told

app = typer.Typer(
    name="ratchet",
    help="Watches fine-tuning jobs, smoke-tests every checkpoint, and lets promotion rules decide which one serves.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    epilog="Start with: ratchet init && ratchet doctor && ratchet up. Or see it all at work: ratchet demo.",
)
audit = typer.Typer(name="audit", help="Verify the history, and ask what served at a time.", no_args_is_help=True)
app.add_typer(audit)
dead_letters = typer.Typer(
    name="dead-letters", help="Look at what could not be handled, and replay it after the fix.", no_args_is_help=True
)
app.add_typer(dead_letters)
webhook = typer.Typer(
    name="webhook", help="Have OpenAI send its webhooks; their secret is stored and never shown.", no_args_is_help=True
)
app.add_typer(webhook)
app.add_typer(people)


@app.command()
def init(
    config: Config = YAML,
    vertex: Annotated[
        list[str] | None,
        typer.Option(metavar="PROJECT:NUMBER:LOCATION", help="A Vertex project, with its number. May repeat."),
    ] = None,
    openai: Annotated[
        list[str] | None,
        typer.Option(metavar="PROJECT", help="The OpenAI project that OPENAI_API_KEY belongs to. May repeat."),
    ] = None,
) -> None:
    """Write ratchet.yaml, one policy and one suite to begin with."""
    with told():
        from ratchet_cli.init import run

        typer.echo(run(config, vertex or [], openai or []))


@app.command()
def doctor(config: Config = YAML, context: Context = None, json: Json = False) -> None:
    """Check credentials, providers, store and rules with one harmless call each."""
    with told():
        from ratchet_cli.doctor import run

        raise typer.Exit(run(config, context, as_json=json))


@app.command()
def up(
    config: Config = YAML,
    port: Annotated[int, typer.Option(min=1, max=65500, help="The first of nine ports on 127.0.0.1.")] = 8080,
) -> None:
    """Run the whole system on this machine."""
    with told():
        from ratchet_cli.up import run

        raise typer.Exit(run(config, port) or OK)


@app.command()
def status(config: Config = YAML, context: Context = None, json: Json = False) -> None:
    """Show what serves, what is waited for, and what wants a person."""
    with told():
        from ratchet_cli.status import run

        typer.echo(run(config, context, as_json=json))


@app.command()
def why(
    what: Annotated[str, typer.Argument(metavar="LINE@ALIAS|d-PREFIX|CHECKPOINT", help="What to explain.")],
    config: Config = YAML,
    context: Context = None,
    json: Json = False,
) -> None:
    """Explain a decision from what was stored with it: an alias's last, any by its id, or a checkpoint's."""
    with told():
        from ratchet_cli.why import run

        typer.echo(run(config, context, what, as_json=json))


@app.command()
def check(
    config: Config = YAML,
    policies: Annotated[Path | None, typer.Option(metavar="DIR", help="Instead of the configured folder.")] = None,
    suites: Annotated[Path | None, typer.Option(metavar="DIR", help="Instead of the configured folder.")] = None,
    json: Json = False,
) -> None:
    """Check policies and suites; every finding says file, line and mend."""
    with told():
        from ratchet_cli.check import run

        text, clean = run(config, policies, suites, as_json=json)
        typer.echo(text)
        raise typer.Exit(OK if clean else FINDINGS)


@app.command()
def smoke(
    checkpoint: Annotated[
        str | None, typer.Argument(metavar="CHECKPOINT", help="Its key, provider:account:location:job/id.")
    ] = None,
    target: Annotated[
        str | None, typer.Option(metavar="NAME", help="Or any endpoint or model of an account of yours.")
    ] = None,
    suite: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Which suite. May repeat.")] = None,
    junit: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the results there, for CI.")] = None,
    report: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the results there, as JSON.")] = None,
    config: Config = YAML,
    context: Context = None,
    json: Json = False,
) -> None:
    """Ask a suite of a checkpoint now, compared case by case with what serves. It costs calls, and stores nothing."""
    if (checkpoint is None) is (target is None):
        raise typer.BadParameter("name a checkpoint, or a target with --target")
    with told():
        from ratchet_cli import smoke as by_hand
        from ratchet_cli.screen import progress

        asked = by_hand.Asked(checkpoint, target, suite or ())
        tested = by_hand.run(config, context, asked, None if json else progress)
        for path, text in ((junit, by_hand.junit), (report, by_hand.document)):
            if path is not None:
                path.write_text(text(tested), encoding="utf-8")
        typer.echo(by_hand.document(tested) if json else "\n".join(map(by_hand.render, tested)))
        raise typer.Exit(OK if all(each.clean for each in tested) else FINDINGS)


@app.command()
def schema(kind: Annotated[Literal["policy", "suite"], typer.Argument(help="What it is of.")]) -> None:
    """Print the JSON Schema by which an editor completes and checks such a file."""
    with told():
        from ratchet_cli.schema import run

        typer.echo(run(kind))


@app.command()
def backtest(
    policy: Annotated[Path, typer.Argument(metavar="POLICY", help="The file of one policy, of any mode.")],
    suites: Annotated[Path | None, typer.Option(metavar="DIR", help="Instead of the configured folder.")] = None,
    since: Annotated[str | None, typer.Option(metavar="TIME|30d", help="Only what was decided since then.")] = None,
    config: Config = YAML,
    context: Context = None,
    json: Json = False,
) -> None:
    """Show what a policy would have decided of what was decided for its alias; nothing is written."""
    with told():
        from ratchet_cli.backtest import run

        typer.echo(run(config, context, policy, suites, since, as_json=json))


@audit.command()
def verify(
    export: Annotated[Path | None, typer.Option(metavar="FILE", help="Write every row there, as JSON lines.")] = None,
    anchors: AnchorFile = None,
    config: Config = YAML,
    context: Context = None,
    json: Json = False,
) -> None:
    """Check that no row of any history was changed, dropped or added, and that it leads to what is stored."""
    with told():
        from ratchet_cli.audit import run_verify

        text, clean = run_verify(config, context, anchors, export, as_json=json)
        typer.echo(text)
        raise typer.Exit(OK if clean else FINDINGS)


@audit.command()
def at(
    time: Annotated[str, typer.Argument(metavar="TIME", help="With its zone, such as 2026-11-22T14:30Z.")],
    alias: Alias,
    anchors: AnchorFile = None,
    config: Config = YAML,
    context: Context = None,
    json: Json = False,
) -> None:
    """Tell what served at a time, from when to when, and who decided it."""
    with told():
        from ratchet_cli.served import run_at

        text, clean = run_at(config, context, time, alias, anchors, as_json=json)
        typer.echo(text)
        raise typer.Exit(OK if clean else FINDINGS)


@dead_letters.command(name="list")
def list_(
    reason: DeathCode = None,
    since: Since = None,
    every: Annotated[bool, typer.Option("--all", help="Also those that were replayed.")] = False,
    config: Config = YAML,
    context: Context = None,
    json: Json = False,
) -> None:
    """List what is dead, the oldest first."""
    with told():
        from ratchet_cli.dead_letters import Wanted, run_list

        typer.echo(run_list(config, context, Wanted(reason, since, replayed=every), as_json=json))


@dead_letters.command()
def show(
    event_id: Annotated[str, typer.Argument(metavar="ID", help="As `dead-letters list` shows it.")],
    config: Config = YAML,
    context: Context = None,
    json: Json = False,
) -> None:
    """Show one with its attributes and bytes; they came from outside, and may hold what is not for everybody."""
    with told():
        from ratchet_cli.dead_letters import run_show

        typer.echo(run_show(config, context, event_id, as_json=json))


@dead_letters.command()
def replay(
    ids: Annotated[list[str] | None, typer.Option("--id", metavar="ID", help="This one. May repeat.")] = None,
    reason: DeathCode = None,
    since: Since = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go where.")] = False,
    config: Config = YAML,
    context: Context = None,
    json: Json = False,
) -> None:
    """Publish dead letters again, five a second: these, or all of a reason or a time that were not replayed yet."""
    if bool(ids) is (reason is not None or since is not None):
        raise typer.BadParameter("name each with --id, or choose with --reason and --since")
    with told():
        from ratchet_cli.dead_letters import Wanted
        from ratchet_cli.replay import run

        chosen = ids or Wanted(reason, since)
        raise typer.Exit(run(config, context, chosen, typer.echo, dry_run=dry_run, as_json=json))


@webhook.command()
def register(
    account: OpenAIProject,
    url: WebhookUrl,
    secret: SecretPlace,
    dry_run: WouldDo = False,
    config: Config = YAML,
    json: Json = False,
) -> None:
    """Make the endpoint for the ends of fine-tuning jobs, unless it is there, and store its secret."""
    with told():
        from ratchet_cli.webhook import Asked, run

        text, good = run(config, Asked("register", account, url, secret), dry_run=dry_run, as_json=json)
        typer.echo(text)
        raise typer.Exit(OK if good else FINDINGS)


@webhook.command()
def rotate(
    account: OpenAIProject,
    url: WebhookUrl,
    secret: SecretPlace,
    again: Annotated[bool, typer.Option("--again", help="Even if it was changed within the last 24 hours.")] = False,
    dry_run: WouldDo = False,
    config: Config = YAML,
    json: Json = False,
) -> None:
    """Have a new secret made and store it; the old one holds for 24 hours more."""
    with told():
        from ratchet_cli.webhook import Asked, run

        text, good = run(config, Asked("rotate", account, url, secret, again), dry_run=dry_run, as_json=json)
        typer.echo(text)
        raise typer.Exit(OK if good else FINDINGS)


@app.command()
def demo(
    scenario: Annotated[Path | None, typer.Option(metavar="FILE", help="Instead of the built-in one.")] = None,
    seed: Annotated[int | None, typer.Option(help="For everything random.")] = None,
    backend: Annotated[Literal["embedded", "emulators"], typer.Option(help="What it runs on.")] = "embedded",
    kills: Annotated[int, typer.Option(min=0, help="Kill our processes this often, at random points.")] = 0,
    report: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the report here, as JSON.")] = None,
    keep: Annotated[Path | None, typer.Option(metavar="DIR", help="Keep store and logs there.")] = None,
) -> None:
    """Show the whole system at work on simulated providers; no account needed."""
    with told():
        from ratchet_cli.demo import run

        raise typer.Exit(run(scenario, seed, backend, kills, report, keep) or OK)


@app.command()
def simulate(
    scenario: Annotated[Path, typer.Option(metavar="FILE", help="Jobs, checkpoints, faults.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="On 127.0.0.1; 0 takes a free one.")] = 8070,
    state: Annotated[Path | None, typer.Option(metavar="DIR", help="Keep the simulators' state there.")] = None,
) -> None:
    """Serve simulated providers, and print the lines that point `ratchet up` at them."""
    with told():
        from ratchet_cli.simulate import run

        raise typer.Exit(run(scenario, port, state) or OK)
