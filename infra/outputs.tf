output "webhook_url" {
  description = "Where OpenAI sends its events: ratchet webhook register --url ..."
  value       = "${module.function["receive_webhook"].url}/webhooks/openai"
}

output "command_url" {
  description = "command_url of your context in ratchet.yaml."
  value       = module.function["receive_command"].url
}

output "resolve_url" {
  description = "Where apps ask what an alias serves."
  value       = module.function["resolve_alias"].url
}

output "store" {
  description = "store of your context in ratchet.yaml."
  value       = local.environment.RATCHET_STORE
}

output "secrets_to_fill" {
  description = "Each needs a version before the functions can start: gcloud secrets versions add NAME --data-file=-"
  value = sort(concat(
    [for secret in google_secret_manager_secret.openai_key : secret.secret_id],
    [for secret in google_secret_manager_secret.webhook : secret.secret_id],
  ))
}

# Not to be read by people: what a test builds the functions from, as they would be deployed.

output "function_files" {
  description = "By function, the paths in its zip with the hashes of their contents."
  value       = { for name, function in module.function : name => function.files }
  sensitive   = true
}
