"""`ratchet schema`: what an editor completes and checks a policy or a suite by."""

import json
from typing import Literal

from ratchet.adapters.rules.policy_schema import PolicyFile
from ratchet.adapters.rules.reading import json_schema
from ratchet.adapters.rules.suites import SuiteFile


def run(kind: Literal["policy", "suite"]) -> str:
    """The JSON Schema, as text."""
    return json.dumps(json_schema(PolicyFile if kind == "policy" else SuiteFile), indent=2, ensure_ascii=False)
