# The sweep: each minute, whatever else may be lost.

resource "google_service_account" "scheduler" {
  account_id   = "ratchet-scheduler"
  display_name = "Ratchet: starts the sweep"

  depends_on = [google_project_service.this]
}

locals {
  scheduler_email = "${google_service_account.scheduler.account_id}@${var.project}.iam.gserviceaccount.com"
}

resource "google_cloud_scheduler_job" "sweep" {
  name             = "ratchet-sweep"
  description      = "Wakes what is due and finds jobs that nobody announced."
  region           = var.region
  schedule         = "* * * * *"
  time_zone        = "Etc/UTC"
  attempt_deadline = "${local.limits.function_timeout}s"

  # The next minute is another.
  retry_config {
    retry_count = 0
  }

  http_target {
    http_method = "POST"
    uri         = "${module.function["reconcile"].url}/"

    oidc_token {
      service_account_email = local.scheduler_email
      audience              = module.function["reconcile"].url
    }
  }
}
