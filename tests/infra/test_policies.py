"""The plan of the example keeps every policy, and each broken variant of `infra/` breaks the one that is about it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infra import policies
from support import terraform
from support.terraform import Plan, Refused

Check = Callable[[Plan], Iterator[str]]

MODULE = "modules/event-function"
KEY = 'resource "google_service_account_key" "bad" {\n  service_account_id = google_service_account.scheduler.name\n}\n'
VALUE = (
    'resource "google_secret_manager_secret_version" "bad" {\n'
    "  for_each    = google_secret_manager_secret.webhook\n  secret      = each.value.id\n"
    '  secret_data = "x"\n}\n'
)
EVERYWHERE = (
    'resource "google_project_iam_member" "bad" {\n  project = var.project\n  role    = "roles/pubsub.publisher"\n'
    '  member  = "serviceAccount:${local.scheduler_email}"\n}\n'
)

BROKEN: list[tuple[str, str, str, str, Check | None]] = [
    ("a public worker", f"{MODULE}/identity.tf", "var.public ?", "true ?", policies.only_the_webhook_is_public),
    ("a worker open to the internet", "functions.tf", 'ingress = "ALLOW_INTERNAL_ONLY"', 'ingress = "ALLOW_ALL"',
     policies.only_doors_are_open),
    ("a missing dead letter", f"{MODULE}/subscription.tf", 'each.key == "dead-letters" ? []', "true ? []",
     policies.what_fails_comes_again_and_then_is_kept),
    ("dead letters that cannot move", f"{MODULE}/subscription.tf", '"roles/pubsub.subscriber"', '"roles/pubsub.viewer"',
     policies.dead_letters_can_move),
    ("a second one who may change a default", "roles.tf", '["endpoints.get", "endpoints.predict"]',
     '["endpoints.get", "endpoints.predict", "models.update"]', policies.one_alone_may_change_a_default),
    ("a right to delete", "roles.tf", '["create", "get", "list", "update"]',
     '["create", "delete", "get", "list", "update"]', policies.nobody_may_delete),
    ("an absent index", "firestore.tf", 'toset(["ASCENDING", "DESCENDING"])', 'toset(["ASCENDING"])',
     policies.indexes_are_those_of_the_queries),
    ("an absent field", "firestore.tf", '["job", "next_look_at", "recorded_at"]', '["job", "next_look_at"]',
     policies.indexes_are_those_of_the_queries),
    ("a misspelled attribute", f"{MODULE}/function.tf", "timeout_seconds  ", "timeout_second  ", None),
    ("a word that is none", "functions.tf", 'ingress = "ALLOW_INTERNAL_ONLY"', 'ingress = "INTERNAL"', None),
    ("a too short ack deadline", f"{MODULE}/subscription.tf", "= var.ack_deadline", "= 60",
     policies.times_out_before_anybody_else_takes_over),
    ("a second publisher of commands", "functions.tf", '["tuning-jobs", "smoke-tests", "promotions"]',
     '["tuning-jobs", "smoke-tests", "promotions", "commands"]',
     policies.each_publishes_where_it_must_and_nowhere_else),
    ("a publisher everywhere", "scheduler.tf", 'resource "google_cloud', EVERYWHERE + '\nresource "google_cloud',
     policies.nothing_holds_a_right_of_the_whole_project),
    ("a key of an account", "scheduler.tf", 'resource "google_cloud', KEY + '\nresource "google_cloud',
     policies.accounts_have_no_keys),
    ("a secret in the state", "secrets.tf", 'resource "google_secret_manager_secret" "webhook"',
     VALUE + '\nresource "google_secret_manager_secret" "webhook"', policies.secrets_are_containers),
    ("a database that can be deleted", "firestore.tf", "DELETE_PROTECTION_ENABLED", "DELETE_PROTECTION_DISABLED",
     policies.the_database_cannot_be_lost),
    ("a subscription that expires", f"{MODULE}/subscription.tf", 'ttl = ""', 'ttl = "2678400s"',
     policies.no_subscription_expires),
    ("two sweeps at once", "functions.tf", "max_instances = 1\n", "max_instances = 2\n",
     policies.nothing_grows_without_end),
    ("several events at a time", "functions.tf", "concurrency = 1,", "concurrency = 8,",
     policies.what_has_effects_handles_one_event_at_a_time),
    ("a push for anybody", f"{MODULE}/subscription.tf", "audience              = local.url",
     'audience              = "https://example.com"', policies.pushes_carry_a_token_for_their_function),
    ("anchors that can be rewritten", "log_sink.tf", "retention_days = 400", "retention_days = 30",
     policies.anchors_cannot_be_rewritten),
    ("an alert that says nothing", "monitoring.tf", '"Runbook: ${local.runbook}#${each.value.section}"', '"Good luck"',
     policies.every_alert_reaches_somebody_who_knows_what_to_do),
    ("a build that cannot read its source", "storage.tf", "gcf-v2-sources-", "gcf-sources-",
     policies.the_build_can_read_what_it_builds),
    ("an alert on another project's log", "monitoring.tf", "project      = each.key\n", "project      = var.project\n",
     policies.alerts_on_log_lines_stand_where_those_are_written),
    ("a function without canary that is called silent", "monitoring.tf",
     ' AND resource.label.service_name!=\\"ratchet-park-dead-letter\\"', "",
     policies.what_has_no_canary_is_not_called_silent),
]  # fmt: skip


def test_it_is_valid_and_formatted(tmp_path: Path) -> None:
    copy = terraform.copy(tmp_path / "whole").initialised()
    copy.run("validate", "-no-color")
    copy.run("fmt", "-check", "-recursive")


def test_it_passes_the_tests_of_its_own(tmp_path: Path) -> None:
    told = terraform.copy(tmp_path / "whole").initialised().run("test", "-no-color")
    assert "4 passed, 0 failed" in told


@pytest.mark.parametrize("check", policies.CHECKS, ids=lambda check: check.__name__)
def test_the_plan_keeps(plan: Plan, check: Check) -> None:
    assert list(check(plan)) == []


@pytest.mark.parametrize(("file", "old", "new", "check"), [case[1:] for case in BROKEN], ids=[c[0] for c in BROKEN])
def test_a_broken_variant_is_noticed(tmp_path: Path, file: str, old: str, new: str, check: Check | None) -> None:
    copy = terraform.copy(tmp_path / "broken").initialised()
    path = copy.infra / file
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    if check is None:
        with pytest.raises(Refused):
            copy.plan()
    else:
        assert list(check(copy.plan()))


def test_during_a_rotation_the_previous_secret_is_a_file_too(tmp_path: Path) -> None:
    copy = terraform.copy(tmp_path / "whole").initialised()
    planned = copy.plan("-var", 'previous_webhook_versions={proj_a1="3"}')
    (webhook,) = [
        values
        for address, values in planned.of("google_cloudfunctions2_function").items()
        if "receive_webhook" in address
    ]
    (volume,) = webhook["service_config"][0]["secret_volumes"]
    assert sorted((v["path"], v["version"]) for v in volume["versions"]) == [("current", "latest"), ("previous", "3")]
