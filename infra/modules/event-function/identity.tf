# One account for the function, one for each topic that pushes to it. Their addresses follow from their ids, so that a
# plan shows who may do what before anything is made.

locals {
  domain      = "${var.project}.iam.gserviceaccount.com"
  email       = "${google_service_account.function.account_id}@${local.domain}"
  member      = "serviceAccount:${local.email}"
  push_emails = { for topic, account in google_service_account.push : topic => "${account.account_id}@${local.domain}" }
}

resource "google_service_account" "function" {
  account_id   = local.service
  display_name = "Ratchet: ${local.words}"
}

resource "google_service_account" "push" {
  for_each = var.topics

  account_id   = "ratchet-push-${each.key}"
  display_name = "Ratchet: pushes ${each.key}"
}

resource "google_pubsub_topic_iam_member" "publisher" {
  for_each = var.publishes

  topic  = each.value
  role   = "roles/pubsub.publisher"
  member = local.member
}

resource "google_project_iam_member" "state" {
  for_each = var.state_roles

  project = var.project
  role    = each.value
  member  = local.member

  condition {
    title      = "the database ${var.database} alone"
    expression = "resource.name == \"projects/${var.project}/databases/${var.database}\""
  }
}

resource "google_secret_manager_secret_iam_member" "this" {
  for_each = toset(concat(values(var.secret_environment), [for file in var.secret_files : file.secret]))

  secret_id = each.value
  role      = "roles/secretmanager.secretAccessor"
  member    = local.member
}

resource "google_cloud_run_v2_service_iam_member" "invoker" {
  for_each = merge(
    { for topic, email in local.push_emails : "push ${topic}" => "serviceAccount:${email}" },
    { for name, email in var.pushers : name => "serviceAccount:${email}" },
    { for member in var.invokers : member => member },
    var.public ? { everybody = "allUsers" } : {},
  )

  name     = google_cloudfunctions2_function.this.name
  location = var.region
  role     = "roles/run.invoker"
  member   = each.value
}
