# The nine functions, each with its own account and no right that it does not use.
#
# Effectful ones handle one event at a time: with more, the code of an event may run on after its time is up.

locals {
  shared = "${path.module}/../shared"

  event = { timeout = local.limits.function_timeout, concurrency = 1, ingress = "ALLOW_INTERNAL_ONLY", max_instances = 20 }
  door  = { timeout = 15, concurrency = 8, ingress = "ALLOW_ALL", max_instances = 10 }

  functions = {
    receive_webhook = merge(local.door, {
      publishes = ["tuning-jobs", "dead-letters"], state = null, rules = false, key = null
    })
    receive_command = merge(local.door, {
      publishes = ["commands"], state = null, rules = false, key = null
    })
    track_tuning_job = merge(local.event, {
      topics = ["tuning-jobs"], publishes = ["checkpoints", "promotions"], state = "writer", rules = true, key = "read"
    })
    record_checkpoint = merge(local.event, {
      topics = ["checkpoints"], publishes = ["smoke-tests"], state = "writer", rules = true, key = null
    })
    run_smoke_test = merge(local.event, {
      topics = ["smoke-tests"], publishes = ["promotions", "smoke-tests"], state = "writer", rules = true, key = "inference"
    })
    enforce_promotion = merge(local.event, {
      topics = ["promotions", "commands"], publishes = ["decisions", "smoke-tests"], state = "writer", rules = true
      key    = "inference"
    })
    reconcile = merge(local.event, {
      publishes = ["tuning-jobs", "smoke-tests", "promotions"], state = "writer", rules = true, key = "read"
      # One sweep at a time.
      max_instances = 1
    })
    park_dead_letter = merge(local.event, {
      topics = ["dead-letters"], publishes = [], state = "writer", rules = false, key = null
    })
    resolve_alias = merge(local.door, {
      publishes = [], state = "reader", rules = false, key = null
    })
  }

  # What every zip holds besides the function's own two files, and what those hold that read the rules.
  package = {
    for path in fileset(local.shared, "ratchet/**/*.py") : path => file("${local.shared}/${path}")
  }
  rules = merge(
    { for path in fileset(var.policies_dir, "**") : "policies/${path}" => file("${var.policies_dir}/${path}") },
    { for path in fileset(var.suites_dir, "**") : "suites/${path}" => file("${var.suites_dir}/${path}") },
  )
}

module "function" {
  source   = "./modules/event-function"
  for_each = local.functions

  name           = each.key
  project        = var.project
  project_number = var.project_number
  region         = var.region

  files = merge(
    local.package,
    each.value.rules ? local.rules : {},
    { "ratchet.yaml" = file(var.config_file) },
    {
      for file in ["main.py", "requirements.txt"] : file => file("${path.module}/../functions/${each.key}/${file}")
    },
  )
  bucket        = google_storage_bucket.source.name
  build_account = "projects/${var.project}/serviceAccounts/${local.build_email}"

  environment   = local.environment
  timeout       = each.value.timeout
  concurrency   = each.value.concurrency
  ingress       = each.value.ingress
  max_instances = each.value.max_instances
  release       = var.release

  topics       = { for topic in try(each.value.topics, []) : topic => google_pubsub_topic.this[topic].name }
  publishes    = { for topic in each.value.publishes : topic => google_pubsub_topic.this[topic].name }
  dead_letters = google_pubsub_topic.this["dead-letters"].name
  pubsub_agent = local.pubsub_agent
  ack_deadline = local.limits.ack_deadline

  state_roles = each.value.state == null ? {} : { (each.value.state) = local.state_roles[each.value.state] }
  database    = google_firestore_database.this.name

  secret_environment = each.value.key == null ? {} : {
    for account in local.openai :
    try(account.api_key_env, "OPENAI_API_KEY") => google_secret_manager_secret.openai_key["${account.account}-${each.value.key}"].secret_id
  }
  secret_files = each.key != "receive_webhook" ? {} : {
    for account in local.openai : "${local.webhook_mount}/${account.account}" => {
      secret   = google_secret_manager_secret.webhook[account.account].secret_id
      versions = merge({ current = "latest" }, can(var.previous_webhook_versions[account.account]) ? { previous = var.previous_webhook_versions[account.account] } : {})
    }
  }

  invokers = lookup({ receive_command = var.operators, resolve_alias = var.apps }, each.key, [])
  # A provider has no identity of Google's: its signature is what is checked.
  public = each.key == "receive_webhook"

  # Who pushes to a function that has no topic of its own.
  pushers = each.key == "reconcile" ? { scheduler = local.scheduler_email } : {}

  depends_on = [terraform_data.build_rights, google_project_service.this]
}
