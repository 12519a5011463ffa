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
    ours, theirs = _by_job(played.report), _by_job(embedded.report)
    assert ours.keys() == theirs.keys()
    # On a machine that is busy, two jobs of one line may end in the other order: then they had another to beat.
    same = [job for job in ours if ours[job]["baseline"] == theirs[job]["baseline"]]
    assert len(same) > len(ours) / 2
    for job in same:
        assert ours[job] == theirs[job]


def _comparable(found: dict[str, Any]) -> dict[str, Any]:
    """Without decisions, times and event counts; a provider write that was made again counts once."""
    kept = deepcopy(found)
    del kept["events"], kept["decisions"]
    kept["provider_writes"] = sorted({(write["model"], write["checkpoint"]) for write in kept["provider_writes"]})
    return kept


def _by_job(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The last decision on each job, without its id."""
    return {each["job"]: {**each, "id": None} for each in found["decisions"]}
