"""What the plan must be, one check a function: each yields what is wrong with a plan, in words.

Scanners say nothing of most of these (reliability 4.5): the reasons are there, and the roles in 4.2.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ratchet.domain.events import Topic
from ratchet.domain.limits import Limits
from ratchet.domain.topology import SUBSCRIBERS, subscription
from ratchet.ports import QUERIES
from support.terraform import Plan

PROJECT, VERTEX, NUMBER, REGION = "acme-ratchet", "acme-ml", "210987654321", "europe-west1"
AGENT = f"serviceAccount:service-{NUMBER}@gcp-sa-pubsub.iam.gserviceaccount.com"
DEAD_LETTERS = f"projects/{PROJECT}/topics/dead-letters"
DATABASE_ALONE = f'resource.name == "projects/{PROJECT}/databases/ratchet"'
RUNBOOK = Path(__file__).resolve().parents[2] / "infra" / "RUNBOOK.md"

FUNCTIONS = {path.name for path in (RUNBOOK.parents[1] / "functions").iterdir() if path.is_dir()}
DOORS = {"receive_webhook", "receive_command", "resolve_alias"}
PUBLISHES = {
    "receive_webhook": {"tuning-jobs", "dead-letters"},
    "receive_command": {"commands"},
    "track_tuning_job": {"checkpoints", "promotions"},
    "record_checkpoint": {"smoke-tests"},
    "run_smoke_test": {"promotions", "smoke-tests"},
    "enforce_promotion": {"decisions", "smoke-tests"},
    "reconcile": {"tuning-jobs", "smoke-tests", "promotions"},
}
STATE = dict.fromkeys(FUNCTIONS - DOORS, "Writer") | {"resolve_alias": "Reader"}
AT_VERTEX = {
    "track_tuning_job": {"tuningJobs.get", "models.get"},
    "run_smoke_test": {"endpoints.get", "endpoints.predict"},
    "enforce_promotion": {"models.get", "models.update", "tuningJobs.get", "endpoints.predict"},
    "reconcile": {"tuningJobs.list", "models.get"},
}
SECRETS = {
    "receive_webhook": {"ratchet-webhook-proj_a1"},
    "track_tuning_job": {"ratchet-openai-proj_a1-read"},
    "reconcile": {"ratchet-openai-proj_a1-read"},
    "run_smoke_test": {"ratchet-openai-proj_a1-inference"},
    "enforce_promotion": {"ratchet-openai-proj_a1-inference"},
}
CALLERS = {
    "receive_webhook": {"allUsers"},
    "receive_command": {"group:ml-platform@example.com"},
    "resolve_alias": {"serviceAccount:support-app@acme-ml.iam.gserviceaccount.com"},
    "reconcile": {f"serviceAccount:ratchet-scheduler@{PROJECT}.iam.gserviceaccount.com"},
}
for _topic, _function in SUBSCRIBERS.items():
    CALLERS.setdefault(_function, set()).add(f"serviceAccount:ratchet-push-{_topic}@{PROJECT}.iam.gserviceaccount.com")


def account(function: str) -> str:
    return f"ratchet-{function.replace('_', '-')}@{PROJECT}.iam.gserviceaccount.com"


def member(function: str) -> str:
    return f"serviceAccount:{account(function)}"


def url(function: str) -> str:
    return f"https://ratchet-{function.replace('_', '-')}-{NUMBER}.{REGION}.run.app"


def _functions(plan: Plan) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Each function's name, its configuration when it runs, and when it is built."""
    for address, values in plan.of("google_cloudfunctions2_function").items():
        yield _module(address), values["service_config"][0], values["build_config"][0]


def _module(address: str) -> str:
    found = re.match(r'module\.function\["(\w+)"\]', address)
    return found[1] if found else ""


def _environment(service: dict[str, Any]) -> dict[str, str]:
    return service["environment_variables"] or {}


def the_nine_functions_are_there(plan: Plan) -> Iterator[str]:
    found = {name for name, _, _ in _functions(plan)}
    if found != FUNCTIONS:
        yield f"functions are {sorted(found)}"


def each_runs_as_itself(plan: Plan) -> Iterator[str]:
    for name, service, build in _functions(plan):
        if service["service_account_email"] != account(name):
            yield f"{name} runs as {service['service_account_email']}"
        if not build["service_account"].endswith(f"/ratchet-build@{PROJECT}.iam.gserviceaccount.com"):
            yield f"{name} is built by {build['service_account']}"


def each_runs_the_same_python(plan: Plan) -> Iterator[str]:
    for name, _, build in _functions(plan):
        if (build["runtime"], build["entry_point"]) != ("python313", "main"):
            yield f"{name} is built as {build['runtime']} {build['entry_point']}"


def only_doors_are_open(plan: Plan) -> Iterator[str]:
    for name, service, _ in _functions(plan):
        wanted = "ALLOW_ALL" if name in DOORS else "ALLOW_INTERNAL_ONLY"
        if service["ingress_settings"] != wanted:
            yield f"{name} has ingress {service['ingress_settings']}"


def what_has_effects_handles_one_event_at_a_time(plan: Plan) -> Iterator[str]:
    for name, service, _ in _functions(plan):
        threads = int(_environment(service)["THREADS"])
        one = service["max_instance_request_concurrency"] == threads == 1
        if (name not in DOORS and not one) or int(_environment(service)["WORKERS"]) != 1:
            yield f"{name} handles {service['max_instance_request_concurrency']} events at a time in {threads} threads"


def nothing_grows_without_end(plan: Plan) -> Iterator[str]:
    for name, service, _ in _functions(plan):
        if not 1 <= (service["max_instance_count"] or 0) <= 20:
            yield f"{name} may have {service['max_instance_count']} instances"
    if {service["max_instance_count"] for name, service, _ in _functions(plan) if name == "reconcile"} != {1}:
        yield "two sweeps may run at once"


def times_out_before_anybody_else_takes_over(plan: Plan) -> Iterator[str]:
    """budget < function < ack deadline < lease; the code refuses another chain in its configuration."""
    limits = Limits()
    for name, service, _ in _functions(plan):
        most = 15 if name in DOORS else limits.function_timeout
        if service["timeout_seconds"] != most or (name not in DOORS and most <= limits.budget):
            yield f"{name} times out after {service['timeout_seconds']} s"
    for address, values in plan.of("google_pubsub_subscription").items():
        if not limits.function_timeout < values["ack_deadline_seconds"] < limits.lease:
            yield f"{address} is acknowledged within {values['ack_deadline_seconds']} s"


def a_deployment_has_its_number(plan: Plan) -> Iterator[str]:
    for name, service, _ in _functions(plan):
        if int(_environment(service).get("RATCHET_RELEASE", "0")) < 1:
            yield f"{name} has no release"


def who_pushes_is_checked(plan: Plan) -> Iterator[str]:
    for name, service, _ in _functions(plan):
        found = _environment(service)
        if name in DOORS:
            continue
        invokers = {f"serviceAccount:{email}" for email in found.get("RATCHET_PUSH_INVOKERS", "").split(",")}
        if found.get("RATCHET_PUSH_AUDIENCE") != url(name) or invokers != CALLERS[name]:
            yield f"{name} takes pushes of {sorted(invokers)} for {found.get('RATCHET_PUSH_AUDIENCE')}"


def each_topic_has_its_subscription(plan: Plan) -> Iterator[str]:
    topics = {values["name"] for values in plan.of("google_pubsub_topic").values()}
    if topics != set(map(str, Topic)):
        yield f"topics are {sorted(topics)}"
    found = {values["name"]: values["topic"] for values in plan.of("google_pubsub_subscription").values()}
    if found != {subscription(topic): str(topic) for topic in SUBSCRIBERS}:
        yield f"subscriptions are {found}"


def topics_can_be_taken_back(plan: Plan) -> Iterator[str]:
    for address, values in plan.of("google_pubsub_topic").items():
        if values["message_retention_duration"] != "2678400s":
            yield f"{address} keeps messages for {values['message_retention_duration']}"
    for address, values in plan.of("google_pubsub_subscription").items():
        if values["message_retention_duration"] != "604800s":
            yield f"{address} keeps messages for {values['message_retention_duration']}"


def pushes_carry_a_token_for_their_function(plan: Plan) -> Iterator[str]:
    for address, values in plan.of("google_pubsub_subscription").items():
        name, push = SUBSCRIBERS[Topic(values["topic"])], values["push_config"][0]
        token = (push["oidc_token"] or [{}])[0]
        wanted = f"ratchet-push-{values['topic']}@{PROJECT}.iam.gserviceaccount.com"
        if token.get("audience") != url(name) or token.get("service_account_email") != wanted:
            yield f"{address} pushes as {token}"
        if push["push_endpoint"] != f"{url(name)}/{values['topic']}":
            yield f"{address} pushes to {push['push_endpoint']}"


def what_fails_comes_again_and_then_is_kept(plan: Plan) -> Iterator[str]:
    for address, values in plan.of("google_pubsub_subscription").items():
        retry = (values["retry_policy"] or [{}])[0]
        if (retry.get("minimum_backoff"), retry.get("maximum_backoff")) != ("10s", "600s"):
            yield f"{address} comes again after {retry}"
        dead = (values["dead_letter_policy"] or [{}])[0]
        if values["topic"] == "dead-letters":
            if dead:
                yield f"{address} sends dead letters to themselves"
        elif (dead.get("dead_letter_topic"), dead.get("max_delivery_attempts")) != (DEAD_LETTERS, 30):
            yield f"{address} has dead letters {dead}"


def no_subscription_expires(plan: Plan) -> Iterator[str]:
    for address, values in plan.of("google_pubsub_subscription").items():
        if [policy["ttl"] for policy in values["expiration_policy"]] != [""]:
            yield f"{address} expires"


def dead_letters_can_move(plan: Plan) -> Iterator[str]:
    """Pub/Sub's own account publishes there, and takes from each source."""
    on_topic = [v for v in plan.of("google_pubsub_topic_iam_member").values() if v.get("member") == AGENT]
    if [(v["topic"], v["role"]) for v in on_topic] != [("dead-letters", "roles/pubsub.publisher")]:
        yield "Pub/Sub cannot publish to dead-letters"
    taking = {
        v["subscription"]
        for v in plan.of("google_pubsub_subscription_iam_member").values()
        if (v["member"], v["role"]) == (AGENT, "roles/pubsub.subscriber")
    }
    if taking != {subscription(topic) for topic in SUBSCRIBERS if topic is not Topic.DEAD_LETTERS}:
        yield f"Pub/Sub takes from {sorted(taking)}"


def each_publishes_where_it_must_and_nowhere_else(plan: Plan) -> Iterator[str]:
    found: dict[str, set[str]] = {}
    for address, values in plan.of("google_pubsub_topic_iam_member").items():
        if values["role"] != "roles/pubsub.publisher":
            yield f"{address} is {values['role']}"
        # The member of a log sink is known to the provider alone.
        if values.get("member") in (None, AGENT):
            continue
        found.setdefault(values["member"], set()).add(values["topic"])
    if found != {member(name): topics for name, topics in PUBLISHES.items()}:
        yield f"publishers are {found}"


def the_log_sink_feeds_hints_alone(plan: Plan) -> Iterator[str]:
    sinks = plan.of("google_logging_project_sink")
    found = [v for v in sinks.values() if v["destination"].startswith("pubsub.googleapis.com/")]
    if [(v.get("project"), v["destination"].rpartition("/")[2]) for v in found] != [(VERTEX, "tuning-jobs")]:
        yield f"sinks are {sorted(sinks)}"
    granted = [
        values["topic"]
        for address, values in plan.of("google_pubsub_topic_iam_member").items()
        if address.startswith("google_pubsub_topic_iam_member.sink")
    ]
    if granted != ["tuning-jobs"] or not all(v["unique_writer_identity"] for v in sinks.values()):
        yield f"a sink may publish to {granted}"


def nobody_may_delete(plan: Plan) -> Iterator[str]:
    for address, values in plan.of("google_project_iam_custom_role").items():
        bad = [right for right in values["permissions"] if "delete" in right or "*" in right or "setIamPolicy" in right]
        if bad:
            yield f"{address} holds {bad}"


def the_state_is_written_by_those_who_own_it(plan: Plan) -> Iterator[str]:
    roles = {
        f"projects/{PROJECT}/roles/{values['role_id']}": set(values["permissions"])
        for address, values in plan.of("google_project_iam_custom_role").items()
        if ".state" in address
    }
    reader = {"datastore.entities.get", "datastore.entities.list"}
    writer = reader | {"datastore.entities.create", "datastore.entities.update"}
    if roles != {f"projects/{PROJECT}/roles/ratchetState{n}": r for n, r in (("Reader", reader), ("Writer", writer))}:
        yield f"the roles are {roles}"
    found = {}
    for address, values in plan.of("google_project_iam_member").items():
        if ".state" in address:
            found[values["member"]] = values["role"]
            if [c["expression"] for c in values["condition"]] != [DATABASE_ALONE]:
                yield f"{address} holds for every database"
    wanted = {member(name): f"projects/{PROJECT}/roles/ratchetState{role}" for name, role in STATE.items()}
    if found != wanted:
        yield f"the state is open to {found}"


def one_alone_may_change_a_default(plan: Plan) -> Iterator[str]:
    roles = {
        f"projects/{VERTEX}/roles/{values['role_id']}": {
            right.removeprefix("aiplatform.") for right in values["permissions"]
        }
        for values in plan.of("google_project_iam_custom_role").values()
        if values.get("project") == VERTEX
    }
    found = {
        values["member"]: roles.get(values["role"])
        for values in plan.of("google_project_iam_member").values()
        if values.get("project") == VERTEX
    }
    if found != {member(name): rights for name, rights in AT_VERTEX.items()}:
        yield f"at Vertex may {found}"


def nothing_holds_a_right_of_the_whole_project(plan: Plan) -> Iterator[str]:
    """But for building, writing logs, and what a condition bounds."""
    allowed = {"roles/artifactregistry.writer", "roles/logging.logWriter"}
    for address, values in plan.of("google_project_iam_member").items():
        role = values["role"]
        if role.startswith("projects/") or (role in allowed and address.startswith("google_project_iam_member.build")):
            continue
        if not values["condition"]:
            yield f"{address} holds {role}"
    for kind in ("google_project_iam_binding", "google_project_iam_policy"):
        yield from plan.of(kind)


def accounts_have_no_keys(plan: Plan) -> Iterator[str]:
    yield from plan.of("google_service_account_key")


def secrets_are_containers(plan: Plan) -> Iterator[str]:
    yield from plan.of("google_secret_manager_secret_version")


def each_reads_its_own_secrets(plan: Plan) -> Iterator[str]:
    found: dict[str, set[str]] = {}
    for address, values in plan.of("google_secret_manager_secret_iam_member").items():
        if (values["role"], values["member"]) != ("roles/secretmanager.secretAccessor", member(_module(address))):
            yield f"{address} is {values['role']} of {values['member']}"
        found.setdefault(_module(address), set()).add(values["secret_id"])
    if found != SECRETS:
        yield f"secrets are read by {found}"
    used = {
        name: {v["secret"] for v in [*service["secret_environment_variables"], *service["secret_volumes"]]}
        for name, service, _ in _functions(plan)
    }
    if {name: secrets for name, secrets in used.items() if secrets} != SECRETS:
        yield f"secrets are used by {used}"


def webhook_secrets_are_files(plan: Plan) -> Iterator[str]:
    for name, service, _ in _functions(plan):
        if name == "receive_webhook":
            mounted = [(v["mount_path"], v["versions"]) for v in service["secret_volumes"]]
            if mounted != [("/secrets/proj_a1", [{"path": "current", "version": "latest"}])]:
                yield f"mounted is {mounted}"


def only_the_webhook_is_public(plan: Plan) -> Iterator[str]:
    found: dict[str, set[str]] = {}
    for address, values in plan.of("google_cloud_run_v2_service_iam_member").items():
        if values["role"] != "roles/run.invoker":
            yield f"{address} is {values['role']}"
        found.setdefault(_module(address), set()).add(values["member"])
    if found != CALLERS:
        yield f"callers are {found}"
    for kind in ("google_cloudfunctions2_function_iam_member", "google_cloud_run_service_iam_member"):
        yield from plan.of(kind)


def the_sweep_comes_each_minute(plan: Plan) -> Iterator[str]:
    jobs = list(plan.of("google_cloud_scheduler_job").values())
    wanted = (f"ratchet-scheduler@{PROJECT}.iam.gserviceaccount.com", url("reconcile"))
    for job in jobs:
        target = job["http_target"][0]
        token = target["oidc_token"][0]
        if (token["service_account_email"], token["audience"]) != wanted or not target["uri"].startswith(wanted[1]):
            yield f"the sweep is called at {target['uri']} as {token}"
    if [job["schedule"] for job in jobs] != ["* * * * *"]:
        yield "the sweep does not come each minute"


def the_database_cannot_be_lost(plan: Plan) -> Iterator[str]:
    for values in plan.of("google_firestore_database").values():
        if values["delete_protection_state"] != "DELETE_PROTECTION_ENABLED":
            yield "the database can be deleted"
        if values["point_in_time_recovery_enablement"] != "POINT_IN_TIME_RECOVERY_ENABLED":
            yield "the database cannot be taken back to a moment"
        if values["type"] != "FIRESTORE_NATIVE":
            yield f"the database is {values['type']}"
    backups = list(plan.of("google_firestore_backup_schedule").values())
    if len(backups) != 1 or backups[0]["retention"] != "604800s" or not backups[0]["daily_recurrence"]:
        yield "there is no daily backup of a week"


def what_expires_is_deleted(plan: Plan) -> Iterator[str]:
    found = {v["collection"] for v in plan.of("google_firestore_field").values() if v["ttl_config"]}
    if found != {"completions", "dead_letters"}:
        yield f"of {sorted(found)} something expires"


def indexes_are_those_of_the_queries(plan: Plan) -> Iterator[str]:
    """Single fields, ascending and descending, and a composite index where a query looks at two; nothing else."""
    fields = plan.of("google_firestore_field").values()
    wanted = {(q.collection, name) for q in QUERIES for name in (*q.equals, *([q.order] if q.order else []))}
    found = {
        (v["collection"], v["field"])
        for v in fields
        if v["index_config"] and [i["order"] for i in v["index_config"][0]["indexes"]] == ["ASCENDING", "DESCENDING"]
    }
    if found != wanted:
        yield f"fields are indexed: {sorted(found ^ wanted)} is too much or too little"
    without = {v["collection"] for v in fields if v["field"] == "*" and not v["index_config"][0]["indexes"]}
    if not {collection for collection, _ in wanted} <= without:
        yield f"everything is indexed of {sorted({collection for collection, _ in wanted} - without)}"
    composite = {
        (v["collection"], *((f["field_path"], f["order"]) for f in v["fields"]))
        for v in plan.of("google_firestore_index").values()
    }
    both = {
        (q.collection, *((name, "ASCENDING") for name in q.equals), (q.order, order), ("__name__", order))
        for q in QUERIES
        if q.equals and q.order
        for order in ("ASCENDING", "DESCENDING")
    }
    if composite != both:
        yield f"composite indexes are {sorted(map(str, composite ^ both))} off"


def anchors_cannot_be_rewritten(plan: Plan) -> Iterator[str]:
    for values in plan.of("google_logging_project_bucket_config").values():
        if not values["locked"] or values["retention_days"] != 400:
            yield f"the anchors' bucket is kept {values['retention_days']} days, locked: {values['locked']}"
    if not plan.of("google_logging_project_bucket_config"):
        yield "the anchors have no bucket"


def source_is_nobodys_business(plan: Plan) -> Iterator[str]:
    for address, values in plan.of("google_storage_bucket").items():
        if not values["uniform_bucket_level_access"] or values["public_access_prevention"] != "enforced":
            yield f"{address} may become public"


def every_alert_reaches_somebody_who_knows_what_to_do(plan: Plan) -> Iterator[str]:
    """Each links a section of the runbook that is about it, and says what to type first."""
    written = RUNBOOK.read_text(encoding="utf-8")
    bodies = {
        re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-"): body
        for heading, body in re.findall(r"^## (.*)\n((?:(?!^## ).*\n)*)", written, re.MULTILINE)
    }
    for address, values in plan.of("google_monitoring_alert_policy").items():
        text = (values["documentation"] or [{"content": ""}])[0]["content"]
        linked = re.findall(r"infra/RUNBOOK\.md#([a-z0-9-]+)", text)
        if len(linked) != 1 or linked[0] not in bodies:
            yield f"{address} links {linked}, which is no section"
        elif ".told[" in address and f"`{values['conditions'][0]['display_name']}`" not in bodies[linked[0]]:
            yield f"{address} links {linked}, which is about something else"
        if not re.search(r"Type: `.+`", text):
            yield f"{address} says nothing to type"
    if not plan.of("google_monitoring_notification_channel"):
        yield "alerts go to nobody"


def the_build_can_read_what_it_builds(plan: Plan) -> Iterator[str]:
    """Cloud Functions copies each zip into a bucket of its own; the build's account reads it there."""
    source = f'resource.name.startsWith("projects/_/buckets/gcf-v2-sources-{NUMBER}-")'
    found = [
        grant
        for grant in plan.of("google_project_iam_member").values()
        if grant["member"].startswith("serviceAccount:ratchet-build@")
        if grant["role"] == "roles/storage.objectViewer"
        if grant["condition"] and grant["condition"][0]["expression"] == source
    ]
    if len(found) != 1:
        yield "the build may not read the copies of the sources"


def alerts_on_log_lines_stand_where_those_are_written(plan: Plan) -> Iterator[str]:
    """They see their own project's log alone: ours is the functions', the models' audit log is their project's."""
    for address, values in plan.of("google_monitoring_alert_policy").items():
        filters = [
            matched["filter"]
            for condition in values["conditions"]
            for matched in condition.get("condition_matched_log") or []
        ]
        wanted = VERTEX if any("aiplatform" in each for each in filters) else PROJECT
        if values.get("project", PROJECT) not in (None, wanted):
            yield f"{address} stands in {values['project']}, and its lines are in {wanted}"
        if wanted == VERTEX and values.get("project") != VERTEX:
            yield f"{address} never sees the audit log of {VERTEX}"


def what_has_no_canary_is_not_called_silent(plan: Plan) -> Iterator[str]:
    """A function that is absent for want of events would be told of 45 minutes after each."""
    (values,) = (
        values
        for address, values in plan.of("google_monitoring_alert_policy").items()
        if address.endswith(".function_silent")
    )
    if '!="ratchet-park-dead-letter"' not in values["conditions"][0]["condition_absent"][0]["filter"]:
        yield "each dead letter is followed by a page"


CHECKS: tuple[Callable[[Plan], Iterator[str]], ...] = (
    the_nine_functions_are_there,
    each_runs_as_itself,
    each_runs_the_same_python,
    only_doors_are_open,
    what_has_effects_handles_one_event_at_a_time,
    nothing_grows_without_end,
    times_out_before_anybody_else_takes_over,
    a_deployment_has_its_number,
    who_pushes_is_checked,
    each_topic_has_its_subscription,
    topics_can_be_taken_back,
    pushes_carry_a_token_for_their_function,
    what_fails_comes_again_and_then_is_kept,
    no_subscription_expires,
    dead_letters_can_move,
    each_publishes_where_it_must_and_nowhere_else,
    the_log_sink_feeds_hints_alone,
    nobody_may_delete,
    the_state_is_written_by_those_who_own_it,
    one_alone_may_change_a_default,
    nothing_holds_a_right_of_the_whole_project,
    accounts_have_no_keys,
    secrets_are_containers,
    each_reads_its_own_secrets,
    webhook_secrets_are_files,
    only_the_webhook_is_public,
    the_sweep_comes_each_minute,
    the_database_cannot_be_lost,
    what_expires_is_deleted,
    indexes_are_those_of_the_queries,
    anchors_cannot_be_rewritten,
    source_is_nobodys_business,
    every_alert_reaches_somebody_who_knows_what_to_do,
    the_build_can_read_what_it_builds,
    alerts_on_log_lines_stand_where_those_are_written,
    what_has_no_canary_is_not_called_silent,
)
