# Vertex tells of tuning jobs in its audit log alone: who made one, and who cancelled it. Each entry is a hint.

resource "google_logging_project_sink" "tuning_jobs" {
  for_each = local.vertex_projects

  project                = each.key
  name                   = "ratchet-tuning-jobs"
  description            = "Tuning jobs that somebody makes or cancels, for Ratchet."
  destination            = "pubsub.googleapis.com/projects/${var.project}/topics/${google_pubsub_topic.this["tuning-jobs"].name}"
  unique_writer_identity = true

  filter = join(" AND ", [
    "log_id(\"cloudaudit.googleapis.com/activity\")",
    "protoPayload.serviceName=\"aiplatform.googleapis.com\"",
    "protoPayload.methodName:\"GenAiTuningService\"",
  ])
}

resource "google_pubsub_topic_iam_member" "sink" {
  for_each = local.vertex_projects

  topic  = google_pubsub_topic.this["tuning-jobs"].name
  role   = "roles/pubsub.publisher"
  member = google_logging_project_sink.tuning_jobs[each.key].writer_identity
}

# Reads and predictions at Vertex, and every look at a secret, are not logged unless somebody asks.
resource "google_project_iam_audit_config" "this" {
  for_each = merge(
    { for service in ["datastore", "secretmanager"] : service => { project = var.project, service = service } },
    { for project in local.vertex_projects : "aiplatform/${project}" => { project = project, service = "aiplatform" } },
  )

  project = each.value.project
  service = "${each.value.service}.googleapis.com"

  audit_log_config {
    log_type = "DATA_READ"
  }
  audit_log_config {
    log_type = "DATA_WRITE"
  }
}

# Whoever could rewrite the history could not rewrite what was logged of its heads. It does not follow the functions to
# another region: a locked bucket can be deleted by nobody. A sink to a bucket of its own project needs no right.
resource "google_logging_project_bucket_config" "anchors" {
  project        = var.project
  location       = var.anchors_location
  bucket_id      = "ratchet-anchors"
  description    = "The heads of all histories, hourly."
  retention_days = 400
  locked         = var.lock_anchors
  # Who destroys the rest does not stop at what nobody can delete.
  deletion_policy = var.lock_anchors ? "ABANDON" : "DELETE"
}

resource "google_logging_project_sink" "anchors" {
  name                   = "ratchet-anchors"
  destination            = "logging.googleapis.com/projects/${var.project}/locations/${var.anchors_location}/buckets/${google_logging_project_bucket_config.anchors.bucket_id}"
  filter                 = "jsonPayload.event=\"history.anchored\""
  unique_writer_identity = true
}
