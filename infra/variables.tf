variable "project" {
  description = "Id of the project that Ratchet runs in."
  type        = string
}

variable "project_number" {
  description = "Its number: the functions' URLs hold it."
  type        = string

  validation {
    condition     = can(regex("^[0-9]{6,20}$", var.project_number))
    error_message = "project_number is the number, not the id: gcloud projects describe PROJECT --format='value(projectNumber)'"
  }
}

variable "region" {
  description = "Where functions, topics and schedules live."
  type        = string
}

variable "database_location" {
  description = "Where Firestore keeps its data, such as eur3 or nam5; it can never be moved."
  type        = string
}

variable "config_file" {
  description = "Your ratchet.yaml, which is deployed as it is."
  type        = string
}

variable "policies_dir" {
  description = "Your folder of promotion policies."
  type        = string
}

variable "suites_dir" {
  description = "Your folder of suites, with what they import."
  type        = string
}

variable "release" {
  description = "A number that rises with every deployment, such as the time in seconds. An older one never decides."
  type        = number

  validation {
    condition     = var.release > 0 && floor(var.release) == var.release
    error_message = "release is a whole number above 0; make deploy takes the time in seconds"
  }
}

variable "operators" {
  description = "Who may send commands (IAM members, such as group:ml-platform@example.com)."
  type        = list(string)
  default     = []
}

variable "apps" {
  description = "Who may ask what an alias serves (IAM members, such as serviceAccount:...)."
  type        = list(string)
  default     = []
}

variable "previous_webhook_versions" {
  description = "During a rotation: by OpenAI account, the version number of the secret that is still valid."
  type        = map(string)
  default     = {}
}

variable "notify" {
  description = "E-mail addresses that alerts go to."
  type        = list(string)
  default     = []
}

variable "notification_channels" {
  description = "Ids of further notification channels that exist already."
  type        = list(string)
  default     = []
}

variable "repository" {
  description = "Owner and name of your repository: alerts link its runbook."
  type        = string
  default     = "your-organisation/ratchet"
}

variable "billing_account" {
  description = "With it and budget, the project gets a budget with alerts."
  type        = string
  default     = null
}

variable "budget" {
  description = "What a month may cost, in the billing account's currency, before somebody is told."
  type        = number
  default     = 100
}

variable "cmek_key" {
  description = "A Cloud KMS key for the source bucket and topics; without one, Google's own keys."
  type        = string
  default     = null
}

variable "anchors_location" {
  description = "Where the history's anchors are kept, such as europe-west1 or global."
  type        = string
  default     = "global"
}

variable "lock_anchors" {
  description = "Lock the log bucket of the history's anchors for good. It can then be deleted by nobody for 400 days."
  type        = bool
  default     = true
}

variable "tokens_a_day" {
  description = "What all smoke tests together may take in a day: told of at 80 % and at twice as many. null: nobody is."
  type        = number
  default     = null
}
