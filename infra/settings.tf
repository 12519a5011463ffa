# Your ratchet.yaml is deployed as it is: the same file serves the command line.

locals {
  config = yamldecode(file(var.config_file))

  vertex = try(local.config.providers.vertex, [])
  openai = try(local.config.providers.openai, [])

  limits = merge({
    budget = 90, function_timeout = 110, ack_deadline = 120, lease = 150, provider_timeout = 20, slice = 60, skew = 10
  }, try(local.config.limits, {}))

  # What is another thing here than on your own machine: where the state is, and the secrets.
  environment = {
    RATCHET_STORE               = "firestore://${var.project}/${google_firestore_database.this.name}"
    RATCHET_POLICIES_DIR        = "policies"
    RATCHET_SUITES_DIR          = "suites"
    RATCHET_WEBHOOK_SECRETS_DIR = local.webhook_mount
    RATCHET_CANARY              = "true"
  }
  webhook_mount = "/secrets"
}

check "since" {
  assert {
    condition     = can(local.config.since)
    error_message = "${var.config_file} has no `since`: jobs created before it are recorded, never promoted"
  }
}
