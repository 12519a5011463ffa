"""What the README shows is true: its examples load, and its commands exist."""

import re
import shlex
from datetime import timedelta
from pathlib import Path

import pytest
from typer.main import get_command

from ratchet.adapters.rule_files import check
from ratchet_cli.main import app
from support.cli import POLICY, Home
from support.commands import opened

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_the_policy_and_the_suite_of_the_readme_load_without_a_finding(tmp_path: Path) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    policy, suite = (
        next(block for block in blocks if f"kind: {kind}" in block) for kind in ("PromotionPolicy", "Suite")
    )
    for folder, text in (("policies", policy), ("suites", suite)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "readme.yaml").write_text(text)
    assert check(tmp_path / "policies", tmp_path / "suites") == []


def test_every_command_of_the_readme_exists() -> None:
    known = set(get_command(app).commands)  # type: ignore[attr-defined]
    named = set(re.findall(r"ratchet (init|doctor|up|[a-z]+)(?=[ `\n])", "\n".join(re.findall(r"`[^`\n]*`", README))))
    assert named <= known, named - known
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:`|^)make ([a-z-]+)", README, re.MULTILINE)) <= targets


def shown(command: str) -> tuple[list[str], str]:
    """What the README types, and what it says that is answered."""
    block = next(block for block in re.findall(r"```\n\$ (.*?)```", README, re.DOTALL) if block.startswith(command))
    typed, _, answer = block.partition("\n")
    return shlex.split(typed)[1:], answer


def masked(text: str) -> str:
    """Digests are another with every word of a policy."""
    return re.sub(r"\b(d-|r-|policy |evidence )[0-9a-f]{6}\b", r"\1XXXXXX", text)


def test_what_the_readme_says_of_decisions_is_what_is_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home(tmp_path).write(cases=60)
    sure = POLICY.replace("minCases: 10", "minCases: 60").replace(
        '">= 0.90"', '">= 0.90", confidence: {method: wilson, level: 0.90}'
    )
    asking = sure + "  approval: {when: firstPromotion, min: 1, notBy: [trigger], expires: 48h}\n"
    (home.folder / "policies" / "prod.yaml").write_text(asking)
    stricter = (
        asking.replace("support-router-prod", "stricter").replace('0.90",', '0.92",').replace("enforce", "dryRun")
    )
    (home.folder / "stricter.yaml").write_text(stricter)
    monkeypatch.chdir(home.folder)
    with opened(home, monkeypatch) as door:
        world = door.world
        world.hint(world.job("8611", {100: 46 / 20, 400: 58 / 20}))  # of 60 cases
        arguments, answer = shown("ratchet approve")
        assert masked(home.run(*arguments).output) == masked(answer)
        world.clock.time += timedelta(hours=2, minutes=3, seconds=11)
        world.hint(world.job("8812", {200: 57 / 20, 300: 60 / 20, 400: 60 / 20, 500: 46 / 20}))
        for command in ("ratchet why", "ratchet backtest"):
            arguments, answer = shown(command)
            assert masked(home.run(*arguments).output) == masked(answer)


def test_the_shipped_examples_load_without_a_finding() -> None:
    assert check(ROOT / "shared" / "policies", ROOT / "shared" / "suites") == []
