"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

Config = Annotated[
    Path, typer.Option("--config", "-c", metavar="FILE", envvar="RATCHET_CONFIG", help="The configuration.")
]
Context = Annotated[
    str | None,
    typer.Option("--context", metavar="NAME", envvar="RATCHET_CONTEXT", help="A system named under `contexts` there."),
]
Json = Annotated[bool, typer.Option("--json", help="Answer in JSON.")]
Reason = Annotated[str, typer.Option("--reason", "-r", metavar="TEXT", help="Why; it is kept for ever.")]
Alias = Annotated[str, typer.Argument(metavar="LINE@ALIAS", help="Such as support-router@prod.")]
MaybeAlias = Annotated[str | None, typer.Argument(metavar="LINE@ALIAS", help="Such as support-router@prod.")]
All = Annotated[bool, typer.Option("--all", help="Every alias.")]
AnchorFile = Annotated[
    Path | None,
    typer.Option("--anchors", metavar="FILE", help="Heads kept elsewhere; by default what `up` keeps by its store."),
]
DeathCode = Annotated[
    str | None, typer.Option("--reason", "-r", metavar="CODE", help="Only those that died of it, such as given_up.")
]
Since = Annotated[
    str | None, typer.Option("--since", metavar="TIME|30m|2d", help="Only those that died since then, or so long ago.")
]
Asking = Annotated[
    str | None, typer.Option("--decision", metavar="d-PREFIX", help="The one that asks, where several jobs wait.")
]
OpenAIProject = Annotated[
    str, typer.Option("--account", metavar="PROJECT", help="An OpenAI account of the configuration.")
]
WebhookUrl = Annotated[str, typer.Option("--url", metavar="URL", help="The https address of receive_webhook.")]
SecretPlace = Annotated[
    str, typer.Option("--secret", metavar="DEST", help="file:PATH, or secretmanager:projects/P/secrets/S.")
]
WouldDo = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]
YAML = Path("ratchet.yaml")
