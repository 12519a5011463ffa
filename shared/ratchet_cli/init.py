"""`ratchet init`: a ratchet.yaml, one policy and one suite that load, and that change nothing by themselves."""

import configparser
import json
import os
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from ratchet_cli.problem import USAGE, Problem

_VERTEX = re.compile(r"(?P<project>[a-z][a-z0-9-]{4,62}):(?P<number>[0-9]{1,20}):(?P<location>[a-z0-9-]{1,40})")
_OPENAI = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")

_POLICY = """\
# Which checkpoint may serve as my-line@prod. `ratchet check` says what is wrong with a file like this one.
kind: PromotionPolicy
metadata: {name: my-line-prod}
spec:
  line: my-line
  alias: prod
  # dryRun says what it would do and changes nothing. After a week of watching: enforce.
  mode: dryRun
  # Only jobs with these labels (Vertex) or metadata (OpenAI), created after `since` in ratchet.yaml.
  select: {providers: [vertex, openai], labels: {ratchet-line: my-line}}
  # Decide once the job has ended and every checkpoint of it is tested, or a day later.
  settle: {until: jobTerminal, maxWait: 24h}
  evidence: {suites: [{suite: my-suite, minCases: 3}]}
  # `baseline` in a gate is what serves now. The first promotion has none.
  baseline: {use: current, whenMissing: allow}
  gates:
    - {id: alive, metric: suites.my-suite.error_rate, pass: "<= 0.02"}
    - {id: quality, metric: suites.my-suite.pass_rate, pass: ">= 0.90"}
    - {id: no-drop, metric: suites.my-suite.pass_rate, pass: ">= baseline - 0.01"}
  # The best pass rate; of those within 0.01 of it, the earliest step.
  choose:
    - {metric: suites.my-suite.pass_rate, better: higher, tie: 0.01}
    - {metric: step, better: lower}
  # With mode enforce, also make the winner the default of its Vertex model. Needs aiplatform.models.update.
  # apply: [vertexDefault]
"""

_SUITE = """\
# What every checkpoint is asked, in promptfoo's test-case format: replace these three with your own.
kind: Suite
metadata: {name: my-suite}
spec:
  prompts: ["{{question}}"]
  run: {repeats: 1, concurrency: 4}
  request: {maxTokens: 128}
  tests:
    - id: capital
      vars: {question: "What is the capital of France? Answer with its name."}
      assert: [{type: icontains, value: paris}]
    - id: sum
      vars: {question: "What is 17 + 25? Answer with the number."}
      assert: [{type: regex, value: "\\\\b42\\\\b"}]
    - id: json
      vars: {question: 'Answer with this JSON and nothing else: {"ok": true}'}
      assert: [{type: is-json}]
"""


def run(config: Path, vertex: Sequence[str], openai: Sequence[str], now: datetime | None = None) -> str:
    """What to print. Raises: Problem: something is in the way; nothing is written then."""
    folder = config.parent
    files = {
        config: _settings(folder, vertex, openai, now or datetime.now(UTC)),
        folder / "policies" / "my-line-prod.yaml": _POLICY,
        folder / "suites" / "my-suite.yaml": _SUITE,
    }
    there = [path for path in files if path.exists()]
    if there:
        raise Problem(f"{', '.join(map(str, there))}: already there, nothing was written; remove it, or use --config")
    try:
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            # "x" so that even a file that appears in between is never overwritten.
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
    except OSError as exc:
        raise Problem(f"{exc.filename}: cannot be written ({exc.strerror}); choose another folder") from exc
    named = "" if vertex or openai or _has_openai() else f"name your projects in {config}, then "
    option = "" if config == Path("ratchet.yaml") else f" --config {config}"
    wrote = "\n".join(f"wrote {path}" for path in files)
    return f"{wrote}\nnext: {named}ratchet doctor{option} && ratchet up{option}"


def _settings(folder: Path, vertex: Sequence[str], openai: Sequence[str], now: datetime) -> str:
    return f"""\
# Ratchet's settings. `ratchet doctor` checks them. Environment variables win: RATCHET_STORE, RATCHET_SINCE, ...
store: {json.dumps(f"sqlite:///{folder / 'ratchet.db'}")}

# Jobs created before are recorded, never tested or promoted.
since: "{now.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"

{_providers(vertex, openai)}
policies_dir: {json.dumps(str(folder / "policies"))}
suites_dir: {json.dumps(str(folder / "suites"))}

# Run for each event that wants a person; the event comes as JSON on its standard input.
# notify: "mail -s ratchet me@example.com"

# Other systems, for `ratchet --context NAME`:
# contexts:
#   production: {{store: "firestore://my-project/ratchet", command_url: "https://.../v1/commands"}}
"""


def _providers(vertex: Sequence[str], openai: Sequence[str]) -> str:
    accounts = [_vertex_entry(text) for text in vertex]
    names = [_openai_entry(text) for text in openai]
    if not names and not vertex and _has_openai():
        names = [_openai_entry(os.environ.get("OPENAI_PROJECT_ID") or "my-openai-project")]
    project = _google_project() or "my-project"
    vertex_help = [
        "  # Vertex AI, by application-default credentials (gcloud auth application-default login). `account` is the",
        "  # project's number: gcloud projects describe " + project + " --format='value(projectNumber)'",
    ]
    openai_help = [
        "  # OpenAI, by an API key in a variable. `account` is your name for the project that the key belongs to; it",
        "  # becomes a part of every key in the store, so settle on one.",
    ]
    example = f'{{project: {project}, account: "123456789012", location: us-central1}}'
    lines = ["providers:"] if accounts or names else ["# providers:"]
    lines += vertex_help
    lines += ["  vertex:", *accounts] if accounts else ["  # vertex:", f"  #   - {example}"]
    lines += openai_help
    lines += (
        ["  openai:", *names]
        if names
        else ["  # openai:", "  #   - {account: my-openai-project, api_key_env: OPENAI_API_KEY}"]
    )
    lines += [
        "  # With a webhook, a job's end is known at once and not at the next sweep: add to the OpenAI account",
        "  #     webhook_secrets_env: OPENAI_WEBHOOK_SECRET",
    ]
    return "\n".join(lines) + "\n"


def _vertex_entry(text: str) -> str:
    found = _VERTEX.fullmatch(text)
    if found is None:
        raise Problem(
            f"--vertex {text}: write PROJECT:NUMBER:LOCATION, such as acme-ml:123456789012:us-central1", USAGE
        )
    return f'    - {{project: {found["project"]}, account: "{found["number"]}", location: {found["location"]}}}'


def _openai_entry(name: str) -> str:
    if _OPENAI.fullmatch(name) is None:
        raise Problem(f"--openai {name}: use letters, digits, dots, dashes and underscores", USAGE)
    return f'    - {{account: "{name}", api_key_env: OPENAI_API_KEY}}'


def _has_openai() -> bool:
    return bool(os.environ.get("OPENAI_API_KEY"))


def _google_project() -> str | None:
    """The project that gcloud or its credentials name, without asking the network."""
    if named := os.environ.get("GOOGLE_CLOUD_PROJECT"):
        return named
    folder = Path(os.environ.get("CLOUDSDK_CONFIG", Path.home() / ".config" / "gcloud"))
    try:
        active = (folder / "active_config").read_text().strip() if (folder / "active_config").is_file() else "default"
        parser = configparser.ConfigParser()
        parser.read(folder / "configurations" / f"config_{active}")
        if project := parser.get("core", "project", fallback=None):
            return project
        credentials = json.loads((folder / "application_default_credentials.json").read_text())
        return str(credentials["quota_project_id"])
    except (OSError, ValueError, KeyError, TypeError, configparser.Error):
        return None
