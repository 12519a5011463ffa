"""The same scenario through the same functions, on the Firestore and Pub/Sub emulators."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from ratchet_cli import emulators, report
from support.playing import Played, play

pytestmark = pytest.mark.emulators


def test_the_emulators_end_in_the_same_report(embedded: Played, tmp_path: Path) -> None:
    try:
        emulators.find()
    except emulators.NoEmulators as missing:
        pytest.skip(str(missing))
    played = play(tmp_path, backend="emulators")
    assert played.code == 0, played.output
    assert _comparable(played.report) == _comparable(embedded.report)
    assert report.state_hash(played.report) == report.state_hash(embedded.report)


def _comparable(found: dict[str, Any]) -> dict[str, Any]:
    """Without times, ids and event counts; a provider write that was made again counts once."""
    kept = deepcopy(found)
    del kept["events"]
    for decision in kept["decisions"]:
        del decision["id"]
    kept["provider_writes"] = sorted({(write["model"], write["checkpoint"]) for write in kept["provider_writes"]})
    return kept
