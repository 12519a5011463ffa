"""`make chaos SECONDS=n`: the whole system on the emulators, through a storm and with a bus that forgets.

0: every promise was kept. 1: one was broken, or the system did not settle. 2: it cannot run here.
"""

import argparse
import random
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from chaos import run
from chaos.evidence import Kind
from chaos.promises import events, provider_writes
from chaos.run import Ended
from ratchet_cli.emulators import NoEmulators
from ratchet_cli.processes import NotReady
from support.figures import record

_FOLDER = Path(__file__).resolve().parents[2] / "build" / "chaos"
_SHOWN = 10


def main(arguments: Sequence[str] | None = None) -> int:
    asked = argparse.ArgumentParser(prog="chaos", description=__doc__)
    asked.add_argument("--seconds", type=float, default=60.0, help="how long the storm lasts")
    asked.add_argument("--seed", type=int, help="what is drawn; where none is given, another one each time")
    options = asked.parse_args(arguments)
    seed = random.SystemRandom().randrange(10**6) if options.seed is None else options.seed
    # Whoever ends us wants our processes ended, too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    print(f"seed {seed}", flush=True)
    begun = time.monotonic()
    try:
        stormy = run.storm(_fresh("storm"), seed, options.seconds, _say)
        _tell("storm", stormy)
        forgetful = run.bus_loss(_fresh("bus"), seed, _say)
        _tell("bus loss", forgetful)
    except (NoEmulators, NotReady) as exc:
        print(exc)
        return 2
    except KeyboardInterrupt:
        print("ended by hand")
        return 1
    figures = {
        "seed": seed,
        **_figures(stormy),
        **{f"bus loss: {name}": value for name, value in _figures(forgetful).items()},
        "seconds in all": round(time.monotonic() - begun),
    }
    bars = [f"{part}: {bar}" for part, ended in (("storm", stormy), ("bus loss", forgetful)) for bar in _bars(ended)]
    command = f"make chaos SECONDS={options.seconds:.0f}"
    record(f"Chaos of {options.seconds:.0f} s", command, figures, lists={"Bars": bars})
    for name, value in figures.items():
        print(f"  {name}: {value}")
    print(*(f"  {bar}" for bar in bars), sep="\n")
    print("every promise was kept" if stormy.good and forgetful.good else f"BROKEN; again: --seed {seed}")
    return 0 if stormy.good and forgetful.good else 1


def _fresh(name: str) -> Path:
    folder = _FOLDER / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _say(text: str) -> None:
    print(text, flush=True)


def _tell(name: str, ended: Ended) -> None:
    for promise, findings in ended.broken.items():
        if findings:
            _say(f"{name}: BROKEN: {promise}: {len(findings)}")
            for finding in findings[:_SHOWN]:
                _say(f"    {finding}")
    settled = "did not settle" if ended.drained is None else f"settled {ended.drained:.0f} s after the last disturbance"
    _say(f"{name}: {settled}, {sum(map(len, ended.broken.values()))} breaches of {len(ended.broken)} promises")


def _bars(ended: Ended) -> Sequence[str]:
    """What had to hold, and what was measured."""
    drained = "never" if ended.drained is None else f"{ended.drained:.1f} s after"
    promises = (f"{promise}: {len(findings)} breaches" for promise, findings in ended.broken.items())
    return [f"settled within {run.DRAINED_WITHIN:.0f} s of the last disturbance: {drained}", *promises]


def _figures(ended: Ended) -> Mapping[str, object]:
    evidence = ended.evidence
    rows = evidence.rows
    sent = Counter(each.kind for each in evidence.sent if each.accepted or each.kind is Kind.FORGED)
    outcomes = Counter(line["outcome"] for line in evidence.lines if line.get("event") == "event.settled")
    spans, writes = provider_writes.spans(evidence), provider_writes.writes(evidence)
    return {
        **ended.figures,
        **{f"{kind}s sent": sent[kind] for kind in Kind if sent[kind]},
        "events accepted, each told to its workers": len(events.accepted(evidence)),
        **{f"handlings settled as {outcome}": count for outcome, count in sorted(outcomes.items())},
        "handlings answered 5xx": sum(line.get("event") == "event.retried" for line in evidence.lines),
        "checkpoints recorded": len(rows["checkpoints"]),
        "dead letters": len(rows["dead_letters"]),
        "history rows": len(rows["history"]),
        "promotions": sum(row.data["kind"] == "applied" for row in rows["history"]),
        "promotions that write a default": sum(span.applied for span in spans),
        "provider writes": len(writes),
        "provider writes for each intent that may write": f"{len(writes) / len(spans):.2f}" if spans else "-",
        "takeovers": provider_writes.takeovers(evidence),
        "reads of aliases checked": len(evidence.reads),
        "seconds to settle": "never" if ended.drained is None else round(ended.drained, 1),
        "broken promises": sum(map(len, ended.broken.values())),
    }


if __name__ == "__main__":
    sys.exit(main())
