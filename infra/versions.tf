terraform {
  required_version = ">= 1.9"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "~> 7.46"
    }
    archive = {
      source  = "hashicorp/archive"
      version = "~> 2.8"
    }
  }

  # The bucket is named when Terraform is initialised: -backend-config=bucket=...
  backend "gcs" {
    prefix = "ratchet"
  }
}

provider "google" {
  project        = var.project
  region         = var.region
  default_labels = { app = "ratchet" }
}

# A person's own credentials belong to no project, and the billing API wants one to count its calls in.
provider "google" {
  alias                 = "billing"
  project               = var.project
  billing_project       = var.project
  user_project_override = true
}
