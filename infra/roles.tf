# Rights that Google's own roles would give too much of. No function may delete, and one alone may change a default.

resource "google_project_iam_custom_role" "state" {
  for_each = {
    writer = ["create", "get", "list", "update"]
    reader = ["get", "list"]
  }

  role_id     = "ratchetState${title(each.key)}"
  title       = "Ratchet: state ${each.key}"
  permissions = [for verb in each.value : "datastore.entities.${verb}"]

  depends_on = [google_project_service.this]
}

locals {
  state_roles = {
    for name, role in google_project_iam_custom_role.state : name => "projects/${var.project}/roles/${role.role_id}"
  }

  # By function, what it may do at Vertex AI.
  vertex_rights = {
    track_tuning_job  = ["tuningJobs.get", "models.get"]
    run_smoke_test    = ["endpoints.get", "endpoints.predict"]
    enforce_promotion = ["endpoints.predict", "tuningJobs.get", "models.get", "models.update"]
    reconcile         = ["tuningJobs.list", "models.get"]
  }
  vertex_projects = toset([for account in local.vertex : account.project])

  vertex_grants = merge([
    for project in local.vertex_projects : {
      for name, rights in local.vertex_rights : "${project}/${name}" => { project = project, name = name, rights = rights }
    }
  ]...)
}

resource "google_project_iam_custom_role" "vertex" {
  for_each = local.vertex_grants

  project     = each.value.project
  role_id     = "ratchet${join("", [for word in split("_", each.value.name) : title(word)])}"
  title       = "Ratchet: ${replace(each.value.name, "_", " ")}"
  permissions = [for right in each.value.rights : "aiplatform.${right}"]
}

resource "google_project_iam_member" "vertex" {
  for_each = local.vertex_grants

  project = each.value.project
  role    = "projects/${each.value.project}/roles/${google_project_iam_custom_role.vertex[each.key].role_id}"
  member  = module.function[each.value.name].member
}
