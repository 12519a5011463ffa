"""All that is fuzzed, by both forms: drawn by Hypothesis in `make test`, led by coverage in `make fuzz`."""

from collections.abc import Mapping
from pathlib import Path

from fuzz.doors import DOORS
from fuzz.parsers import PARSERS
from fuzz.target import Target

TARGETS: Mapping[str, Target] = {target.name: target for target in [*DOORS, *PARSERS]}
FOUND = Path(__file__).parent / "found"


def found(name: str) -> list[Path]:
    """Inputs that once broke this target."""
    return sorted(path for path in (FOUND / name).glob("*") if path.is_file())
