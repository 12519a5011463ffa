"""Identity: how a key is written, what can be none, and that different things never share one."""

from typing import Any

import pytest

from ratchet.domain.keys import (
    ALL_ALIASES,
    CANARY,
    CANARY_CHECKPOINT,
    AliasKey,
    CheckpointKey,
    JobKey,
    Provider,
    digest,
)
from ratchet.domain.records import Purpose, history_key, result_key, run_key


@pytest.mark.parametrize(
    "text",
    ["vertex:1:us:8812", "openai:proj_a1:-:ftjob-abc123"],
)
def test_a_job_key_is_read_as_it_is_written(text: str) -> None:
    assert str(JobKey.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "vertex",
        "vertex:1:us",
        "other:1:us:2",
        "vertex:1:us:../x",
        "vertex:1:us:a/b",
        "vertex::us:2",
        "vertex:1:us:" + "9" * 129,
    ],
)
def test_what_could_leave_its_place_is_no_job_key(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - every refusal is a ValueError
        JobKey.parse(text)


def test_aliases_and_checkpoints_have_their_form() -> None:
    assert str(AliasKey.parse("support-router@prod")) == "support-router@prod"
    assert AliasKey.parse("*") == ALL_ALIASES
    assert str(ALL_ALIASES) == "*"
    assert str(CheckpointKey.parse("vertex:1:us:8812/3").id) == "3"
    for refused in ("x", "X@prod", "a@b@c", "@prod", "*@"):
        with pytest.raises(ValueError):  # noqa: PT011
            AliasKey.parse(refused)
    with pytest.raises(ValueError, match="checkpoint"):
        CheckpointKey.parse("vertex:1:us:8812/a b")


@pytest.mark.parametrize("part", ["", "-x", ".x", "a b", "a/b", "a:b", "ä", "x" * 129, "a\n"])
def test_no_part_of_a_key_can_leave_its_place(part: str) -> None:
    for place in ("account", "location", "id"):
        parts: dict[str, Any] = {"account": "1", "location": "-", "id": "2", place: part}
        with pytest.raises(ValueError, match=r"^not a part of a job key$"):
            JobKey(Provider.VERTEX, **parts)
    with pytest.raises(ValueError, match=r"^not a checkpoint id$"):
        CheckpointKey(JobKey(Provider.VERTEX, "1", "-", "2"), part)


@pytest.mark.parametrize("part", ["-", "x", "9", "A.b_c-D", "x" * 128])
def test_a_part_of_a_key_is_what_providers_call_things(part: str) -> None:
    job = JobKey(Provider.OPENAI, part, part, part)
    assert JobKey.parse(str(job)) == job
    assert CheckpointKey.parse(str(CheckpointKey(job, part))).id == part


@pytest.mark.parametrize(
    ("text", "why"), [("vertex:1:-", "4 parts joined by ':'"), ("a:b:c:d:e", "4 parts joined by ':'")]
)
def test_a_refusal_says_what_a_key_is_made_of(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=rf"^not {why}$"):
        JobKey.parse(text)
    with pytest.raises(ValueError, match=r"^not 2 parts joined by '/'$"):
        CheckpointKey.parse("vertex:1:-:2")
    with pytest.raises(ValueError, match=r"^not 2 parts joined by '@'$"):
        AliasKey.parse("line")


@pytest.mark.parametrize("alias", ["p", "prod-2", "x" * 63, "prod~other", f"{'x' * 63}~{'y' * 63}"])
def test_an_alias_is_lower_case_letters_digits_and_dashes(alias: str) -> None:
    assert str(AliasKey.parse(f"line@{alias}")) == f"line@{alias}"


@pytest.mark.parametrize(
    "text",
    [
        "line@-x",
        "line@X",
        "line@a_b",
        f"line@{'x' * 64}",
        "line@a~b~c",
        "line@~b",
        "line@a~",
        "l~x@a",
        "-l@a",
        "*@prod",
        "line@*",
        "*@",
    ],
)
def test_anything_else_is_no_alias(text: str) -> None:
    with pytest.raises(ValueError, match=r"^not a line@alias$"):
        AliasKey.parse(text)


def test_a_shadow_knows_the_alias_that_serves() -> None:
    prod = AliasKey("line", "prod")
    shadow = prod.shadow("careful")
    assert str(shadow) == "line@prod~careful"
    assert shadow.served == prod
    assert prod.served == prod
    assert shadow != prod


def test_the_hold_of_all_has_one_spelling() -> None:
    assert ALL_ALIASES == AliasKey.parse("*") == AliasKey("*", "")
    assert str(ALL_ALIASES) == "*"
    with pytest.raises(ValueError, match=r"^not a line@alias$"):
        AliasKey("line", "")


def test_a_digest_names_its_parts_and_where_each_begins() -> None:
    assert digest("a", "b") == "facdde7abf1eac5b301273ab2e282f79bab0100f058833a7b8bdf9f80741e149"
    assert len({digest(), digest(""), digest("", ""), digest("ab"), digest("a", "b"), digest("b", "a")}) == 6
    assert digest("job-1", "12") != digest("job-11", "2")
    assert digest("\ud800") != digest("?")


def test_keys_are_ordered_by_provider_account_location_and_id() -> None:
    ordered = ["openai:2:-:1", "vertex:1:eu:9", "vertex:1:us:1", "vertex:1:us:2"]
    assert [str(key) for key in sorted(map(JobKey.parse, reversed(ordered)))] == ordered


def test_runs_results_and_rows_have_keys_of_their_own() -> None:
    key = CheckpointKey.parse("vertex:1:us:8812/3")
    runs = {
        run_key(key, "d", Purpose.GATE, "-", 1),
        run_key(key, "e", Purpose.GATE, "-", 1),
        run_key(key, "d", Purpose.WATCH, "-", 1),
        run_key(key, "d", Purpose.GATE, "1", 1),
        run_key(key, "d", Purpose.GATE, "-", 2),
        run_key(CheckpointKey(key.job, "4"), "d", Purpose.GATE, "-", 1),
    }
    assert len(runs) == 6
    assert (
        len({result_key("r", "c", 0), result_key("r", "c", 1), result_key("r", "d", 0), result_key("s", "c", 0)}) == 4
    )
    alias = AliasKey("line", "prod")
    assert history_key(alias, 7) == f"{digest('line@prod')}-000000000007"


def test_the_canary_has_the_name_that_the_runbook_gives_it() -> None:
    assert str(CANARY_CHECKPOINT) == "canary:-:-:canary/1"
    assert CANARY_CHECKPOINT.job == CANARY
