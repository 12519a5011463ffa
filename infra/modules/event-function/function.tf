locals {
  service = "ratchet-${replace(var.name, "_", "-")}"
  words   = replace(var.name, "_", " ")

  # Known before the function is: who pushes to it names it as the audience, and it checks that it was named. Its own
  # `uri` would make a circle of the two.
  url = "https://${local.service}-${var.project_number}.${var.region}.run.app"

  pushers = concat(values(local.push_emails), values(var.pushers))
}

data "archive_file" "source" {
  type        = "zip"
  output_path = "${path.root}/.terraform/zips/${var.name}.zip"

  dynamic "source" {
    for_each = var.files
    content {
      filename = source.key
      content  = source.value
    }
  }
}

resource "google_storage_bucket_object" "source" {
  bucket = var.bucket
  name   = "${var.name}-${substr(sha256(jsonencode(var.files)), 0, 16)}.zip"
  source = data.archive_file.source.output_path
}

resource "google_cloudfunctions2_function" "this" {
  name        = local.service
  location    = var.region
  description = "Ratchet: ${local.words}"

  build_config {
    runtime         = "python313"
    entry_point     = "main"
    service_account = var.build_account

    source {
      storage_source {
        bucket = var.bucket
        object = google_storage_bucket_object.source.name
      }
    }
  }

  service_config {
    service_account_email            = local.email
    available_memory                 = "512Mi"
    available_cpu                    = "1"
    timeout_seconds                  = var.timeout
    max_instance_request_concurrency = var.concurrency
    min_instance_count               = 0
    max_instance_count               = var.max_instances
    ingress_settings                 = var.ingress
    all_traffic_on_latest_revision   = true

    environment_variables = merge(
      var.environment,
      {
        # A line's trace is found by its project.
        GOOGLE_CLOUD_PROJECT = var.project
        RATCHET_RELEASE      = tostring(var.release)
        WORKERS              = "1"
        THREADS              = tostring(var.concurrency)
        # A call that has answered 504 does not go on in the background.
        THREADED_TIMEOUT_ENABLED = "true"
      },
      length(local.pushers) == 0 ? {} : {
        RATCHET_PUSH_AUDIENCE = local.url
        RATCHET_PUSH_INVOKERS = join(",", sort(local.pushers))
      },
    )

    dynamic "secret_environment_variables" {
      for_each = var.secret_environment
      content {
        key        = secret_environment_variables.key
        project_id = var.project
        secret     = secret_environment_variables.value
        version    = "latest"
      }
    }

    dynamic "secret_volumes" {
      for_each = var.secret_files
      content {
        mount_path = secret_volumes.key
        project_id = var.project
        secret     = secret_volumes.value.secret

        dynamic "versions" {
          for_each = secret_volumes.value.versions
          content {
            path    = versions.key
            version = versions.value
          }
        }
      }
    }
  }

  depends_on = [google_secret_manager_secret_iam_member.this]

  #checkov:skip=CKV_GCP_124:The three doors are open: one checks signatures, two are behind IAM. Workers are internal, and a test holds it.
}
