"""`ratchet check`: whether the policies and suites load, and what to mend where they do not."""

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from ratchet.adapters import rule_files
from ratchet_cli.stores import read_settings


def run(config: Path, policies: Path | None, suites: Path | None, *, as_json: bool) -> tuple[str, bool]:
    """What to print, and whether there was nothing that must be mended. Raises: Problem."""
    if policies is None or suites is None:
        settings = read_settings(config)
        policies, suites = policies or settings.policies_dir, suites or settings.suites_dir
    findings = rule_files.check(policies, suites, datetime.now(UTC))
    clean = all(finding.severity != "error" for finding in findings)
    if as_json:
        return json.dumps({"clean": clean, "findings": [asdict(finding) for finding in findings]}, indent=2), clean
    lines = [f"{finding}{'' if finding.severity == 'error' else f' ({finding.severity})'}" for finding in findings]
    if clean:
        rules = rule_files.load_rules(policies, suites)
        lines.append(summary(len(rules.policies), len(rules.suites)))
    return "\n".join(lines), clean


def summary(policies: int, suites: int) -> str:
    what = f"{policies} {'policy' if policies == 1 else 'policies'} and {suites} suite{'' if suites == 1 else 's'}"
    return f"{what} load"
