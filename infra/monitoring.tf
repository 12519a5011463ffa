# What people are told of, and why. Filters on our own lines look at `event` and simple fields alone: a test holds each
# of them against the code's catalogue, and against lines that the code has really written.

locals {
  runbook = "https://github.com/${var.repository}/blob/main/infra/RUNBOOK.md"

  # Told of at the first line. `section` is the runbook's; `command`, what to type first.
  told = {
    # To people, in the course of business.
    needs_approval = {
      event   = "promotion.needs_approval", severity = "WARNING", section = "17-promotions-that-want-a-person"
      title   = "A promotion waits for your approval"
      command = "ratchet why ALIAS, then ratchet approve ALIAS --reason ..."
      labels  = ["alias", "candidate", "decision_id", "reason"]
    }
    promoted = {
      event   = "promotion.promoted", severity = "WARNING", section = "17-promotions-that-want-a-person"
      title   = "A checkpoint was promoted"
      command = "ratchet why ALIAS; to undo it: ratchet rollback ALIAS --reason ..."
      labels  = ["alias", "candidate", "decision_id", "reason"]
    }
    rolled_back = {
      event   = "alias.rolled_back", severity = "ERROR", section = "17-promotions-that-want-a-person"
      title   = "An alias was rolled back, and is held"
      command = "ratchet why ALIAS; when the cause is mended: ratchet release ALIAS --reason ..."
      labels  = ["alias", "candidate", "decision_id", "reason"]
    }
    drifted = {
      event   = "alias.drifted", severity = "ERROR", section = "5-drift-foreign-stale-gone"
      title   = "Somebody else changed a default"
      command = "ratchet status; then ratchet promote or ratchet release, as the section says"
      labels  = ["alias", "recorded", "shown"]
    }
    adopted = {
      event   = "alias.adopted", severity = "WARNING", section = "5-drift-foreign-stale-gone"
      title   = "A default that somebody else set was adopted"
      command = "ratchet why ALIAS"
      labels  = ["alias", "candidate"]
    }
    held = {
      event   = "alias.held", severity = "WARNING", section = "17-promotions-that-want-a-person"
      title   = "An alias is held"
      command = "ratchet status; ratchet release ALIAS --reason ..."
      labels  = ["alias", "actor"]
    }

    # Grave, and rare: one is enough.
    alias_gone = {
      event   = "alias.gone", severity = "CRITICAL", section = "5-drift-foreign-stale-gone"
      title   = "What an alias serves is gone at its provider"
      command = "ratchet rollback ALIAS --reason ..."
      labels  = ["alias", "candidate"]
    }
    alias_regressed = {
      event   = "alias.regressed", severity = "CRITICAL", section = "10-store-outage-and-recovery-order"
      title   = "An app was shown an older serial than before"
      command = "ratchet audit verify"
      labels  = ["alias"]
    }
    history_broken = {
      event   = "history.broken", severity = "CRITICAL", section = "11-invariant-monitor-fired"
      title   = "A history does not verify"
      command = "ratchet hold --all --reason ..., then ratchet audit verify"
      labels  = ["alias", "code"]
    }
    configuration_refused = {
      event   = "configuration.refused", severity = "CRITICAL", section = "14-bad-deploy"
      title   = "Functions refuse their configuration"
      command = "ratchet check"
      labels  = ["code"]
    }
    promotion_stalled = {
      event   = "promotion.stalled", severity = "ERROR", section = "4-stuck-intent"
      title   = "A promotion does not get on"
      command = "ratchet status, then ratchet why ALIAS"
      labels  = ["alias", "decision_id"]
    }
    promotion_aborted = {
      event   = "promotion.aborted", severity = "ERROR", section = "4-stuck-intent"
      title   = "A promotion was aborted"
      command = "ratchet why ALIAS"
      labels  = ["alias", "decision_id"]
    }
    watch_failed = {
      event   = "watch.failed", severity = "ERROR", section = "6-roll-back-a-default"
      title   = "What serves fails its suite"
      command = "ratchet why ALIAS"
      labels  = ["alias"]
    }
    timer_stuck = {
      event   = "timer.stuck", severity = "ERROR", section = "18-heartbeat-missing-or-a-timer-is-stuck"
      title   = "Something is due again and again"
      command = "ratchet status"
      labels  = ["collection", "document"]
    }
    push_rejected = {
      event   = "push.rejected", severity = "ERROR", section = "13-suspected-forgery-or-leak"
      title   = "A push without the right token"
      command = "gcloud logging read 'jsonPayload.event=\"push.rejected\"' --limit 5"
      labels  = ["code"]
    }
    event_parked = {
      event   = "event.parked", severity = "ERROR", section = "1-dead-letters-and-replay"
      title   = "An event could not be handled"
      command = "ratchet dead-letters list"
      labels  = ["reason", "topic"]
    }
    handler_crashed = {
      event   = "handler.crashed", severity = "ERROR", section = "14-bad-deploy"
      title   = "A function crashed"
      command = "gcloud logging read 'jsonPayload.event=\"handler.crashed\"' --limit 5"
      labels  = ["function"]
    }
    provider_denied = {
      event   = "provider.denied", severity = "ERROR", section = "8-provider-outage-or-key-revoked"
      title   = "A provider refuses our credentials"
      command = "ratchet doctor"
      labels  = ["function"]
    }
    run_given_up = {
      event   = "run.given_up", severity = "WARNING", section = "9-smoke-inconclusive-storm"
      title   = "A smoke test ended without a verdict"
      command = "ratchet why CHECKPOINT"
      labels  = ["checkpoint", "reason", "suite"]
    }
    checkpoint_conflicted = {
      event   = "checkpoint.conflicted", severity = "WARNING", section = "11-invariant-monitor-fired"
      title   = "A provider says something else of a checkpoint than before"
      command = "ratchet why CHECKPOINT"
      labels  = ["checkpoint", "field"]
    }
    checkpoint_vanished = {
      event   = "checkpoint.vanished", severity = "WARNING", section = "5-drift-foreign-stale-gone"
      title   = "A checkpoint is gone at its provider"
      command = "ratchet why CHECKPOINT"
      labels  = ["checkpoint"]
    }
    job_foreign = {
      event   = "job.foreign", severity = "WARNING", section = "13-suspected-forgery-or-leak"
      title   = "A hint of a job that is in none of our accounts"
      command = "ratchet doctor"
      labels  = ["job"]
    }
    job_overdue = {
      event   = "job.overdue", severity = "WARNING", section = "18-heartbeat-missing-or-a-timer-is-stuck"
      title   = "A job's checkpoints were never complete"
      command = "ratchet status"
      labels  = ["job"]
    }
    promotion_refused = {
      event   = "promotion.refused", severity = "WARNING", section = "17-promotions-that-want-a-person"
      title   = "No checkpoint of a job was good enough"
      command = "ratchet why ALIAS"
      labels  = ["alias", "decision_id", "reason"]
    }
    would_promote = {
      event   = "promotion.would_promote", severity = "WARNING", section = "17-promotions-that-want-a-person"
      title   = "A dry-run policy would have promoted"
      command = "ratchet why ALIAS"
      labels  = ["alias", "candidate", "reason"]
    }
    released = {
      event   = "alias.released", severity = "WARNING", section = "17-promotions-that-want-a-person"
      title   = "An alias was released"
      command = "ratchet status"
      labels  = ["alias", "actor"]
    }
  }

  # Counted. `code` and `outcome` are from closed sets.
  counted = {
    sweeps            = { event = "sweep.done", where = {} }
    settled           = { event = "event.settled", where = {} }
    retried           = { event = "event.retried", where = {} }
    webhooks          = { event = "webhook.accepted", where = { code = "ok" } }
    webhooks_old      = { event = "webhook.accepted", where = { code = "ok_old" } }
    signatures_bad    = { event = "webhook.rejected", where = { code = "sig_bad" } }
    webhooks_rejected = { event = "webhook.rejected", where = {} }
    commands_rejected = { event = "command.rejected", where = {} }
    runs_finished     = { event = "run.finished", where = {} }
    runs_inconclusive = { event = "run.inconclusive", where = {} }
    provider_failures = { event = "provider.failed", where = {} }
    checkpoints       = { event = "checkpoint.recorded", where = {} }
  }

  # By the metric that is counted: above which number in so many minutes somebody is told.
  limits_of_metrics = {
    retried = {
      above   = 50, minutes = 30, section = "10-store-outage-and-recovery-order"
      title   = "Many events are tried again"
      command = "gcloud logging read 'jsonPayload.event=\"event.retried\"' --limit 5"
    }
    signatures_bad = {
      above   = 20, minutes = 30, section = "3-webhook-rejects-and-secret-rotation"
      title   = "Webhooks with a bad signature: our secret may be wrong"
      command = "ratchet doctor"
    }
    webhooks_rejected = {
      above   = 100, minutes = 60, section = "3-webhook-rejects-and-secret-rotation"
      title   = "Many webhooks are rejected"
      command = "gcloud logging read 'jsonPayload.event=\"webhook.rejected\"' --limit 5"
    }
    commands_rejected = {
      above   = 20, minutes = 60, section = "13-suspected-forgery-or-leak"
      title   = "Many commands are rejected"
      command = "gcloud logging read 'jsonPayload.event=\"command.rejected\"' --limit 5"
    }
    runs_inconclusive = {
      above   = 5, minutes = 1440, section = "9-smoke-inconclusive-storm"
      title   = "Many smoke tests end without a verdict"
      command = "ratchet status"
    }
    provider_failures = {
      above   = 100, minutes = 15, section = "8-provider-outage-or-key-revoked"
      title   = "A provider fails again and again"
      command = "ratchet doctor"
    }
  }

  # Measured: what one line says in a number, as a distribution.
  measured = {
    record_seconds    = { event = "checkpoint.recorded", field = "seconds", unit = "s" }
    promotion_seconds = { event = "promotion.promoted", field = "seconds", unit = "s" }
    run_seconds       = { event = "run.finished", field = "seconds", unit = "s" }
    run_tokens        = { event = "run.finished", field = "tokens", unit = "1" }
    overdue_seconds   = { event = "sweep.done", field = "overdue_seconds", unit = "s" }
  }

  # Above which 99th percentile within so many minutes somebody is told.
  limits_of_measures = {
    late_records = {
      metric  = "record_seconds", above = 900, minutes = 60, severity = "CRITICAL", section = "2-queue-age"
      title   = "Checkpoints are recorded more than 15 minutes after they were seen"
      command = "ratchet status"
    }
    overdue = {
      metric  = "overdue_seconds", above = 300, minutes = 10, severity = "WARNING"
      section = "18-heartbeat-missing-or-a-timer-is-stuck"
      title   = "Timers wait for more than five minutes"
      command = "ratchet status"
    }
    long_overdue = {
      metric  = "overdue_seconds", above = 900, minutes = 10, severity = "CRITICAL"
      section = "18-heartbeat-missing-or-a-timer-is-stuck"
      title   = "Timers wait for more than 15 minutes"
      command = "gcloud scheduler jobs describe ratchet-sweep --location ${var.region}"
    }
  }

  channels = concat([for channel in google_monitoring_notification_channel.email : channel.id], var.notification_channels)
}

resource "google_monitoring_notification_channel" "email" {
  for_each = toset(var.notify)

  display_name = "Ratchet: ${each.key}"
  type         = "email"
  labels       = { email_address = each.key }
}

resource "google_monitoring_alert_policy" "told" {
  for_each = local.told

  display_name          = "Ratchet: ${each.value.title}"
  combiner              = "OR"
  severity              = each.value.severity
  notification_channels = local.channels

  conditions {
    display_name = each.value.event
    condition_matched_log {
      filter           = "jsonPayload.event=\"${each.value.event}\""
      label_extractors = { for label in each.value.labels : label => "EXTRACT(jsonPayload.${label})" }
    }
  }

  alert_strategy {
    auto_close = "86400s"
    notification_rate_limit {
      period = "300s"
    }
  }

  documentation {
    mime_type = "text/markdown"
    subject   = "Ratchet: ${each.value.title}"
    content = join("\n\n", concat(
      ["${each.value.title}."],
      [join("\n", [for label in each.value.labels : "- ${label}: $${log.extracted_label.${label}}"])],
      ["Type: `${each.value.command}`", "Runbook: ${local.runbook}#${each.value.section}"],
    ))
  }
}

resource "google_logging_metric" "this" {
  for_each = local.counted

  name = "ratchet/${each.key}"
  filter = join(" AND ", concat(
    ["jsonPayload.event=\"${each.value.event}\""],
    [for field, value in each.value.where : "jsonPayload.${field}=\"${value}\""],
  ))

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"
  }
}

resource "google_logging_metric" "measured" {
  for_each = local.measured

  name            = "ratchet/${each.key}"
  filter          = "jsonPayload.event=\"${each.value.event}\""
  value_extractor = "EXTRACT(jsonPayload.${each.value.field})"

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "DISTRIBUTION"
    unit        = each.value.unit
  }

  # A percentile is as exact as its bucket: the limits below are bounds.
  bucket_options {
    explicit_buckets {
      bounds = [0.1, 0.3, 1, 3, 10, 30, 60, 120, 180, 240, 300, 450, 600, 900, 1800, 3600, 86400, 1000000]
    }
  }
}

# Google takes a while to know a metric, and refuses an alert on one that it does not know yet.
resource "terraform_data" "metrics" {
  triggers_replace = concat(values(google_logging_metric.this)[*].name, values(google_logging_metric.measured)[*].name)

  provisioner "local-exec" {
    command = "sleep 60"
  }
}

# The tokens that all smoke tests together may take in a day; each suite's own budget stands in the suite.
resource "google_monitoring_alert_policy" "tokens" {
  for_each = var.tokens_a_day == null ? {} : { WARNING = 0.8, CRITICAL = 2 }

  display_name          = "Ratchet: smoke tests took ${each.value * 100} % of a day's tokens"
  combiner              = "OR"
  severity              = each.key
  notification_channels = local.channels

  conditions {
    display_name = "tokens in 24 hours"
    condition_prometheus_query_language {
      # Nothing may have been measured yet.
      disable_metric_validation = true
      query                     = "sum(increase(logging_googleapis_com:user_ratchet_run_tokens_sum{monitored_resource=\"cloud_run_revision\"}[1d])) > ${each.value * var.tokens_a_day}"
      duration                  = "0s"
      evaluation_interval       = "300s"
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = "Smoke tests cost more than planned.\n\nType: `ratchet status`\n\nRunbook: ${local.runbook}#12-cost-cap"
  }

  depends_on = [terraform_data.metrics]
}

resource "google_monitoring_alert_policy" "limit" {
  for_each = merge(
    { for name, limit in local.limits_of_metrics : name => merge(limit, {
      metric = google_logging_metric.this[name].name, severity = "WARNING", aligner = "ALIGN_SUM", reducer = "REDUCE_SUM"
    }) },
    { for name, limit in local.limits_of_measures : name => merge(limit, {
      metric = google_logging_metric.measured[limit.metric].name, aligner = "ALIGN_DELTA", reducer = "REDUCE_PERCENTILE_99"
    }) },
  )

  display_name          = "Ratchet: ${each.value.title}"
  combiner              = "OR"
  severity              = each.value.severity
  notification_channels = local.channels

  conditions {
    display_name = "${each.value.metric} above ${each.value.above} in ${each.value.minutes} minutes"
    condition_threshold {
      filter          = "metric.type=\"logging.googleapis.com/user/${each.value.metric}\" AND resource.type=\"cloud_run_revision\""
      comparison      = "COMPARISON_GT"
      threshold_value = each.value.above
      duration        = "0s"

      aggregations {
        alignment_period     = "${each.value.minutes * 60}s"
        per_series_aligner   = each.value.aligner
        cross_series_reducer = each.value.reducer
      }
    }
  }

  alert_strategy {
    auto_close = "86400s"
  }

  documentation {
    mime_type = "text/markdown"
    content   = "${each.value.title}.\n\nType: `${each.value.command}`\n\nRunbook: ${local.runbook}#${each.value.section}"
  }

  depends_on = [terraform_data.metrics]
}

# The sweep is what finds everything that was lost. Without it nobody would notice that nothing happens.
resource "google_monitoring_alert_policy" "heartbeat" {
  display_name          = "Ratchet: no sweep for ten minutes"
  combiner              = "OR"
  severity              = "CRITICAL"
  notification_channels = local.channels

  conditions {
    display_name = "ratchet/sweeps is absent"
    condition_absent {
      filter   = "metric.type=\"logging.googleapis.com/user/${google_logging_metric.this["sweeps"].name}\" AND resource.type=\"cloud_run_revision\""
      duration = "600s"

      aggregations {
        alignment_period     = "60s"
        per_series_aligner   = "ALIGN_SUM"
        cross_series_reducer = "REDUCE_SUM"
      }
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = "The scheduler's sweep has not run for ten minutes.\n\nType: `gcloud scheduler jobs describe ratchet-sweep --location ${var.region}`\n\nRunbook: ${local.runbook}#18-heartbeat-missing-or-a-timer-is-stuck"
  }

  depends_on = [terraform_data.metrics]
}

# The canary's hints reach every function that events drive, each quarter of an hour: one that settles nothing for longer
# gets none of its events, or handles none. Dead letters come seldom, and have no canary.
resource "google_monitoring_alert_policy" "function_silent" {
  display_name          = "Ratchet: a function has settled nothing for 45 minutes"
  combiner              = "OR"
  severity              = "CRITICAL"
  notification_channels = local.channels

  conditions {
    display_name = "ratchet/settled is absent for a function"
    condition_absent {
      filter   = "metric.type=\"logging.googleapis.com/user/${google_logging_metric.this["settled"].name}\" AND resource.type=\"cloud_run_revision\" AND resource.label.service_name!=\"ratchet-park-dead-letter\""
      duration = "2700s"

      aggregations {
        alignment_period     = "300s"
        per_series_aligner   = "ALIGN_SUM"
        cross_series_reducer = "REDUCE_SUM"
        group_by_fields      = ["resource.label.service_name"]
      }
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = "$${resource.label.service_name} has settled no event for 45 minutes, though the canary sends it one each 15.\n\nType: `ratchet status`\n\nRunbook: ${local.runbook}#16-canary-failed"
  }

  depends_on = [terraform_data.metrics]
}

# From outside, as a provider's sender meets it: without a signature the door itself must answer, and refuse.
resource "google_monitoring_uptime_check_config" "webhook" {
  display_name = "Ratchet: the webhook door"
  # Each of its six places is a rejected delivery in our log: seldom enough to stay far below that alert's limit.
  period  = "900s"
  timeout = "10s"

  http_check {
    path                = "/webhooks/openai"
    port                = 443
    use_ssl             = true
    validate_ssl        = true
    request_method      = "POST"
    content_type        = "USER_PROVIDED"
    custom_content_type = "application/json"
    body                = base64encode("{}")

    accepted_response_status_codes {
      status_value = 401
    }
  }

  monitored_resource {
    type = "uptime_url"
    labels = {
      project_id = var.project
      host       = trimprefix(module.function["receive_webhook"].url, "https://")
    }
  }
}

resource "google_monitoring_alert_policy" "webhook_door" {
  display_name          = "Ratchet: the webhook door does not answer as it should"
  combiner              = "OR"
  severity              = "CRITICAL"
  notification_channels = local.channels

  conditions {
    display_name = "the uptime check fails from two regions or more"
    condition_threshold {
      filter          = "metric.type=\"monitoring.googleapis.com/uptime_check/check_passed\" AND metric.label.check_id=\"${google_monitoring_uptime_check_config.webhook.uptime_check_id}\" AND resource.type=\"uptime_url\""
      comparison      = "COMPARISON_GT"
      threshold_value = 1
      duration        = "600s"

      aggregations {
        alignment_period     = "1800s"
        per_series_aligner   = "ALIGN_NEXT_OLDER"
        cross_series_reducer = "REDUCE_COUNT_FALSE"
        group_by_fields      = ["resource.label.host"]
      }
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = "A POST without a signature is not answered with 401. Providers try a delivery again for up to three days.\n\nType: `make deployed-check`\n\nRunbook: ${local.runbook}#3-webhook-rejects-and-secret-rotation"
  }
}

# Platform metrics: a message that nobody takes is no line in any log of ours.
resource "google_monitoring_alert_policy" "queue_age" {
  for_each = { CRITICAL = 1800, WARNING = 600 }

  display_name          = "Ratchet: a message waits for ${each.value / 60} minutes"
  combiner              = "OR"
  severity              = each.key
  notification_channels = local.channels

  conditions {
    display_name = "oldest unacknowledged message"
    condition_threshold {
      filter          = "metric.type=\"pubsub.googleapis.com/subscription/oldest_unacked_message_age\" AND resource.type=\"pubsub_subscription\""
      comparison      = "COMPARISON_GT"
      threshold_value = each.value
      duration        = "300s"

      aggregations {
        alignment_period     = "60s"
        per_series_aligner   = "ALIGN_MAX"
        cross_series_reducer = "REDUCE_MAX"
        group_by_fields      = ["resource.label.subscription_id"]
      }
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = "A subscription does not get its messages handled.\n\nType: `ratchet status`\n\nRunbook: ${local.runbook}#2-queue-age"
  }
}

# Whoever else changes a model's default at Vertex is in its audit log, minutes before our own look finds it. An alert on
# log lines sees those of its own project alone: so it stands where the models are, and so do its channels.
locals {
  elsewhere = setsubtract(local.vertex_projects, [var.project])
}

resource "google_monitoring_notification_channel" "elsewhere" {
  for_each = { for pair in setproduct(local.elsewhere, var.notify) : join("/", pair) => pair }

  project      = each.value[0]
  display_name = "Ratchet: ${each.value[1]}"
  type         = "email"
  labels       = { email_address = each.value[1] }
}

resource "google_monitoring_alert_policy" "foreign_update" {
  for_each = local.vertex_projects

  project      = each.key
  display_name = "Ratchet: a model was updated by another account"
  combiner     = "OR"
  severity     = "WARNING"
  notification_channels = each.key == var.project ? local.channels : [
    for name, channel in google_monitoring_notification_channel.elsewhere : channel.id if startswith(name, "${each.key}/")
  ]

  conditions {
    display_name = "UpdateModel by another account"
    condition_matched_log {
      filter = join(" AND ", [
        "log_id(\"cloudaudit.googleapis.com/activity\")",
        "protoPayload.serviceName=\"aiplatform.googleapis.com\"",
        "protoPayload.methodName:\"UpdateModel\"",
        "NOT protoPayload.authenticationInfo.principalEmail=\"${trimprefix(module.function["enforce_promotion"].member, "serviceAccount:")}\"",
      ])
      label_extractors = { principal = "EXTRACT(protoPayload.authenticationInfo.principalEmail)" }
    }
  }

  alert_strategy {
    notification_rate_limit {
      period = "300s"
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = "$${log.extracted_label.principal} updated a model.\n\nType: `ratchet status`\n\nRunbook: ${local.runbook}#5-drift-foreign-stale-gone"
  }
}

resource "google_monitoring_custom_service" "this" {
  service_id   = "ratchet"
  display_name = "Ratchet"
}

locals {
  answered = "metric.type=\"run.googleapis.com/request_count\" AND resource.type=\"cloud_run_revision\" AND resource.label.service_name=monitoring.regex.full_match(\"ratchet-(receive|resolve)-.*\")"

  objectives = {
    # How much of what was accepted is handled at the first attempt.
    handled = {
      title = "99 % of handlings settle their event", goal = 0.99
      good  = "metric.type=\"logging.googleapis.com/user/${google_logging_metric.this["settled"].name}\" AND resource.type=\"cloud_run_revision\""
      bad   = "metric.type=\"logging.googleapis.com/user/${google_logging_metric.this["retried"].name}\" AND resource.type=\"cloud_run_revision\""
      words = "Events are not settled at their first attempt."
    }
    # The doors, as those outside see them. A refusal is an answer.
    answered = {
      title = "99.9 % of requests to the doors are answered", goal = 0.999
      good  = "${local.answered} AND metric.label.response_code_class!=\"5xx\""
      bad   = "${local.answered} AND metric.label.response_code_class=\"5xx\""
      words = "receive_webhook, receive_command or resolve_alias answer 5xx."
    }
  }

  # As the SRE workbook pages: a long window says that it is real, a short one that it still is.
  burns = {
    fast = { rate = 14.4, long = "3600s", short = "300s", severity = "CRITICAL" }
    slow = { rate = 6, long = "21600s", short = "1800s", severity = "ERROR" }
    # A tenth of the month's budget in a day: Google looks no further back.
    steady = { rate = 3, long = "86400s", short = "7200s", severity = "WARNING" }
  }
}

resource "google_monitoring_slo" "this" {
  for_each = local.objectives

  service             = google_monitoring_custom_service.this.service_id
  slo_id              = each.key
  display_name        = each.value.title
  goal                = each.value.goal
  rolling_period_days = 30

  request_based_sli {
    good_total_ratio {
      good_service_filter = each.value.good
      bad_service_filter  = each.value.bad
    }
  }

  depends_on = [terraform_data.metrics]
}

resource "google_monitoring_alert_policy" "burn" {
  for_each = merge([
    for name, objective in local.objectives : {
      for pace, burn in local.burns : "${name}-${pace}" => merge(burn, { objective = name, words = objective.words })
    }
  ]...)

  display_name          = "Ratchet: ${each.value.objective} ${each.value.rate} times too seldom"
  combiner              = "AND"
  severity              = each.value.severity
  notification_channels = local.channels

  dynamic "conditions" {
    for_each = [each.value.long, each.value.short]
    content {
      display_name = "burn over ${conditions.value}"
      condition_threshold {
        filter          = "select_slo_burn_rate(\"${google_monitoring_slo.this[each.value.objective].id}\", \"${conditions.value}\")"
        comparison      = "COMPARISON_GT"
        threshold_value = each.value.rate
        duration        = "0s"
      }
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = "${each.value.words}\n\nType: `ratchet status`\n\nRunbook: ${local.runbook}#10-store-outage-and-recovery-order"
  }
}

resource "google_monitoring_dashboard" "this" {
  dashboard_json = jsonencode({
    displayName = "Ratchet"
    mosaicLayout = {
      columns = 12
      tiles = [
        for position, name in concat(keys(local.counted), keys(local.measured)) : {
          xPos   = (position % 3) * 4
          yPos   = floor(position / 3) * 3
          width  = 4
          height = 3
          widget = {
            title = name
            xyChart = {
              dataSets = [{
                plotType = "LINE"
                timeSeriesQuery = {
                  timeSeriesFilter = {
                    filter = "metric.type=\"logging.googleapis.com/user/${merge(google_logging_metric.this, google_logging_metric.measured)[name].name}\""
                    aggregation = {
                      alignmentPeriod    = "300s"
                      perSeriesAligner   = contains(keys(local.measured), name) ? "ALIGN_DELTA" : "ALIGN_SUM"
                      crossSeriesReducer = contains(keys(local.measured), name) ? "REDUCE_PERCENTILE_99" : "REDUCE_SUM"
                    }
                  }
                }
              }]
            }
          }
        }
      ]
    }
  })
}
