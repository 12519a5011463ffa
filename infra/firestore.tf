# The state. Everything that would lose it is refused: delete protection here, and no right to delete in any function.

resource "google_firestore_database" "this" {
  name                              = "ratchet"
  location_id                       = var.database_location
  type                              = "FIRESTORE_NATIVE"
  concurrency_mode                  = "OPTIMISTIC"
  delete_protection_state           = "DELETE_PROTECTION_ENABLED"
  point_in_time_recovery_enablement = "POINT_IN_TIME_RECOVERY_ENABLED"
  deletion_policy                   = "ABANDON"

  depends_on = [google_project_service.this]
}

resource "google_firestore_backup_schedule" "daily" {
  database  = google_firestore_database.this.name
  retention = "${7 * 24 * 3600}s"

  daily_recurrence {}
}

locals {
  # The queries of the code's catalogue (`QUERIES` in ports.py): by collection, the fields that they look at.
  queried = {
    aliases      = ["next_look_at"]
    case_results = ["run"]
    checkpoints  = ["job", "next_look_at", "recorded_at"]
    completions  = []
    dead_letters = ["died_at"]
    decisions    = ["id"]
    history      = ["alias", "n"]
    jobs         = ["first_seen_at", "next_look_at", "selected_under"]
    models       = []
    rules        = []
    smoke_runs   = ["job", "next_look_at"]
  }

  queried_fields = merge([
    for collection, fields in local.queried : {
      for field in fields : "${collection}.${field}" => { collection = collection, field = field }
    }
  ]...)

  # Of what expires, Firestore deletes by this field; a day late at times.
  expiring = toset(["completions", "dead_letters"])
}

# Nothing is indexed, evidence and texts least of all...
resource "google_firestore_field" "unindexed" {
  for_each = local.queried

  database   = google_firestore_database.this.name
  collection = each.key
  field      = "*"

  index_config {}
}

# ...but what is asked for.
resource "google_firestore_field" "queried" {
  for_each = local.queried_fields

  database   = google_firestore_database.this.name
  collection = each.value.collection
  field      = each.value.field

  index_config {
    indexes {
      order = "ASCENDING"
    }
    indexes {
      order = "DESCENDING"
    }
  }
}

resource "google_firestore_field" "ttl" {
  for_each = local.expiring

  database   = google_firestore_database.this.name
  collection = each.key
  field      = "ttl"

  index_config {}
  ttl_config {}
}

# An alias's history by number, from either end: Firestore walks no index backwards.
resource "google_firestore_index" "history" {
  for_each = toset(["ASCENDING", "DESCENDING"])

  database   = google_firestore_database.this.name
  collection = "history"

  fields {
    field_path = "alias"
    order      = "ASCENDING"
  }
  fields {
    field_path = "n"
    order      = each.key
  }
  fields {
    field_path = "__name__"
    order      = each.key
  }
}
