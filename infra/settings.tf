# What is deployed of your ratchet.yaml. The same file serves the command line, so nothing is written twice.

locals {
  config = yamldecode(file(var.config_file))

  vertex = try(local.config.providers.vertex, [])
  openai = try(local.config.providers.openai, [])

  limits = merge({
    budget = 90, function_timeout = 110, ack_deadline = 120, lease = 150, provider_timeout = 20, slice = 60, skew = 10
  }, try(local.config.limits, {}))

  # The functions' own: where they store, and where the secrets are mounted.
  settings = merge(
    { for key in ["since", "prices", "shutdown_dates", "notify"] : key => local.config[key] if can(local.config[key]) },
    {
      store        = "firestore://${var.project}/${google_firestore_database.this.name}"
      policies_dir = "policies"
      suites_dir   = "suites"
      limits       = local.limits
      providers = {
        vertex = local.vertex
        openai = [
          for account in local.openai : {
            account     = account.account
            api_key_env = try(account.api_key_env, "OPENAI_API_KEY")
            webhook_secrets_files = concat(
              ["${local.webhook_mount}/${account.account}/current"],
              can(var.previous_webhook_versions[account.account]) ? ["${local.webhook_mount}/${account.account}/previous"] : [],
            )
          }
        ]
      }
    },
  )

  webhook_mount = "/secrets"
}

check "since" {
  assert {
    condition     = can(local.config.since)
    error_message = "${var.config_file} has no `since`: jobs created before it are recorded, never promoted"
  }
}
