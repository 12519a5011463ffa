"""A scenario that nobody wrote the driver for ends as its data says."""

from support.playing import Played

NORTH = "projects/222222222222/locations/europe-west4/models"


def test_it_settles_although_everything_is_a_little_ill(other: Played) -> None:
    assert other.code == 0, other.output
    fired = other.output
    assert "KILLED run_smoke_test, as throttled happened" in fired
    assert "KILLED track_tuning_job, as list-breaks happened" in fired


def test_a_checkpoint_that_vanished_does_not_serve_and_the_earlier_one_does(other: Played) -> None:
    states = {each["checkpoint_id"]: each["state"] for each in other.report["checkpoints"] if each["job"] == "200"}
    assert states == {"a": "ready", "b": "gone", "c": "ready"}
    assert other.aliases()["sums@live"]["step"] == 50
    assert other.report["provider_defaults"][f"{NORTH}/2000@3"] == "a"


def test_a_write_that_was_denied_after_it_happened_is_read_back(other: Played) -> None:
    writes = [write["checkpoint"] for write in other.report["provider_writes"] if "2000" in write["model"]]
    assert set(writes) == {"a"}
    assert len(writes) <= 2


def test_an_endpoint_that_never_answers_holds_nobody_up_for_ever(other: Played) -> None:
    assert other.aliases()["patient@prod"]["step"] == 7
    (decision,) = other.decisions("patient")
    assert decision["outcome"] == "promoted"
    assert "step 14 inconclusive" in decision["reason"]


def test_a_dry_run_says_what_it_would_do_and_does_nothing(other: Played) -> None:
    assert [each["outcome"] for each in other.decisions("watched")] == ["wouldPromote"]
    assert other.aliases()["watched@prod"]["serial"] == 0


def test_a_missing_loss_is_inconclusive_and_the_next_job_is_promoted(other: Played) -> None:
    outcomes = [(each["outcome"], each["candidate"]) for each in other.decisions("losses")]
    assert outcomes == [("inconclusive", None), ("promoted", "openai:proj_red:-:ftjob-red2/ftckpt_r2")]
    assert other.aliases()["losses@prod"]["serial"] == 1


def test_what_is_older_than_since_and_what_no_policy_selects_is_only_recorded(other: Played) -> None:
    recorded = {each["job"] for each in other.report["checkpoints"]}
    assert {"100", "ftjob-other"} <= recorded
    tested = {run["checkpoint"].partition("/")[0].rpartition(":")[2] for run in other.report["smoke_runs"]}
    assert tested == {"200", "400", "ftjob-blue1"}
    assert other.report["provider_defaults"][f"{NORTH}/1000@1"] == "1"
