"""What happens at the providers in a run: jobs over four model lines, each better than the one before if it passes.

Everything is drawn from the seed. The story's clock runs `FACTOR` times as fast as the real one: so fast that its
waits of ten minutes end within the run, and so slow that a worker that was frozen thaws before its model's quiet ends.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

FACTOR = 40.0
PROJECT, NUMBER, LOCATION = "chaos-ml", "333333333333", "us-central1"
ACCOUNT, KEY = "proj_chaos", "sk-sim-chaos"
SECRET = "whsec_Y2hhb3MtY2hhb3MtY2hhb3MtY2hhb3MtY2hhb3M="
ALIASES = ("router@prod", "router@canary", "tagger@prod", "faq@prod", "mail@prod")
_VERTEX, _OPENAI = ("router", "tagger"), ("faq", "mail")
_CASES = {"2 + 2": "4", "3 * 3": "9", "10 - 7": "3", "12 / 4": "3"}
CALLS_ALLOWED = len(_CASES) * 3 + 12
"""To one target, probes apart."""
_FIRST_END = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Times are real seconds after the story's start. `checkpoints`: when each is shown."""

    key: str
    created: float
    ends: float
    checkpoints: Mapping[str, float]
    told: Mapping[str, Any]

    @property
    def id(self) -> str:
        return self.key.rpartition(":")[2]

    @property
    def sends_webhooks(self) -> bool:
        return self.key.startswith("openai:")


def draw(chance: random.Random, seconds: float, count: int) -> Sequence[Job]:
    """`count` jobs that end within `seconds`."""
    ends = sorted(chance.uniform(_FIRST_END, seconds) for _ in range(count))
    lines = [line for _ in range(count) for line in (*_VERTEX, *_OPENAI)][:count]
    chance.shuffle(lines)
    return [
        _vertex(chance, number, line, end) if line in _VERTEX else _openai(chance, number, line, end)
        for number, (line, end) in enumerate(zip(lines, ends, strict=True), start=1)
    ]


def _vertex(chance: random.Random, number: int, line: str, end: float) -> Job:
    created = max(0.0, end - chance.uniform(4, 10))
    shown = sorted(chance.uniform(created, end) for _ in range(chance.randint(2, 3)))
    checkpoints = [
        {
            "id": str(place),
            "epoch": place,
            "step": place * 100,
            "at": _story(at),
            "endpoint": f"{number}0{place}",
            "answers_after": _story(chance.uniform(0, 3)),
            "quality": _quality(chance),
            "metrics": {"pointwise": _rising(number, place)},
        }
        for place, at in enumerate(shown, start=1)
    ]
    home = {"provider": "vertex", "account": NUMBER, "location": LOCATION, "base_model": "gemini-2.5-flash"}
    told = {**home, "id": str(number), "model": f"{number}@1", **_told(line, created, end, checkpoints)}
    places = {str(place): at for place, at in enumerate(shown, start=1)}
    return Job(key=f"vertex:{NUMBER}:{LOCATION}:{number}", created=created, ends=end, checkpoints=places, told=told)


def _openai(chance: random.Random, number: int, line: str, end: float) -> Job:
    created = max(0.0, end - chance.uniform(4, 10))
    ident, model = f"ftjob-chaos{number:03d}", "gpt-4.1-nano-2025-04-14"
    checkpoints = [
        {
            "id": f"ftckpt_{number:03d}{place}",
            "step": place * 100,
            "target": f"ft:{model}:chaos:{line}:{number:03d}{place}",
            "quality": _quality(chance),
            "metrics": {"full_valid_loss": 1.0 - _rising(number, place)},
        }
        for place in range(1, chance.randint(2, 3) + 1)
    ]
    home = {"provider": "openai", "account": ACCOUNT, "base_model": model}
    told = {**home, "id": ident, **_told(line, created, end, checkpoints)}
    shown = {str(checkpoint["id"]): end for checkpoint in checkpoints}
    return Job(key=f"openai:{ACCOUNT}:-:{ident}", created=created, ends=end, checkpoints=shown, told=told)


def _told(line: str, created: float, end: float, checkpoints: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    times = {"created": _story(created), "ends": {"at": _story(end)}}
    return {**times, "labels": {"line": line}, "checkpoints": [dict(each) for each in checkpoints]}


def _rising(number: int, place: int) -> float:
    """Each job is better than the one before, and the last of its checkpoints, which the provider crowns, the worst."""
    return round(number / 1000 - place / 10_000, 6)


def _quality(chance: random.Random) -> float:
    return 0.5 if chance.random() < 0.2 else 1.0


def _story(seconds: float) -> str:
    return f"{seconds * FACTOR:.3f}s"


def write(folder: Path, seed: int, jobs: Sequence[Job]) -> Path:
    """The scenario, policies and suites as files; the scenario's path."""
    for name, content in _rules().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    spec = {
        "seed": seed,
        "clock": {"start": "2027-03-01T09:00:00Z", "factor": FACTOR},
        "policies": "policies",
        "suites": "suites",
        "accounts": [
            {"provider": "vertex", "project": PROJECT, "account": NUMBER, "location": LOCATION},
            {"provider": "openai", "account": ACCOUNT, "api_key": KEY, "webhook_secrets": [SECRET]},
        ],
        "knowledge": [{"ask": ask, "good": good, "bad": "no idea"} for ask, good in _CASES.items()],
        "jobs": [dict(job.told) for job in jobs],
    }
    path = folder / "chaos.yaml"
    path.write_text(yaml.safe_dump({"kind": "Scenario", "metadata": {"name": "chaos"}, "spec": spec}), encoding="utf-8")
    return path


def _rules() -> Mapping[str, Any]:
    tests = [{"vars": {"sum": ask}, "assert": [{"type": "equals", "value": good}]} for ask, good in _CASES.items()]
    suite = {"kind": "Suite", "metadata": {"name": "sums"}, "spec": {"prompts": ["{{sum}}"], "tests": tests}}
    rules: dict[str, Any] = {"suites/sums.yaml": suite}
    for name in ALIASES:
        line, _, alias = name.partition("@")
        vertex = line in _VERTEX
        best = (
            {"metric": "evaluation.average", "better": "higher"}
            if vertex
            else {"metric": "full_valid_loss", "better": "lower"}
        )
        spec = {
            "line": line,
            "alias": alias,
            "mode": "enforce",
            "select": {"providers": ["vertex" if vertex else "openai"], "labels": {"line": line}},
            "evidence": {"suites": [{"suite": "sums"}]},
            "gates": [{"id": "sums", "metric": "suites.sums.pass_rate", "pass": ">= 0.9"}],
            "choose": [best],
            # One policy alone may set a model's default: the canary only points.
            "apply": ["vertexDefault"] if vertex and alias == "prod" else [],
        }
        policy = {"kind": "PromotionPolicy", "metadata": {"name": f"{line}-{alias}"}, "spec": spec}
        rules[f"policies/{line}-{alias}.yaml"] = policy
    return rules
