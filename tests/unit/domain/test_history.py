"""The history tells the truth or is found out: folded it is the alias, and whoever forges a row is seen."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from ratchet.domain.alias import advance, document_hash, fold, moved, taken_over, verify
from ratchet.domain.codec import Malformed, decode, encode, format_time
from ratchet.domain.decision import Decision, Outcome
from ratchet.domain.history import ADOPT, Anchor, Flaw, Walk, is_decision
from ratchet.domain.history import testimony as said_by
from ratchet.domain.keys import ALL_ALIASES, CheckpointKey, JobKey, Provider, digest
from ratchet.domain.records import Alias, Direction, HistoryRow, Hold, Intent, Lease, Move, Pointer, Wait
from support.decisions import ALIAS, HOUR, START
from support.depth import deep
from support.forgery import Document, forged

EXAMPLES = settings(max_examples=deep(100, 3000), deadline=None, suppress_health_check=[HealthCheck.too_slow])

# Any alias at all -----------------------------------------------------------------------------------------------------

times = st.integers(0, 10**9).map(lambda micros: START + timedelta(microseconds=micros))
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
numbers = st.integers(0, 2**40)
jobs = st.builds(JobKey, st.sampled_from(Provider), st.just("42"), st.just("-"), st.sampled_from(["8611", "8812"]))
checkpoints = st.builds(CheckpointKey, jobs, st.sampled_from(["1", "2", "3"]))
digests = numbers.map(lambda number: digest(str(number)))
pointers = st.builds(
    Pointer,
    checkpoint=checkpoints,
    step=st.none() | numbers,
    target=texts,
    model=st.none() | texts,
    decision=digests,
    since=times,
)
leases = st.builds(Lease, texts, numbers, times)
intents = st.builds(
    Intent,
    direction=st.sampled_from(Direction),
    decision=digests,
    to=pointers,
    lease=leases,
    opened_at=times,
    model=st.none() | texts,
    not_before=st.none() | times,
    contested=st.booleans(),
)
aliases = st.builds(
    Alias,
    key=st.just(ALIAS),
    serial=numbers,
    generation=numbers,
    current=st.none() | pointers,
    last_good=st.lists(pointers, max_size=2).map(tuple),
    intent=st.none() | intents,
    fence=numbers,
    hold=st.none() | st.builds(Hold, actor=texts, reason=texts, since=times),
    quarantine=st.lists(checkpoints, max_size=2).map(tuple),
    waiting=st.lists(st.builds(Wait, job=jobs, reason=texts, until=st.none() | times), max_size=2).map(tuple),
    moves=st.lists(st.builds(Move, serial=numbers, at=times, decision=digests), max_size=2).map(tuple),
    last_decision=st.none() | digests,
    policy_digest=texts,
    release=numbers,
    drift=st.none() | texts,
    next_look_at=st.none() | times,
)


def written(states: Iterable[Alias]) -> tuple[Alias, list[HistoryRow]]:
    """One row for each state that the alias takes."""
    alias, rows = Alias(key=ALIAS), []
    for number, state in enumerate(states):
        after = replace(state, history=alias.history, head=alias.head)
        alias, row = advance(
            alias, after, kind="any", at=START, actor="policy", decision=None, reason=f"because {number}"
        )
        rows.append(row)
    return alias, rows


def documents(rows: Iterable[HistoryRow]) -> list[Document]:
    return [encode(row) for row in rows]


def walked(rows: Iterable[Document], alias: Alias, first: int = 1, anchors: Sequence[Anchor] = ()) -> Walk:
    walk = Walk(ALIAS, first=first, anchors=anchors)
    for row in rows:
        walk.step(row)
    walk.end(alias)
    return walk


@EXAMPLES
@given(st.lists(aliases, min_size=1, max_size=6))
def test_the_rows_of_any_changes_fold_to_the_document(states: list[Alias]) -> None:
    alias, rows = written(states)
    stored = [decode(HistoryRow, document) for document in documents(rows)]
    assert verify(stored) is None
    assert fold(stored) == replace(alias, next_look_at=None)


# A life that an alias can have ----------------------------------------------------------------------------------------

_STEPS = ("open", "take over", "rest", "turn back", "close", "hold", "release", "wait", "drift", "quarantine")


def lived(steps: Sequence[str], start: Alias | None = None) -> tuple[Alias, list[HistoryRow]]:
    alias, rows = start or Alias(key=ALIAS), list[HistoryRow]()
    for step in steps:
        number = alias.history + 1
        at = START + timedelta(minutes=number)
        after = _after(alias, step, number)
        if after is not None:
            alias, row = advance(alias, after, kind=step, at=at, actor="policy", decision=None, reason=step)
            rows.append(row)
    return alias, rows


def _after(alias: Alias, step: str, number: int) -> Alias | None:
    """None where the alias is in no state for this step."""
    at = START + timedelta(minutes=number)
    job = JobKey(Provider.VERTEX, "42", "us-central1", str(number))
    if step in ("hold", "release", "wait", "drift", "quarantine"):
        changed = {
            "hold": {"hold": Hold(actor="ana", reason="why", since=at)},
            "release": {"hold": None},
            "wait": {"waiting": (Wait(job=job, reason="settle", until=at),)},
            "drift": {"drift": str(number)},
            "quarantine": {"quarantine": (CheckpointKey(job, "1"),)},
        }
        return replace(alias, **changed[step])  # type: ignore[arg-type]
    if step == "open":
        to = Pointer(
            checkpoint=CheckpointKey(job, "1"), step=number, target="t", model=None, decision=str(number), since=at
        )
        lease = Lease("me", alias.fence + 1, at)
        intent = Intent(direction=Direction.FORWARD, decision=str(number), to=to, lease=lease, opened_at=at)
        return None if alias.intent else replace(alias, intent=intent, fence=alias.fence + 1)
    if alias.intent is None:
        return None
    if step == "close":
        forward = alias.intent.direction is Direction.FORWARD
        return moved(alias, at) if forward else replace(alias, intent=None)
    if step == "take over":
        return taken_over(alias, "another", at)
    if step == "rest":
        return replace(alias, intent=replace(alias.intent, not_before=at))
    return replace(alias, intent=replace(alias.intent, direction=Direction.BACK))


lives = st.lists(st.sampled_from(_STEPS), min_size=3, max_size=14).map(lived).filter(lambda life: len(life[1]) > 1)


@EXAMPLES
@given(lives)
def test_what_an_alias_lives_through_is_found_to_be_in_order(life: tuple[Alias, list[HistoryRow]]) -> None:
    alias, rows = life
    for first in range(1, alias.history + 1):
        assert walked(documents(rows)[first - 1 :], alias, first).findings == []


@EXAMPLES
@given(lives, st.data())
def test_any_single_forgery_is_found(life: tuple[Alias, list[HistoryRow]], data: st.DataObject) -> None:
    alias, rows = life
    honest = documents(rows)
    lies = data.draw(forged(honest))
    assume(lies != honest)
    assert walked(lies, alias).findings
    try:
        read = [decode(HistoryRow, document) for document in lies]
    except Malformed:
        return
    # What verify is not given is the document, nor what this code cannot read.
    known = documents(read) == lies
    assert verify(read) or not known or (len(read), read[-1].hash if read else "") != (alias.history, alias.head)


@EXAMPLES
@given(lives, st.integers(1, 4), st.data())
def test_any_single_forgery_in_its_window_is_found_from_the_middle(
    life: tuple[Alias, list[HistoryRow]], window: int, data: st.DataObject
) -> None:
    alias, rows = life
    first = max(1, alias.history - window + 1)
    honest = documents(rows)[first - 1 :]
    lies = data.draw(forged(honest))
    assume(lies != honest)
    assert walked(lies, alias, first).findings


@EXAMPLES
@given(lives, st.data())
def test_a_document_that_was_changed_without_a_row_is_found(
    life: tuple[Alias, list[HistoryRow]], data: st.DataObject
) -> None:
    alias, rows = life
    other = replace(data.draw(aliases), history=alias.history, head=alias.head)
    different = {name for name in encode(alias) if encode(alias)[name] != encode(other)[name]} - {"next_look_at"}
    assume(different)
    (finding,) = walked(documents(rows), other).findings
    assert finding.flaw is Flaw.DOCUMENT
    for name in different:
        assert name in finding.words
    # From the middle, only what the rows touch can be compared.
    found = walked(documents(rows)[-1:], other, alias.history).findings
    assert bool(found) is bool(different & rows[-1].change.keys())


def test_each_forgery_is_named_for_what_it_is() -> None:
    alias, rows = lived(["hold", "release", "hold", "release"])
    one, two, three, four = documents(rows)
    for words, lies in {
        "row 2 is missing": [one, three, four],
        "rows 2-3 are missing": [one, four],
        "row 4 is missing": [one, two, three],
        "rows 1-4 are missing": [],
        "row 2 is there twice": [one, two, two, three, four],
        "row 3 was changed": [one, two, {**three, "actor": "eve"}, four],
        "row 3 does not follow row 2: one of them was changed": [one, hashed({**two, "actor": "eve"}), three, four],
        "the head of the alias's document is not the hash of row 4": [
            one,
            two,
            three,
            hashed({**four, "actor": "eve"}),
        ],
        "row 2 cannot be read": [one, {**two, "at": "yesterday"}, three, four],
        "row 5 is beyond the head of the alias's document": [
            *(one, two, three, four),
            hashed({**four, "n": 5, "previous": four["hash"]}),
        ],
    }.items():
        assert [finding.words for finding in walked(lies, alias).findings] == [words]


def hashed(document: Document) -> Document:
    return {**document, "hash": document_hash(document)}


# Rows that are sound in themselves, and must not be -------------------------------------------------------------------


def chained(alias: Alias, *states: Alias) -> list[Flaw]:
    """What is found in a chain of these states, after an honest life that led to `alias`."""
    start, rows = lived(["open", "close", "open"])
    assert alias == start
    for state in states:
        start, row = advance(
            start,
            replace(state, history=start.history, head=start.head),
            kind="any",
            at=START,
            actor="policy",
            decision=None,
            reason="",
        )
        rows.append(row)
    return [finding.flaw for finding in walked(documents(rows), start).findings]


def test_a_move_is_by_one_and_to_where_the_intent_led() -> None:
    alias, _ = lived(["open", "close", "open"])
    good = moved(alias, START)
    assert good.current is not None
    assert chained(alias, good) == []
    assert chained(alias, replace(good, serial=3)) == [Flaw.MOVE]
    assert chained(alias, replace(good, serial=alias.serial)) == [Flaw.MOVE]
    assert chained(alias, replace(alias, serial=2)) == [Flaw.MOVE]
    elsewhere = CheckpointKey(good.current.checkpoint.job, "9")
    assert chained(alias, replace(good, current=replace(good.current, checkpoint=elsewhere))) == [Flaw.MOVE]
    assert chained(alias, replace(alias, intent=None), replace(good, intent=None)) == [Flaw.MOVE]
    assert chained(alias, replace(good, current=None)) == [Flaw.MOVE]


def test_an_intent_is_about_one_thing_until_it_is_closed() -> None:
    alias, _ = lived(["open", "close", "open"])
    intent = alias.intent
    assert intent is not None
    assert chained(alias, taken_over(alias, "another", START)) == []
    assert chained(alias, replace(alias, intent=None), alias) == []
    for other in (
        replace(intent, decision="another"),
        replace(intent, to=replace(intent.to, target="another")),
        replace(intent, opened_at=START + HOUR),
    ):
        assert chained(alias, replace(alias, intent=other)) == [Flaw.OVERLAP]


def test_what_no_row_of_ours_could_hold_is_a_finding_and_not_a_crash() -> None:
    alias, rows = lived(["hold", "release", "hold"])
    for value in (float("nan"), "\ud800", {"deep": [1, 2]}):
        bad = documents(rows)
        bad[1]["change"] = {**bad[1]["change"], "drift": value}
        found = walked(bad, alias).findings
        assert {finding.flaw for finding in found} >= {Flaw.CHANGED}
        assert {finding.row for finding in found} == {2} | ({3} if isinstance(value, str) else set())


def test_a_row_of_a_newer_release_is_believed_and_a_field_put_into_a_row_is_not() -> None:
    alias, rows = lived(["hold", "release"])
    first, second = documents(rows)
    newer = hashed({**second, "added_later": 1, "change": {**second["change"], "added_later": 1}})
    assert walked([first, newer], replace(alias, head=newer["hash"])).findings == []
    assert [finding.flaw for finding in walked([first, {**second, "put_in": 1}], alias).findings] == [Flaw.CHANGED]


# Anchors --------------------------------------------------------------------------------------------------------------


def anchored(rows: Sequence[HistoryRow], *numbers: int) -> list[Anchor]:
    return [Anchor(ALIAS, n, rows[n - 1].hash, START + n * HOUR) for n in numbers]


def test_only_an_anchor_contradicts_a_chain_that_was_rewritten_as_a_whole() -> None:
    _, rows = lived(["hold", "release", "hold", "release", "hold"])
    alias, lies = lived(["hold", "release", "drift", "release", "hold"])
    assert walked(documents(lies), alias).findings == []
    walk = walked(documents(lies), alias, anchors=anchored(rows, 1, 2, 4, 5))
    assert [(finding.flaw, finding.row) for finding in walk.findings] == [(Flaw.ANCHOR, 4)]
    assert walk.findings[0].words == (
        "row 4 is not the one that the anchor of 2026-11-22T16:00Z saw; "
        "row 2 still is the one that the anchor of 2026-11-22T14:00Z saw"
    )
    assert walk.agreed == anchored(rows, 2)[0]


def test_a_history_that_was_cut_short_contradicts_the_anchor_of_what_is_gone() -> None:
    _, rows = lived(["hold", "release", "hold", "release"])
    alias, kept = lived(["hold", "release"])
    walk = walked(documents(kept), alias, anchors=anchored(rows, 2, 3, 4))
    assert [(finding.flaw, finding.row) for finding in walk.findings] == [(Flaw.ANCHOR, 3)]


def test_an_anchor_of_what_was_cut_off_says_so_in_words() -> None:
    _, rows = lived(["hold", "release", "hold", "release"])
    alias, kept = lived(["hold", "release"])
    cut = walked(documents(kept), alias, anchors=anchored(rows, 2, 4, 3)).findings
    assert [finding.words for finding in cut] == [
        "the history ends before row 3, which the anchor of 2026-11-22T15:00Z saw; "
        "row 2 still is the one that the anchor of 2026-11-22T14:00Z saw"
    ]
    unseen = walked(documents(kept), alias, anchors=anchored(rows, 3)).findings
    assert [finding.words for finding in unseen] == [
        "the history ends before row 3, which the anchor of 2026-11-22T15:00Z saw"
    ]


# To the word ----------------------------------------------------------------------------------------------------------


def test_a_step_gives_the_row_back_as_long_as_it_can_be_read() -> None:
    _, rows = lived(["hold", "release"])
    walk = Walk(ALIAS)
    assert [walk.step(document) for document in documents(rows)] == rows
    assert walk.step(documents(rows)[0]) == rows[0]
    assert walk.step({**documents(rows)[1], "at": "yesterday"}) is None
    assert (walk.key, walk.n) == (ALIAS, 3)


def test_a_row_of_another_alias_is_no_row_of_this() -> None:
    alias, rows = lived(["hold", "release"])
    strange = hashed({**documents(rows)[1], "alias": "support-router@test"})
    found = walked([documents(rows)[0], strange], replace(alias, head=strange["hash"])).findings
    assert [(finding.flaw, finding.words) for finding in found] == [(Flaw.CHANGED, "row 2 was changed")]


def test_what_the_rows_lead_to_is_told_by_the_names_of_the_fields() -> None:
    alias, rows = lived(["hold", "release"])
    other = replace(alias, fence=7, serial=3)
    (finding,) = walked(documents(rows), other).findings
    assert (finding.row, finding.flaw) == (2, Flaw.DOCUMENT)
    assert finding.words == "the rows up to 2 lead to another serial, fence than the alias's document has"


def test_a_row_beyond_the_head_is_told_by_its_number() -> None:
    _, rows = lived(["hold", "release", "hold"])
    alias, _ = lived(["hold"])
    beyond = next(f for f in walked(documents(rows), alias).findings if f.flaw is Flaw.EXTRA)
    assert (beyond.row, beyond.words) == (2, "row 2 is beyond the head of the alias's document")


def test_a_change_that_cannot_be_read_is_told_by_its_row() -> None:
    alias, rows = lived(["hold", "release"])
    first, second = documents(rows)
    bad = hashed({**second, "change": {**second["change"], "fence": "many"}})
    found = walked([first, bad], replace(alias, head=bad["hash"])).findings
    assert (found[0].flaw, found[0].row, found[0].words) == (Flaw.UNREADABLE, 2, "what row 2 changed cannot be read")


def words_of(alias: Alias, *states: Alias, kind: str = "any") -> list[str]:
    """What is said of a chain of these states, each of which is put down as a change of this kind."""
    start, rows = lived(["open", "close", "open"])
    assert alias == start
    for state in states:
        after = replace(state, history=start.history, head=start.head)
        start, row = advance(start, after, kind=kind, at=START, actor="policy", decision=None, reason="")
        rows.append(row)
    return [finding.words for finding in walked(documents(rows), start).findings]


def test_a_wrong_move_and_a_second_intent_are_told_by_their_row() -> None:
    alias, _ = lived(["open", "close", "open"])
    assert alias.intent is not None
    assert words_of(alias, replace(moved(alias, START), serial=9)) == [
        "row 4 moves the alias, but not by one, or not to where its intent led"
    ]
    other = replace(alias, intent=replace(alias.intent, decision="another"))
    assert words_of(alias, other) == ["row 4 opens an intent while another is open"]


def test_what_somebody_else_made_the_default_is_adopted_without_an_intent() -> None:
    alias, _ = lived(["open", "close", "open"])
    adopted = replace(moved(alias, START), intent=None)
    closed = replace(alias, intent=None)
    wrong = "row 5 moves the alias, but not by one, or not to where its intent led"
    assert words_of(alias, closed, adopted, kind=f"command.{ADOPT}") == []
    assert words_of(alias, closed, adopted, kind=f"decision.{ADOPT}") == [wrong]
    assert words_of(alias, closed, replace(adopted, serial=9), kind=f"command.{ADOPT}") == [wrong]
    assert ADOPT == "adopt"


def test_from_the_middle_a_move_is_believed_as_far_as_it_can_be_known() -> None:
    alias, rows = lived(["open", "close", "open", "close"])
    assert walked(documents(rows)[3:], alias, first=4).findings == []
    assert walked(documents(rows)[2:], alias, first=3).findings == []
    walk = Walk(ALIAS, first=4)
    assert (walk.n, walk.head, walk.known) == (3, None, {})
    assert Walk(ALIAS).head == ""


@pytest.mark.parametrize(
    ("kind", "with_decision"),
    [("decision.promoted", True), ("command.hold", True), ("applied", False), ("decision", False), ("drifted", False)],
)
def test_a_row_tells_whether_it_was_committed_with_a_decision(kind: str, with_decision: bool) -> None:
    _, (row,) = lived(["hold"])
    assert is_decision(replace(row, kind=kind)) is with_decision


@pytest.mark.parametrize(
    ("made_by", "kind"), [("policy", "decision.promoted"), ("hold", "command.hold"), ("adopt", "command.adopt")]
)
def test_a_decision_and_its_row_say_the_same(made_by: str, kind: str) -> None:
    decision = Decision(
        id="d-1",
        alias=ALIAS,
        kind=made_by,
        outcome=Outcome.PROMOTED,
        reason="because",
        at=START,
        actor="ana",
        actor_verified=True,
        generation=0,
        serial=0,
    )
    _, row = advance(
        Alias(key=ALIAS), Alias(key=ALIAS), kind=kind, at=START, actor="ana", decision="d-1", reason="because"
    )
    assert said_by(row) == said_by(decision)
    others = [
        replace(row, kind="command.release"),
        replace(row, decision="d-2"),
        replace(row, decision=None),
        replace(row, at=START + HOUR),
        replace(row, actor="eve"),
        replace(row, reason=""),
        replace(row, alias=ALL_ALIASES),
    ]
    assert len({said_by(row), *map(said_by, others)}) == len(others) + 1
    assert said_by(replace(row, decision=None)) == digest("", str(ALIAS), kind, format_time(START), "ana", "because")
