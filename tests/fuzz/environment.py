"""Where atheris lives: an environment under `build/` that borrows everything else from the one we are in."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build" / "fuzz"


def python() -> Path:
    """Its interpreter; made at the first use, which needs the package index."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    home = BUILD / f"venv-{version}"
    made, done = home / "bin" / "python", home / ".installed"
    if not done.exists():
        subprocess.run([sys.executable, "-m", "venv", home], check=True)
        listed = Path(__file__).with_name("requirements.txt")
        quiet = ["--quiet", "--disable-pip-version-check"]
        subprocess.run([made, "-m", "pip", "install", *quiet, "--require-hashes", "--requirement", listed], check=True)
        packages = next((home / "lib").glob("python*/site-packages"))
        (packages / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
        done.touch()
    return made


def variables(scratch: Path) -> dict[str, str]:
    """For a process of it. What libFuzzer leaves behind, because it ends without a word, is left in `scratch`."""
    paths = os.pathsep.join(str(ROOT / name) for name in ("shared", "tests"))
    return {**os.environ, "PYTHONPATH": paths, "TMPDIR": str(scratch), "PYTHONDONTWRITEBYTECODE": "1"}
