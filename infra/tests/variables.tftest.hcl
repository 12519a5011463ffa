# What Terraform refuses before it plans anything, and what a plan says of itself.

variables {
  project           = "acme-ratchet"
  project_number    = "210987654321"
  region            = "europe-west1"
  database_location = "eur3"
  config_file       = "env/example.ratchet.yaml"
  policies_dir      = "../shared/policies"
  suites_dir        = "../shared/suites"
  release           = 1
}

run "the_id_for_the_number" {
  command = plan
  variables {
    project_number = "acme-ratchet"
  }
  expect_failures = [var.project_number]
}

run "no_release" {
  command = plan
  variables {
    release = 0
  }
  expect_failures = [var.release]
}

run "half_a_release" {
  command = plan
  variables {
    release = 1.5
  }
  expect_failures = [var.release]
}

run "an_address_is_known_before_its_function_is" {
  command = plan

  assert {
    condition     = output.webhook_url == "https://ratchet-receive-webhook-210987654321.europe-west1.run.app/webhooks/openai"
    error_message = "who registers the webhook needs its URL before the function can start"
  }
  assert {
    condition     = output.store == "firestore://acme-ratchet/ratchet"
    error_message = "the command line reads the same store"
  }
  assert {
    condition     = length(output.secrets_to_fill) == 3
    error_message = "every secret that needs a value is told of"
  }
}
