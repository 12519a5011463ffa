"""What the README shows is true: its examples load, and its commands exist."""

import re
from pathlib import Path

from typer.main import get_command

from ratchet.adapters.rule_files import check
from ratchet_cli.main import app

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


def test_the_shipped_examples_load_without_a_finding() -> None:
    assert check(ROOT / "shared" / "policies", ROOT / "shared" / "suites") == []
