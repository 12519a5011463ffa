"""What records tell of themselves."""

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from ratchet.domain.keys import Provider
from ratchet.domain.records import Checkpoint, CheckpointState, DeadLetterRecord, Hold, Job, JobState, Pointer
from support.decisions import ALIAS, HOUR, JOB, MOMENT, START, key


def job(**changes: Any) -> Job:
    return replace(Job(key=JOB, state=JobState.RUNNING, first_seen_at=START), **changes)


@pytest.mark.parametrize("state", list(JobState))
def test_a_job_has_ended_when_it_succeeded_failed_or_was_cancelled(state: JobState) -> None:
    assert state.terminal is (state in ("succeeded", "failed", "cancelled"))


def test_all_who_may_have_started_a_job_are_known() -> None:
    assert job().triggers == ()
    assert job(started_by="ana").triggers == ("ana",)
    assert job(triggered_by="ben").triggers == ("ben",)
    assert job(started_by="ana", triggered_by="ben").triggers == ("ana", "ben")


def test_a_pointer_is_to_its_providers_model() -> None:
    made = Pointer(checkpoint=key(), step=1, target="t", model=None, decision="d", since=START)
    assert made.provider is Provider.VERTEX


@pytest.mark.parametrize("state", list(CheckpointState))
def test_what_is_no_longer_listed_is_in_doubt_until_it_is_known_to_be_gone(state: CheckpointState) -> None:
    listed = Checkpoint(
        key=key(), job=JOB, base_model="b", labels={}, job_created_at=START, recorded_at=START, state=state
    )
    assert not listed.in_doubt
    assert replace(listed, unlisted_since=START).in_doubt is (state is not CheckpointState.GONE)


def test_a_hold_lives_until_its_end() -> None:
    hold = Hold(actor="ana", reason="r", since=START)
    assert hold.live(START + 10**4 * HOUR)
    ends = replace(hold, until=START + HOUR)
    assert ends.live(START + HOUR - MOMENT)
    assert not ends.live(START + HOUR)


@pytest.mark.parametrize(
    ("replays", "replayed_at", "again"), [(0, None, False), (1, START, False), (1, None, True), (2, None, True)]
)
def test_a_letter_that_was_replayed_and_died_again_says_so(
    replays: int, replayed_at: datetime | None, again: bool
) -> None:
    letter = DeadLetterRecord(
        event_id="e",
        topic="tuning-jobs",
        attributes={},
        data="",
        reason="malformed",
        attempts=1,
        died_at=START,
        replays=replays,
        replayed_at=replayed_at,
    )
    assert letter.died_again is again


@pytest.mark.parametrize(
    ("state", "changes", "due"),
    [
        (CheckpointState.READY, {}, False),
        (CheckpointState.READY, {"open_suites": ("s",), "target": "t"}, True),
        (CheckpointState.READY, {"open_aliases": (ALIAS,)}, True),
        # It has a target already, and no step yet: it is tested, and the timer of its job brings the step.
        (CheckpointState.WAITING, {"open_suites": ("s",), "target": "t"}, True),
        (CheckpointState.WAITING, {"open_suites": ("s",)}, False),
        (CheckpointState.WAITING, {"open_aliases": (ALIAS,), "target": "t"}, False),
        (CheckpointState.WAITING, {"unlisted_since": START}, True),
        (CheckpointState.GONE, {"open_aliases": (ALIAS,)}, True),
        (CheckpointState.GONE, {"unlisted_since": START}, False),
    ],
)
def test_a_checkpoint_has_a_timer_while_anything_of_it_can_be_asked_tested_or_decided(
    state: CheckpointState, changes: dict[str, Any], due: bool
) -> None:
    made = Checkpoint(
        key=key(), job=JOB, base_model="b", labels={}, job_created_at=START, recorded_at=START, state=state, **changes
    )
    assert made.looked_at(START).next_look_at == (START if due else None)
