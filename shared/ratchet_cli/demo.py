"""`ratchet demo`: play a scenario against the whole system, kill what it says, and report what came of it.

The driver knows no story: it starts everything, waits until nothing is open any more, and reads what is there then.
"""

import json
import os
from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ratchet.domain.decision import Decision, Outcome
from ratchet.runtime.settings import SettingsError
from ratchet_cli import emulators, report, screen, stage
from ratchet_cli.emulators import Jars, NoEmulators
from ratchet_cli.processes import NotReady
from ratchet_cli.report import Report
from ratchet_cli.theatre import Audience, Ended, Theatre, draw_kills, staged
from ratchet_sim.scenario import ScenarioError

_KEPT = Path("build", "demo")
_SECONDS_PER_KILL = 2.5
_RECOVERED_SECONDS = 15.0  # two leases, and what else a death costs
_COLOURS = {
    Outcome.PROMOTED: "bold green",
    Outcome.REJECTED: "red",
    Outcome.INCONCLUSIVE: "yellow",
    Outcome.ROLLED_BACK: "bold yellow",
}


def run(
    scenario: Path | None = None,
    seed: int | None = None,
    backend: str = "embedded",
    kills: int = 0,
    report: Path | None = None,
    keep: Path | None = None,
    console: Console | None = None,
) -> int:
    """0 when the scenario settled in its time (and, with kills, came out the same); 1 when not; 2 when it cannot run.

    `seed` draws the moments and victims of random kills; where none is given, it is the scenario's own.
    """
    console = console or Console()
    source, folder = scenario or stage.BUILTIN, (keep or _KEPT).absolute()
    try:
        jars = emulators.find() if backend == "emulators" else None
        if kills:
            return _with_kills(console, source, folder, jars, kills, seed, report)
        with staged(source, folder, jars, Audience(console)) as theatre:
            _announce(console, theatre)
            ended = theatre.play()
            _conclude(console, theatre, ended)
    except (ScenarioError, NoEmulators, NotReady, SettingsError, OSError) as exc:
        console.print(Text(str(exc), style="red"))
        return 2
    _save(console, ended.report, report)
    return 0 if ended.open is None else 1


def _with_kills(
    console: Console, source: Path, folder: Path, jars: Jars | None, kills: int, seed: int | None, report: Path | None
) -> int:
    """The scenario without kills, then with them: the same final state, or 1."""
    with staged(source, folder / "without-kills", jars, Audience(console, quiet=True)) as theatre:
        console.print("first the scenario without random kills, to compare with")
        calm = theatre.play()
        gap = stage.least_gap(theatre.stage.scenario.spec)
        dice = theatre.stage.scenario.spec.seed if seed is None else seed
    console.print(
        f"it settled in {calm.seconds:.0f} s with state {calm.hash[:16]}; now with {kills} kills, seed {dice}"
    )
    # So many deaths take time to recover from; a slower story keeps its events in their order all the same.
    slower = max(1.0, kills * _SECONDS_PER_KILL / calm.seconds, _RECOVERED_SECONDS / gap)
    with staged(source, folder, jars, Audience(console), slower) as theatre:
        ended = theatre.play(draw_kills(kills, dice, calm.seconds * slower * 0.9))
        _conclude(console, theatre, ended)
    _save(console, ended.report, report)
    verdict = "[green]the same[/]" if ended.hash == calm.hash else "[red]NOT the same[/]"
    console.print(f"{kills} kills, seed {dice}: state {ended.hash[:16]}, without kills {calm.hash[:16]}: {verdict}")
    return 0 if ended.hash == calm.hash and calm.open is None and ended.open is None else 1


def _announce(console: Console, theatre: Theatre) -> None:
    spec, about = theatre.stage.scenario.spec, theatre.stage.scenario.metadata
    console.print(Text.assemble((about.name, "bold"), ": ", about.description), soft_wrap=True)
    pace = f"one second here is {spec.clock.factor:g} of the story's, which begins at {spec.clock.start:%H:%M}"
    bus = "SQLite and its own queue" if theatre.plan.emulators is None else "the Firestore and Pub/Sub emulators"
    console.print(f"[dim]nine functions on {bus}, two simulated providers; {pace}[/]", highlight=False, soft_wrap=True)


def _conclude(console: Console, theatre: Theatre, ended: Ended) -> None:
    console.rule("[bold]what serves now[/]")
    console.print(_serving(ended.report))
    console.rule("[bold]why[/]")
    for decision in report.decisions(theatre.store):
        _explain(console, decision)
    events, writes = ended.report["events"], len(ended.report["provider_writes"])
    counted = ", ".join(f"{number} {name}" for name, number in events.items() if name != "accepted")
    often = "once" if writes == 1 else f"{writes} times"
    console.print(f"{events['accepted']} events handled: {counted}; the provider's default was written {often}")
    if ended.open is not None:
        console.print(f"[red]not settled[/] after {ended.seconds:.0f} s: {ended.open}")
        return
    console.print(f"[green]settled[/] in {ended.seconds:.0f} s")
    if theatre.plan.emulators is None:
        config = os.path.relpath(theatre.plan.config)
        console.print("ask further, all is kept:")
        for alias in ended.report["aliases"]:
            command = f"ratchet why {alias['line']}@{alias['alias']} --config {config}"
            console.print(f"  {command}", style="bold", highlight=False, soft_wrap=True)


def _serving(found: Report) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("alias", "serves", "step", "serial", "model name or endpoint"):
        table.add_column(heading, overflow="fold")
    for alias in found["aliases"]:
        served = screen.checkpoint(alias["checkpoint"]) if alias["checkpoint"] else "nothing yet"
        cells = (f"{alias['line']}@{alias['alias']}", served, alias["step"], alias["serial"], alias["target"] or "")
        table.add_row(*(Text("-" if cell is None else str(cell)) for cell in cells))
    for model, checkpoint in found["provider_defaults"].items():
        table.add_row(Text("Vertex default", style="dim"), Text(f"checkpoint {checkpoint}"), "", "", Text(model))
    return table


def _explain(console: Console, decision: Decision) -> None:
    outcome = Text(screen.words(decision.outcome).upper(), style=_COLOURS.get(decision.outcome, "cyan"))
    about = f"  {decision.short}  job {decision.job.id}" if decision.job else f"  {decision.short}"
    console.print(Text.assemble((str(decision.alias), "bold"), "  ", outcome, (about, "dim")))
    for part in decision.reason.split("; "):
        console.print(Padding(Text(part), (0, 0, 0, 4)))


def _save(console: Console, found: Report, path: Path | None) -> None:
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        console.print(f"report: {path}", highlight=False)
