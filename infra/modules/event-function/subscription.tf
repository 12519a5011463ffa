# What a message goes through: pushed with a token, again after 10 s up to ten minutes, and after thirty attempts, some
# four hours, to the dead letters. An outage of the store does not turn good messages into dead ones.

resource "google_pubsub_subscription" "this" {
  for_each = var.topics

  # The name that the code knows it by.
  name                       = length(var.topics) == 1 ? var.name : "${var.name}-${each.key}"
  topic                      = each.value
  ack_deadline_seconds       = var.ack_deadline
  message_retention_duration = "${7 * 24 * 3600}s"

  push_config {
    push_endpoint = "${local.url}/${each.key}"

    oidc_token {
      service_account_email = local.push_emails[each.key]
      audience              = local.url
    }
  }

  retry_policy {
    minimum_backoff = "10s"
    maximum_backoff = "600s"
  }

  # What cannot even be parked stays where it is, and its age alarms.
  dynamic "dead_letter_policy" {
    for_each = each.key == "dead-letters" ? [] : [var.dead_letters]
    content {
      dead_letter_topic     = "projects/${var.project}/topics/${dead_letter_policy.value}"
      max_delivery_attempts = 30
    }
  }

  # Never: an idle subscription is not a forgotten one.
  expiration_policy {
    ttl = ""
  }

  depends_on = [google_cloud_run_v2_service_iam_member.invoker]
}

resource "google_pubsub_subscription_iam_member" "agent" {
  for_each = { for topic, id in var.topics : topic => id if topic != "dead-letters" }

  subscription = google_pubsub_subscription.this[each.key].name
  role         = "roles/pubsub.subscriber"
  member       = var.pubsub_agent
}
