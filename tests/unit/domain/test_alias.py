"""How an alias changes, what is written of it, and when somebody must look at it again."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from ratchet.domain.alias import (
    CURRENT_LOOK,
    DRIFT_CONFIRM,
    DRIFT_LOOK,
    HELD_LOOK,
    TEST_LOOK,
    advance,
    ask_of,
    fold,
    given_back,
    moved,
    pointed,
    row_hash,
    taken_over,
    timer,
    verify,
    watches_default,
    with_wait,
    without_wait,
)
from ratchet.domain.alias import tests_since as waiting_since
from ratchet.domain.codec import encode
from ratchet.domain.decision import Decision, Outcome
from ratchet.domain.keys import JobKey
from ratchet.domain.policy import WatchPlan
from ratchet.domain.records import (
    KEPT_MOVES,
    Alias,
    Ask,
    Direction,
    HistoryRow,
    Hold,
    Intent,
    Lease,
    Move,
    Pointer,
    Wait,
    Watch,
)
from support.decisions import ALIAS, DAY, EARLIER_JOB, HOUR, JOB, MOMENT, START, key

MINUTE = timedelta(minutes=1)
BLANK = Alias(key=ALIAS)
PLAN = WatchPlan(suite="core", delay=2 * MINUTE, interval=15 * MINUTE, count=4, failures=1, inconclusive=2)


def pointer(checkpoint: str = "1", **changes: Any) -> Pointer:
    made = Pointer(
        checkpoint=key(checkpoint), step=100, target="t", model="models/m", decision="d-old", since=START - DAY
    )
    return replace(made, **changes)


def intent(**changes: Any) -> Intent:
    made = Intent(
        direction=Direction.FORWARD,
        decision="d-new",
        to=pointer("2", decision="d-new"),
        lease=Lease("me", 1, START + 2 * MINUTE),
        opened_at=START,
    )
    return replace(made, **changes)


def wait(job: JobKey = JOB, **changes: Any) -> Wait:
    return replace(Wait(job=job, reason="settle", until=None), **changes)


def changed(before: Alias, **fields: Any) -> tuple[Alias, HistoryRow]:
    return advance(
        before, replace(before, **fields), kind="held", at=START, actor="ana", decision="d-1", reason="because"
    )


# Rows -----------------------------------------------------------------------------------------------------------------


def test_a_row_says_what_changed_who_did_it_and_what_it_follows() -> None:
    first, row = changed(BLANK, serial=3)
    assert row == HistoryRow(
        alias=ALIAS,
        n=1,
        kind="held",
        at=START,
        actor="ana",
        decision="d-1",
        reason="because",
        change={"history": 1, "serial": 3},
        previous="",
        hash=row_hash(row),
    )
    assert (first.history, first.head, first.serial) == (1, row.hash, 3)
    second, following = changed(first, fence=1)
    assert (following.n, following.previous) == (2, row.hash)
    assert following.change == {"history": 2, "fence": 1}
    assert second.head == following.hash != row.hash


def test_the_next_look_is_no_history() -> None:
    after, row = changed(BLANK, next_look_at=START)
    assert row.change == {"history": 1}
    assert after.next_look_at == START


def test_the_hash_is_over_all_of_the_row_but_itself() -> None:
    _, row = changed(BLANK, serial=3)
    assert row_hash(replace(row, hash="other")) == row.hash
    others = [
        replace(row, n=2),
        replace(row, at=START + MOMENT),
        replace(row, actor="eve"),
        replace(row, decision=None),
        replace(row, reason=""),
        replace(row, change={}),
        replace(row, previous="x"),
        replace(row, kind="x"),
    ]
    assert len({row.hash, *map(row_hash, others)}) == len(others) + 1


def test_the_hash_of_a_row_is_the_same_in_every_release() -> None:
    _, row = changed(BLANK, serial=3)
    assert row.hash == "19dc12bd9efd6ff44b9f389542543037d38edb0f1c68d0fb105da75e0e536f20"


def test_rows_fold_to_the_alias_and_no_rows_to_nothing() -> None:
    first, one = changed(BLANK, serial=3, hold=Hold(actor="ana", reason="r", since=START))
    second, two = changed(first, hold=None, fence=2)
    assert fold([one, two]) == second
    assert fold([one]) == first
    assert fold([]) is None


def test_rows_are_one_unbroken_chain_from_the_first() -> None:
    first, one = changed(BLANK, serial=1)
    _, two = changed(first, serial=2)
    assert verify([]) is None
    assert verify([one, two]) is None
    assert verify([two]) == "row 1 is missing"
    assert verify([one, replace(two, n=3)]) == "row 2 is missing"
    assert verify([one, one]) == "row 2 is missing"
    assert verify([one, replace(two, actor="eve")]) == "row 2 was changed"
    unchained = replace(two, previous="x")
    assert verify([one, replace(unchained, hash=row_hash(unchained))]) == "row 2 was changed"
    assert verify([replace(one, hash="x")]) == "row 1 was changed"


# Moves ----------------------------------------------------------------------------------------------------------------


def test_a_move_points_the_alias_counts_it_and_closes_the_intent() -> None:
    alias = replace(
        BLANK,
        serial=4,
        current=pointer("1"),
        last_good=(pointer("8"),),
        intent=intent(),
        drift="7",
        tolerated="6",
        gone=True,
        watch=Watch(plan=PLAN, serial=4, due=START),
    )
    after = moved(alias, START + HOUR)
    assert after == replace(
        alias,
        serial=5,
        current=pointer("2", decision="d-new", since=START + HOUR),
        last_good=(pointer("1"), pointer("8")),
        intent=None,
        drift=None,
        tolerated=None,
        gone=False,
        watch=None,
        moves=(Move(serial=5, at=START + HOUR, decision="d-new"),),
    )


def test_the_first_move_has_nothing_before_it() -> None:
    after = moved(replace(BLANK, intent=intent()), START)
    assert (after.serial, after.last_good) == (1, ())


def test_a_move_begins_its_watch_and_remembers_the_best_of_the_line() -> None:
    alias = replace(BLANK, best_of_line=pointer("9"), intent=intent(watch=PLAN))
    after = moved(alias, START)
    assert after.watch == Watch(plan=PLAN, serial=1, due=START + 2 * MINUTE)
    assert after.best_of_line == pointer("9")
    best = moved(replace(alias, intent=intent(best=True)), START)
    assert best.best_of_line == best.current


def test_a_roll_back_is_marked_as_one() -> None:
    after = moved(replace(BLANK, intent=intent(roll_back=True)), START)
    assert after.moves == (Move(serial=1, at=START, decision="d-new", rolled_back=True),)
    assert pointed(BLANK, pointer(), START, "d").moves[0].rolled_back is False


def test_the_last_good_are_those_that_served_before_without_doubles_and_without_quarantine() -> None:
    alias = replace(BLANK, current=pointer("1"), last_good=(pointer("2"), pointer("3"), pointer("4")))
    good = pointed(replace(alias, quarantine=(key("3"),)), pointer("2"), START, "d").last_good
    assert good == (pointer("1"), pointer("4"))
    bad = pointed(replace(alias, quarantine=(key("1"),)), pointer("5"), START, "d").last_good
    assert bad == (pointer("2"), pointer("3"), pointer("4"))


def test_five_good_ones_are_remembered_and_twenty_moves() -> None:
    alias = BLANK
    for number in range(1, 31):
        alias = pointed(alias, pointer(str(number)), START + number * HOUR, f"d-{number}")
    assert [p.checkpoint.id for p in alias.last_good] == ["29", "28", "27", "26", "25"]
    assert [move.serial for move in alias.moves] == list(range(11, 31))
    assert len(alias.moves) == KEPT_MOVES == 20


def test_a_move_by_somebody_else_ends_the_watch_of_what_served() -> None:
    watched = replace(BLANK, watch=Watch(plan=PLAN, serial=1, due=START))
    assert pointed(watched, pointer(), START, "d").watch is None


@pytest.mark.parametrize(
    ("before", "contested"),
    [
        (intent(), True),
        (intent(lease=given_back(intent().lease, START)), False),
        (intent(lease=given_back(intent().lease, START), contested=True), True),
    ],
)
def test_whoever_takes_an_intent_over_has_the_next_fence_and_contests_what_was_not_given_back(
    before: Intent, contested: bool
) -> None:
    after = taken_over(replace(BLANK, fence=7, intent=before), "another", START + HOUR)
    assert after.fence == 8
    assert after.intent == intent(lease=Lease("another", 8, START + HOUR), contested=contested)


def test_a_lease_that_is_given_back_is_nobodys_and_keeps_its_fence() -> None:
    assert given_back(Lease("me", 3, START), START + HOUR) == Lease("", 3, START + HOUR)


# Waits ----------------------------------------------------------------------------------------------------------------


def decision(**changes: Any) -> Decision:
    made = Decision(
        id="d",
        alias=ALIAS,
        kind="policy",
        outcome=Outcome.WAITING,
        reason="r",
        at=START,
        actor="policy",
        actor_verified=True,
        generation=0,
        serial=0,
        job=JOB,
        waiting_for="window",
        until=START + HOUR,
    )
    return replace(made, **changes)


def test_a_job_whose_decision_waits_is_remembered_once() -> None:
    other = wait(EARLIER_JOB)
    alias = replace(BLANK, waiting=(wait(), other))
    new = Wait(job=JOB, reason="window", until=START + HOUR)
    assert with_wait(alias, decision(), tests=False) == (other, new)
    assert with_wait(alias, decision(outcome=Outcome.REJECTED), tests=False) == (other,)
    assert with_wait(BLANK, decision(), tests=False) == (new,)
    assert without_wait((wait(), other), JOB) == (other,)


def test_a_wait_for_tests_counts_since_they_were_first_asked_for() -> None:
    (asked,) = with_wait(BLANK, decision(), tests=True)
    assert asked.tests_since == START
    alias = replace(
        BLANK, waiting=(wait(EARLIER_JOB, tests_since=START - DAY), replace(asked, tests_since=START - HOUR))
    )
    assert waiting_since(alias, JOB) == START - HOUR
    assert with_wait(alias, decision(), tests=True)[-1].tests_since == START - HOUR
    assert with_wait(alias, decision(), tests=False)[-1].tests_since is None
    assert waiting_since(BLANK, JOB) is None


def test_of_each_job_people_are_asked_one_thing() -> None:
    asks = tuple(
        Ask(
            decision="d",
            job=job,
            candidate=key("1", job),
            evidence="e",
            policy="p",
            asked_at=START,
            until=START + DAY,
        )
        for job in (EARLIER_JOB, JOB)
    )
    alias = replace(BLANK, approvals=asks)
    assert ask_of(alias, JOB) == asks[1]
    assert ask_of(alias, EARLIER_JOB) == asks[0]
    assert ask_of(alias, None) is None
    assert ask_of(BLANK, JOB) is None


# The timer ------------------------------------------------------------------------------------------------------------


def due(**fields: Any) -> datetime | None:
    return timer(replace(BLANK, **fields), START)


SERVES = pointer()
UNOWNED = pointer(model=None)


def test_an_alias_with_nothing_open_needs_nobody() -> None:
    assert due() is None
    assert due(hold=Hold(actor="ana", reason="r", since=START)) is None
    assert due(waiting=(wait(),)) is None


@pytest.mark.parametrize(
    ("fields", "after"),
    [
        ({"waiting": (wait(until=START + 3 * HOUR), wait(EARLIER_JOB, until=START + 2 * HOUR))}, 2 * HOUR),
        ({"waiting": (wait(reason="hold"),)}, HELD_LOOK),
        ({"waiting": (wait(reason="hold", until=START + MINUTE),)}, MINUTE),
        ({"waiting": (wait(reason="hold", until=START + HOUR),)}, HOUR),
        ({"waiting": (wait(until=START + HOUR, tests_since=START),)}, TEST_LOOK),
        ({"hold": Hold(actor="ana", reason="r", since=START, until=START + 4 * HOUR)}, 4 * HOUR),
        ({"intent": intent()}, 2 * MINUTE),
        ({"intent": intent(not_before=START + 9 * MINUTE)}, 9 * MINUTE),
        ({"intent": intent(not_before=START + MINUTE)}, 2 * MINUTE),
        ({"current": UNOWNED}, CURRENT_LOOK),
        ({"current": SERVES}, DRIFT_LOOK),
        ({"current": SERVES, "drift": "7"}, DRIFT_CONFIRM),
        ({"current": SERVES, "drift": "7", "tolerated": "7"}, DRIFT_LOOK),
        ({"current": SERVES, "drift": "7", "tolerated": "6"}, DRIFT_CONFIRM),
        ({"current": SERVES, "tolerated": "7"}, DRIFT_LOOK),
        ({"current": SERVES, "drift": "7", "hold": Hold(actor="a", reason="r", since=START)}, DRIFT_LOOK),
        ({"current": UNOWNED, "watch": Watch(plan=PLAN, serial=1, due=START + 3 * MINUTE)}, 3 * MINUTE),
        ({"current": UNOWNED, "watch": Watch(plan=PLAN, serial=1, due=START + MOMENT)}, MOMENT),
        ({"current": UNOWNED, "watch": Watch(plan=PLAN, serial=1, due=START)}, TEST_LOOK),
        ({"current": SERVES, "intent": intent()}, 2 * MINUTE),
        ({"current": SERVES, "intent": intent(not_before=START + HOUR)}, HOUR),
        ({"current": UNOWNED, "waiting": (wait(until=START + MINUTE),)}, MINUTE),
        ({"current": UNOWNED, "waiting": (wait(until=START + 2 * HOUR),)}, CURRENT_LOOK),
    ],
)
def test_the_earliest_open_timer_counts(fields: dict[str, Any], after: timedelta) -> None:
    assert due(**fields) == START + after


def test_the_looks_are_as_often_as_is_promised() -> None:
    looks = (DRIFT_CONFIRM, DRIFT_LOOK, HELD_LOOK, TEST_LOOK, CURRENT_LOOK)
    assert looks == (MINUTE, 5 * MINUTE, 5 * MINUTE, 10 * MINUTE, HOUR)


def test_only_a_default_that_this_alias_has_set_can_drift() -> None:
    assert watches_default(replace(BLANK, current=SERVES))
    assert not watches_default(replace(BLANK, current=UNOWNED))
    assert not watches_default(BLANK)
    assert not watches_default(replace(BLANK, current=SERVES, intent=intent()))


def test_the_document_of_a_blank_alias_holds_every_field() -> None:
    assert encode(BLANK)["key"] == "support-router@prod"
    assert {name for name, value in encode(BLANK).items() if value} == {"key"}
