# The functions' source: one object for each content, its hash in the name.

resource "google_storage_bucket" "source" {
  name                        = "${var.project}-ratchet-source"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"

  versioning {
    enabled = true
  }

  lifecycle_rule {
    condition {
      num_newer_versions = 10
      with_state         = "ARCHIVED"
    }
    action {
      type = "Delete"
    }
  }

  dynamic "encryption" {
    for_each = var.cmek_key == null ? [] : [var.cmek_key]
    content {
      default_kms_key_name = encryption.value
    }
  }

  #checkov:skip=CKV_GCP_62:Access to it is in the audit log; it holds source and nothing secret.
}

# Builds the functions, and can do nothing else. The default account of Cloud Build could do much more.
resource "google_service_account" "build" {
  account_id   = "ratchet-build"
  display_name = "Ratchet: builds the functions"
}

locals {
  build_email = "${google_service_account.build.account_id}@${var.project}.iam.gserviceaccount.com"
}

resource "google_project_iam_member" "build" {
  for_each = toset(["roles/artifactregistry.writer", "roles/logging.logWriter"])

  project = var.project
  role    = each.key
  member  = "serviceAccount:${local.build_email}"
}

resource "google_storage_bucket_iam_member" "build" {
  bucket = google_storage_bucket.source.name
  role   = "roles/storage.objectViewer"
  member = "serviceAccount:${local.build_email}"
}
