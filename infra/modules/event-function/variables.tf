variable "name" {
  description = "The function's, as its folder is called."
  type        = string
}

variable "project" {
  type = string
}

variable "project_number" {
  type = string
}

variable "region" {
  type = string
}

variable "files" {
  description = "What is in the zip: texts by their paths."
  type        = map(string)
}

variable "bucket" {
  description = "Where the zip goes."
  type        = string
}

variable "build_account" {
  description = "Id of the service account that builds it."
  type        = string
}

variable "environment" {
  description = "Variables that it finds besides its own."
  type        = map(string)
}

variable "timeout" {
  description = "Seconds that one call may take."
  type        = number
}

variable "concurrency" {
  description = "Calls at a time in one instance."
  type        = number
}

variable "ingress" {
  type = string
}

variable "max_instances" {
  type = number
}

variable "release" {
  description = "Rises with every deployment."
  type        = number
}

variable "topics" {
  description = "The names of the topics that it gets messages of."
  type        = map(string)
}

variable "publishes" {
  description = "The names of the topics that it sends messages to."
  type        = map(string)
}

variable "dead_letters" {
  description = "Name of the topic that takes what could not be handled."
  type        = string
}

variable "pubsub_agent" {
  description = "Pub/Sub's own account, which moves dead letters."
  type        = string
}

variable "ack_deadline" {
  description = "Seconds after which a push counts as failed."
  type        = number
}

variable "state_roles" {
  description = "What it may do with the database: ids of roles, by name."
  type        = map(string)
}

variable "database" {
  type = string
}

variable "secret_environment" {
  description = "Secrets as variables, by the variable's name."
  type        = map(string)
}

variable "secret_files" {
  description = "Secrets as files: by folder, the secret and the file names with their versions."
  type        = map(object({ secret = string, versions = map(string) }))
}

variable "invokers" {
  description = "Who may call it, besides its own subscriptions."
  type        = list(string)
}

variable "public" {
  description = "Whether anybody may call it: it checks signatures itself."
  type        = bool
}

variable "pushers" {
  description = "E-mail addresses of accounts that call it on a schedule, by name."
  type        = map(string)
}
