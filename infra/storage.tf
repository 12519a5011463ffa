# The functions' source: one object for each content, its hash in the name. So nothing is ever written over, and an older
# source is in the repository.

resource "google_storage_bucket" "source" {
  name                        = "${var.project}-ratchet-source-${var.region}"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = true

  dynamic "encryption" {
    for_each = var.cmek_key == null ? [] : [var.cmek_key]
    content {
      default_kms_key_name = encryption.value
    }
  }

  depends_on = [google_project_service.this, google_kms_crypto_key_iam_member.agents]

  #checkov:skip=CKV_GCP_62:Access to it is in the audit log; it holds source and nothing secret.
  #checkov:skip=CKV_GCP_78:An object's name holds the hash of its content: no version ever follows another.
}

# Builds the functions, and can do nothing else. The default account of Cloud Build could do much more.
resource "google_service_account" "build" {
  account_id   = "ratchet-build"
  display_name = "Ratchet: builds the functions"

  depends_on = [google_project_service.this]
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

# Cloud Functions copies each zip into a bucket of its own making, and builds from there.
resource "google_project_iam_member" "build_source" {
  project = var.project
  role    = "roles/storage.objectViewer"
  member  = "serviceAccount:${local.build_email}"

  condition {
    title      = "the functions' sources alone"
    expression = "resource.name.startsWith(\"projects/_/buckets/gcf-v2-sources-${var.project_number}-\")"
  }
}

# A new right is not known everywhere at once: a build that starts too early is refused.
resource "terraform_data" "build_rights" {
  triggers_replace = [google_project_iam_member.build_source.member, google_storage_bucket_iam_member.build.bucket]

  provisioner "local-exec" {
    command = "sleep 60"
  }

  depends_on = [google_project_iam_member.build]
}
