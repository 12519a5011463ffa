output "url" {
  value = local.url
}

output "member" {
  description = "The function's account, as IAM names it."
  value       = local.member
}

output "service" {
  description = "The name of the service that Cloud Run serves it by."
  value       = local.service
}

output "files" {
  description = "The paths of what is in its zip, with the hashes of their contents."
  value       = { for path, content in var.files : path => sha256(content) }
}

output "subscriptions" {
  description = "Names of its subscriptions."
  value       = [for subscription in google_pubsub_subscription.this : subscription.name]
}
