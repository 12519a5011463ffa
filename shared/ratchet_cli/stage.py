"""A scenario made runnable: its folder, the ratchet.yaml that it implies, and the simulator that plays it.

Only what the scenario says goes into the settings, so that a demo and `ratchet up` see the same system.
"""

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from ratchet_cli.processes import Command
from ratchet_sim.scenario import Scenario, Spec, load

SIMULATOR = "simulator"
_SHARED = Path(__file__).resolve().parents[1]
BUILTIN = _SHARED / "ratchet_sim" / "scenarios" / "builtin.yaml"

# As short as a chain of time-outs can be made that still holds on a busy machine.
LIMITS: Mapping[str, float] = {
    "slice": 2,
    "budget": 3,
    "function_timeout": 4,
    "ack_deadline": 5,
    "lease": 6,
    "provider_timeout": 2,
    "skew": 0.5,
}

# Pub/Sub's least deadline is 10 s.
LIMITS_PUBSUB: Mapping[str, float] = {
    **LIMITS,
    "budget": 4,
    "function_timeout": 6,
    "ack_deadline": 10,
    "lease": 12,
    "skew": 1,
}


@dataclass(frozen=True, slots=True)
class Stage:
    scenario: Scenario
    folder: Path
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def config(self) -> Path:
        return self.folder / "ratchet.yaml"

    @property
    def environment(self) -> Mapping[str, str]:
        """What points Ratchet at the simulator; everything in it is made up, and safe to print."""
        found = {
            "OPENAI_BASE_URL": f"{self.url}/openai/v1",
            "RATCHET_VERTEX_BASE_URL": f"{self.url}/vertex",
            "RATCHET_CLOCK_URL": self.url,
        }
        for number, account in enumerate(self._openai()):
            found[_key_variable(number)] = account.api_key
            found[_secret_variable(number)] = " ".join(account.webhook_secrets)
        return found

    def write_config(self, store: str, limits: Mapping[str, float] = LIMITS) -> None:
        spec = self.scenario.spec
        settings: dict[str, Any] = {
            "store": store,
            "since": (spec.since or spec.clock.start).isoformat(),
            "policies_dir": str(_folder(spec.policies, self.folder / "policies")),
            "suites_dir": str(_folder(spec.suites, self.folder / "suites")),
            "limits": dict(limits),
            "providers": {
                "vertex": [
                    {"project": each.project or each.account, "account": each.account, "location": each.location}
                    for each in spec.accounts
                    if each.provider == "vertex"
                ],
                "openai": [
                    {"account": each.account, "api_key_env": _key_variable(number)}
                    | ({"webhook_secrets_env": _secret_variable(number)} if each.webhook_secrets else {})
                    for number, each in enumerate(self._openai())
                ],
            },
        }
        self.config.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")

    def simulator(self) -> Command:
        state = ["--state", str(self.folder / "simulator"), "--port", str(self.port)]
        arguments = [sys.executable, "-m", "ratchet_sim.server", "--scenario", str(self.folder / "scenario.yaml")]
        return Command(SIMULATOR, [*arguments, *state], {"PYTHONPATH": str(_SHARED)}, self.port)

    def _openai(self) -> list[Any]:
        return [account for account in self.scenario.spec.accounts if account.provider == "openai"]


def set_up(source: Path, folder: Path, port: int, slower: float = 1.0, *, keep_state: bool = False) -> Stage:
    """A folder with its own copy of the scenario, its clock `slower` by that factor.

    What an earlier run left in the folder goes, unless `keep_state`.

    Raises:
        ScenarioError: the file is not a scenario.
        OSError: it cannot be read, or the folder not written.
    """
    load(source)
    tree = yaml.safe_load(source.read_text(encoding="utf-8"))
    spec = tree["spec"]
    spec["clock"]["factor"] = spec["clock"].get("factor", 1.0) / slower
    # A bare `on:` is true to this reader of YAML.
    spec["kills"] = [
        {"function": kill["function"], "on": kill.get("on", kill.get(True))} for kill in spec.get("kills", ())
    ]
    for name in ("policies", "suites"):
        if spec.get(name):
            spec[name] = str((source.parent / spec[name]).resolve())
    if not keep_state:
        clear(folder)
    folder.mkdir(parents=True, exist_ok=True)
    copy = folder / "scenario.yaml"
    copy.write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
    return Stage(load(copy), folder, port)


def least_gap(spec: Spec) -> float:
    """Real seconds between the ends of two jobs that may be of one line: what comes later may depend on the former."""
    ends: dict[str, list[timedelta]] = {}
    for job in spec.jobs:
        if job.ends is not None and job.checkpoints:
            ends.setdefault(repr(sorted(job.labels.items())), []).append(job.ends.at)
    gaps = [later - sooner for told in ends.values() for sooner, later in pairwise(sorted(told))]
    return min((gap.total_seconds() / spec.clock.factor for gap in gaps), default=float("inf"))


def clear(folder: Path) -> None:
    """Make the folder, and take out of it what an earlier run left; nothing else that lies there is touched."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(folder / "simulator", ignore_errors=True)
    for name in (
        "ratchet.db",
        "ratchet.db-wal",
        "ratchet.db-shm",
        "ratchet.anchors.jsonl",
        "log.jsonl",
        "delivery.json",
    ):
        (folder / name).unlink(missing_ok=True)


def _folder(named: Path | None, empty: Path) -> Path:
    if named is None:
        empty.mkdir(exist_ok=True)
        return empty
    return Path(os.path.abspath(named))


def _key_variable(number: int) -> str:
    return "OPENAI_API_KEY" if number == 0 else f"OPENAI_API_KEY_{number + 1}"


def _secret_variable(number: int) -> str:
    return "OPENAI_WEBHOOK_SECRET" if number == 0 else f"OPENAI_WEBHOOK_SECRET_{number + 1}"
