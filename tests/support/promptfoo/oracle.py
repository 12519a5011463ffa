"""promptfoo itself, as `make promptfoo` installs it, asked for its verdicts."""

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

VERSION = "0.121.20"
HOME = Path(__file__).resolve().parents[3] / "build" / "promptfoo"
NODE = HOME / "node_modules" / ".bin" / "node"
_JUDGE = Path(__file__).with_name("judge.mjs")
SILENT = {"PROMPTFOO_DISABLE_TELEMETRY": "1", "PROMPTFOO_DISABLE_UPDATE": "1"}


def missing() -> str:
    """Why it cannot be asked; empty when it can."""
    package = HOME / "node_modules" / "promptfoo" / "package.json"
    if not NODE.exists() or not package.exists():
        return f"promptfoo {VERSION} and its node are not installed: make promptfoo"
    found = json.loads(package.read_text(encoding="utf-8"))["version"]
    return "" if found == VERSION else f"promptfoo is {found}, and {VERSION} is what verdicts are compared with"


def judged(cases: Sequence[dict[str, Any]], folder: Path) -> list[dict[str, Any]]:
    """Of each case (`assert`, `output`, …, as judge.mjs reads them) the grade, or its error."""
    # The judge's imports are looked for beside the file that it is.
    script = HOME / _JUDGE.name
    script.write_bytes(_JUDGE.read_bytes())
    done = subprocess.run(
        [str(NODE), str(script)],
        input="".join(json.dumps(case) + "\n" for case in cases),
        env={**os.environ, **SILENT, "PROMPTFOO_CONFIG_DIR": str(folder)},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]
