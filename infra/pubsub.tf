# Topics keep what passed for a month, so that a subscription can be taken back to any moment of it.

locals {
  topics = toset(["tuning-jobs", "checkpoints", "smoke-tests", "promotions", "commands", "decisions", "dead-letters"])
}

resource "google_pubsub_topic" "this" {
  for_each = local.topics

  name                       = each.key
  message_retention_duration = "${31 * 24 * 3600}s"
  kms_key_name               = var.cmek_key

  depends_on = [google_project_service.this, google_kms_crypto_key_iam_member.agents]

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

# With a key of your own, the agents of Pub/Sub and Cloud Storage are who use it.
data "google_storage_project_service_account" "this" {
  count = var.cmek_key == null ? 0 : 1
}

resource "google_kms_crypto_key_iam_member" "agents" {
  for_each = var.cmek_key == null ? {} : {
    pubsub  = local.pubsub_agent
    storage = data.google_storage_project_service_account.this[0].member
  }

  crypto_key_id = var.cmek_key
  role          = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
  member        = each.value
}
