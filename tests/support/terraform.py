"""Terraform on a copy of `infra/`: offline where the tool for it lies beside the project, else with the real providers.

What it plans depends on no content of the functions, so the copy holds stand-ins for them, unless a test asks for all.
"""

import json
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = "env/example.tfvars"
_BESIDE = ROOT.parent / "shared" / "terraform-offline" / "tf-offline"


@cache
def missing() -> str | None:
    """Why Terraform cannot run here."""
    if shutil.which("terraform") is None:
        return "there is no terraform"
    if _tool() is not None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        try:
            copy(Path(folder) / "infra-check").initialised()
        except Refused:
            return "there is neither the offline tool nor a network for Terraform's providers"
    return None


def _tool() -> str | None:
    found = os.environ.get("TF_OFFLINE") or (str(_BESIDE) if _BESIDE.exists() else None)
    return found if found and os.access(found, os.X_OK) else None


class Refused(Exception):
    """Terraform said no. The message is what it printed."""


@dataclass(frozen=True)
class Copy:
    """A copy of `infra/` with what it reads."""

    folder: Path

    @property
    def infra(self) -> Path:
        return self.folder / "infra"

    def run(self, *arguments: str) -> str:
        """Raises: Refused."""
        command = [_tool() or "terraform", f"-chdir={self.infra}", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=self.folder)
        if done.returncode != 0:
            raise Refused(done.stdout + done.stderr)
        return done.stdout

    def initialised(self) -> "Copy":
        if _tool() is None:
            # Without a bucket to keep it in, a plan's state is a file here.
            (self.infra / "backend_override.tf").write_text('terraform {\n  backend "local" {}\n}\n')
        self.run("init", "-input=false", "-no-color")
        return self

    def plan(self, *arguments: str) -> "Plan":
        kept = self.folder / "plan"
        self.run("plan", "-input=false", "-no-color", f"-var-file={EXAMPLE}", f"-out={kept}", *arguments)
        return Plan(json.loads(self.run("show", "-json", str(kept))))


@dataclass(frozen=True)
class Plan:
    """What would be made, as Terraform's JSON says it."""

    raw: Any

    def of(self, kind: str) -> dict[str, Any]:
        """The planned attributes of every resource of this type, by address."""
        return {each["address"]: each["values"] for each in self.resources() if each["type"] == kind}

    def resources(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        modules = [self.raw["planned_values"]["root_module"]]
        while modules:
            module = modules.pop()
            found += module.get("resources", [])
            modules += module.get("child_modules", [])
        return [each for each in found if each["mode"] == "managed"]


def copy(folder: Path, *, whole: bool = False) -> Copy:
    """`infra/` in a folder of its own, and what it reads beside it."""
    ignore = shutil.ignore_patterns(".terraform*", "__pycache__")
    shutil.copytree(ROOT / "infra", folder / "infra", ignore=ignore)
    for name in ("policies", "suites"):
        shutil.copytree(ROOT / "shared" / name, folder / "shared" / name)
    if whole:
        shutil.copytree(ROOT / "functions", folder / "functions", ignore=ignore)
        shutil.copytree(ROOT / "shared" / "ratchet", folder / "shared" / "ratchet", ignore=ignore)
        return Copy(folder)
    (folder / "shared" / "ratchet").mkdir()
    (folder / "shared" / "ratchet" / "__init__.py").write_text("")
    for function in (ROOT / "functions").iterdir():
        (folder / "functions" / function.name).mkdir(parents=True)
        for file in ("main.py", "requirements.txt"):
            (folder / "functions" / function.name / file).write_text(f"# {file}\n")
    return Copy(folder)
