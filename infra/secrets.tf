# Containers only: a value in Terraform's state is a value in plain text. `ratchet webhook` and gcloud add versions.

locals {
  # What calls OpenAI holds a key of its own, with no more rights than it needs.
  openai_keys = merge([
    for account in local.openai : {
      for use in ["read", "inference"] : "${account.account}-${use}" => { account = account.account, use = use }
    }
  ]...)
}

resource "google_secret_manager_secret" "openai_key" {
  for_each = local.openai_keys

  secret_id = "ratchet-openai-${each.key}"

  replication {
    auto {}
  }

  depends_on = [google_project_service.this]
}

resource "google_secret_manager_secret" "webhook" {
  for_each = toset([for account in local.openai : account.account])

  secret_id = "ratchet-webhook-${each.key}"

  replication {
    auto {}
  }

  depends_on = [google_project_service.this]
}
