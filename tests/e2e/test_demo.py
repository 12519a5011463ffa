"""The built-in scenario, embedded: the report holds what the story says."""

import os
import re
import subprocess
import sys

import pytest

from ratchet.domain.keys import JobKey
from support.playing import Played

# With the emulators' test, which compares with the same playing.
pytestmark = pytest.mark.xdist_group("emulators")

MODEL = "projects/123456789012/locations/us-central1/models/7777@1"
FAQ_JOB = "openai:proj_a1:-"


def test_it_settles_in_its_time(embedded: Played) -> None:
    assert embedded.code == 0, embedded.output


def test_every_checkpoint_is_recorded_and_tested_once(embedded: Played) -> None:
    steps = {(each["job"], each["step"]) for each in embedded.report["checkpoints"]}
    assert {("8812", step) for step in (100, 200, 300, 400, 500)} <= steps
    assert {("ftjob-abc123", 1000), ("ftjob-abc123", 2000)} <= steps
    assert len(steps) == 16
    tested = [(run["checkpoint"], run["suite"], run["purpose"]) for run in embedded.report["smoke_runs"]]
    assert len(tested) == len(set(tested)) == 16
    assert {run["outcome"] for run in embedded.report["smoke_runs"]} == {"pass", "fail"}


def test_the_last_checkpoint_that_vertex_crowned_is_replaced_by_the_best_that_passed(embedded: Played) -> None:
    assert embedded.report["provider_defaults"] == {MODEL: "4"}
    alias = embedded.aliases()["support-router@prod"]
    assert (alias["step"], alias["serial"], alias["provider"]) == (400, 1, "vertex")
    assert alias["target"] == "projects/123456789012/locations/us-central1/endpoints/9004"
    (decision,) = embedded.decisions("support-router")
    assert decision["outcome"] == "promoted"
    assert "step 500 rejected: quality 0.667 (8/12) is not >= 0.90" in decision["reason"]


def test_a_provider_write_is_repeated_at_most_once(embedded: Played) -> None:
    writes = [(write["model"], write["checkpoint"]) for write in embedded.report["provider_writes"]]
    assert set(writes) == {(MODEL, "4")}
    assert len(writes) <= 2


def test_the_promotion_is_finished_by_another_after_the_worker_was_killed(embedded: Played) -> None:
    assert "KILLED enforce_promotion" in embedded.output
    history = embedded.heard("promotion.promoted", alias="support-router@prod")
    assert [line["serial"] for line in history] == [1]


def test_the_alias_moves_by_one_with_each_better_job_and_not_with_a_worse(embedded: Played) -> None:
    told = [(each["outcome"], each["candidate"]) for each in embedded.decisions("faq")]
    assert told == [
        ("promoted", f"{FAQ_JOB}:ftjob-faq0001/ftckpt_faq000102"),
        ("promoted", f"{FAQ_JOB}:ftjob-abc123/ftckpt_zc4Q7MP6XxulcVzj4MZdwsAB"),
        ("keptCurrent", f"{FAQ_JOB}:ftjob-lost01/ftckpt_lost0102"),
        ("rejected", None),
        ("promoted", f"{FAQ_JOB}:ftjob-better01/ftckpt_better0101"),
    ]
    assert embedded.aliases()["faq@prod"]["serial"] == 3
    refusal = embedded.decisions("faq")[3]
    assert "quality 0.667 (8/12) is not >= 0.90" in refusal["reason"]
    assert "fail" in {gate["verdict"] for gate in refusal["gates"]}


def test_a_promoted_candidate_passes_every_gate_of_its_decision(embedded: Played) -> None:
    promoted = [each for each in embedded.report["decisions"] if each["outcome"] == "promoted"]
    assert promoted
    for decision in promoted:
        assert decision["gates"]
        assert {gate["verdict"] for gate in decision["gates"]} == {"pass"}


def test_a_webhook_that_comes_again_changes_nothing_and_the_log_says_so(embedded: Played) -> None:
    job = str(JobKey.parse(f"{FAQ_JOB}:ftjob-abc123"))
    changed = embedded.heard("job.changed", job=job, state="succeeded")
    assert len(changed) == 1
    accepted = [line["event_id"] for line in embedded.heard("webhook.accepted")]
    (repeated,) = {each for each in accepted if accepted.count(each) == 3}
    assert len(embedded.heard("event.settled", event_id=repeated)) == 3
    # A look that comes before its checkpoints are recorded announces them again, which records nothing twice.
    first = [line["checkpoint"] for line in embedded.heard("checkpoint.recorded") if line["checkpoint"].startswith(job)]
    assert len(first) == len(set(first)) == 2


def test_a_forged_webhook_is_refused(embedded: Played) -> None:
    assert embedded.report["events"]["rejected"] == 1
    assert [line["code"] for line in embedded.heard("webhook.rejected")] == ["sig_bad"]
    assert embedded.report["events"]["dead"] == 0


def test_a_job_whose_webhook_is_lost_is_found_by_the_sweep(embedded: Played) -> None:
    assert len([each for each in embedded.report["checkpoints"] if each["job"] == "ftjob-lost01"]) == 2


def test_no_answer_of_a_model_and_no_secret_is_in_the_log(embedded: Played) -> None:
    text = (embedded.folder / "log.jsonl").read_text()
    for secret in ("sk-sim-a1", "c2ltdWxhdGVkLXNlY3JldC1mb3ItdGVzdHMtb25seQ", "queue: refunds", "9 to 17"):
        assert secret not in text


def test_every_accepted_event_was_settled_once(embedded: Played) -> None:
    events = embedded.report["events"]
    assert events["accepted"] >= events["recorded"] + events["ignored"] + events["dead"]
    assert events["recorded"] > 0


def test_every_decision_can_be_made_again_from_what_was_stored(embedded: Played) -> None:
    """In another process, without the rule files, at another time."""
    command = [sys.executable, "-m", "support.again", str(embedded.folder / "ratchet.db")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    told = re.fullmatch(r"([0-9]+) of \1 the same\n", done.stdout)
    assert told is not None, done.stdout
    # The report leaves out the waits that something came of.
    assert int(told[1]) >= len([each for each in embedded.report["decisions"] if each["kind"] == "policy"])
