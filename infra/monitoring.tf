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

resource "google_monitoring_alert_policy" "metric" {
  for_each = local.limits_of_metrics

  display_name          = "Ratchet: ${each.value.title}"
  combiner              = "OR"
  severity              = "WARNING"
  notification_channels = local.channels

  conditions {
    display_name = "ratchet/${each.key} above ${each.value.above} in ${each.value.minutes} minutes"
    condition_threshold {
      filter          = "metric.type=\"logging.googleapis.com/user/${google_logging_metric.this[each.key].name}\" AND resource.type=\"cloud_run_revision\""
      comparison      = "COMPARISON_GT"
      threshold_value = each.value.above
      duration        = "0s"

      aggregations {
        alignment_period     = "${each.value.minutes * 60}s"
        per_series_aligner   = "ALIGN_SUM"
        cross_series_reducer = "REDUCE_SUM"
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

# Whoever else changes a model's default at Vertex is in its audit log, minutes before our own look finds it.
resource "google_monitoring_alert_policy" "foreign_update" {
  display_name          = "Ratchet: a model was updated by another account"
  combiner              = "OR"
  severity              = "WARNING"
  notification_channels = local.channels

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

# How much of what was accepted is handled at the first attempt.
resource "google_monitoring_custom_service" "this" {
  service_id   = "ratchet"
  display_name = "Ratchet"
}

resource "google_monitoring_slo" "handled" {
  service             = google_monitoring_custom_service.this.service_id
  slo_id              = "handled"
  display_name        = "99 % of handlings settle their event"
  goal                = 0.99
  rolling_period_days = 30

  request_based_sli {
    good_total_ratio {
      good_service_filter = "metric.type=\"logging.googleapis.com/user/${google_logging_metric.this["settled"].name}\" AND resource.type=\"cloud_run_revision\""
      bad_service_filter  = "metric.type=\"logging.googleapis.com/user/${google_logging_metric.this["retried"].name}\" AND resource.type=\"cloud_run_revision\""
    }
  }
}

# As the SRE workbook pages: a long window says that it is real, a short one that it still is.
resource "google_monitoring_alert_policy" "burn" {
  for_each = {
    fast = { rate = 14.4, long = "3600s", short = "300s", severity = "CRITICAL" }
    slow = { rate = 6, long = "21600s", short = "1800s", severity = "ERROR" }
  }

  display_name          = "Ratchet: handlings fail ${each.value.rate} times too often"
  combiner              = "AND"
  severity              = each.value.severity
  notification_channels = local.channels

  dynamic "conditions" {
    for_each = [each.value.long, each.value.short]
    content {
      display_name = "burn over ${conditions.value}"
      condition_threshold {
        filter          = "select_slo_burn_rate(\"${google_monitoring_slo.handled.id}\", \"${conditions.value}\")"
        comparison      = "COMPARISON_GT"
        threshold_value = each.value.rate
        duration        = "0s"
      }
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = "Events are not settled at their first attempt.\n\nType: `ratchet status`\n\nRunbook: ${local.runbook}#10-store-outage-and-recovery-order"
  }
}

resource "google_monitoring_dashboard" "this" {
  dashboard_json = jsonencode({
    displayName = "Ratchet"
    mosaicLayout = {
      columns = 12
      tiles = [
        for position, name in keys(local.counted) : {
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
                    filter = "metric.type=\"logging.googleapis.com/user/${google_logging_metric.this[name].name}\""
                    aggregation = {
                      alignmentPeriod    = "300s"
                      perSeriesAligner   = "ALIGN_SUM"
                      crossSeriesReducer = "REDUCE_SUM"
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
