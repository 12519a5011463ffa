# Topics keep what passed for a month, so that a subscription can be taken back to any moment of it.

locals {
  topics = toset(["tuning-jobs", "checkpoints", "smoke-tests", "promotions", "commands", "decisions", "dead-letters"])
}

resource "google_pubsub_topic" "this" {
  for_each = local.topics

  name                       = each.key
  message_retention_duration = "${31 * 24 * 3600}s"
  kms_key_name               = var.cmek_key

  depends_on = [google_project_service.this]

  #checkov:skip=CKV_GCP_83:Messages hold ids and no content; with cmek_key they are encrypted with it.
}

# Without this right on the topic, and the subscriber's on each source, no message would ever move there.
resource "google_pubsub_topic_iam_member" "agent" {
  topic  = google_pubsub_topic.this["dead-letters"].name
  role   = "roles/pubsub.publisher"
  member = local.pubsub_agent
}

locals {
  pubsub_agent = "serviceAccount:service-${var.project_number}@gcp-sa-pubsub.iam.gserviceaccount.com"
}
