"""Folders with a policy and a suite, and what is said of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st

from ratchet.adapters.rule_files import check, load_rules
from ratchet.domain.rules import Rules

POLICY = """\
kind: PromotionPolicy
metadata: {name: prod}
spec:
  line: router
  alias: prod
  select: {providers: [openai, vertex]}
  evidence: {suites: [{suite: core}]}
  gates:
    - id: quality
      metric: suites.core.pass_rate
      pass: ">= 0.9"
  choose: [{metric: step, better: lower}]
"""
SUITE = """\
kind: Suite
metadata: {name: core}
spec:
  prompts: ["Say {{word}}"]
  tests:
    - id: one
      vars: {word: hi}
      assert: [{type: contains, value: hi}]
"""
FULL_POLICY = """\
kind: PromotionPolicy
metadata: {name: full}
spec:
  line: router
  alias: prod
  mode: enforce
  select: {providers: [vertex], labels: {team: a}, baseModels: [gemini], names: ["support-*", faq]}
  settle: {until: jobTerminal, quiet: 10m, maxWait: 90s}
  evidence:
    suites: [{suite: core, minCases: 2, minRepeats: 2, maxAge: 3d}]
    metrics: [suites.core.tokens, step]
  baseline: {use: bestOfLine, rerun: always, whenMissing: approval}
  gates:
    - id: quality
      metric: suites.core.pass_rate
      pass: ">= 0.25"
      warn: [">= 0.2"]
      confidence: {method: wilson, level: 0.9}
    - id: quick
      metric: suites.core.latency_p95_ms
      pass: {anyOf: ["<= 1500", ["<= 3000", "<= baseline + 20%"]]}
      required: false
      missing: warn
    - {id: alike, metric: suites.core.tags.a.regressions, pass: "== 0", missing: fail}
    - {id: rouge, metric: evaluation.rouge_l, pass: ">= baseline", missing: skip, comparable: [dataset]}
  choose:
    order:
      - {metric: suites.core.score, better: higher, tie: 0.01}
      - {metric: step, better: lower}
    mustBeatCurrent: {by: 0.02}
  approval: {when: onWarn, min: 2, from: ["*@ml.acme.com", ana@acme.com], notBy: [], expires: 12h}
  pacing: {cooldown: 6h, maxPerDay: 3}
  windows:
    - {name: hours, kind: allow, tz: Europe/Berlin, weekly: {days: [mon, tue], from: "09:00", to: "24:00"}}
    - {name: year-end, kind: deny, tz: UTC, from: "2026-12-19T00:00", to: "2027-01-03T12:30"}
  apply: [vertexDefault]
  watch: {suite: core, delay: 1m, interval: 5m, count: 3, limits: {failures: 2, inconclusive: 1}}
  rollback: {triggers: [endpointGone], hold: 2h, breaker: 3}
  drift: revert
"""
FULL_SUITE = """\
kind: Suite
metadata: {name: core}
spec:
  prompts: ["Say {{word}}"]
  run:
    {repeats: 2, concurrency: 3, order: shuffled, seed: 7, budget: {usd: 1.5, tokens: 9000, wall: 8m}}
  probe: {patience: 2h}
  request:
    {system: Be brief., maxTokens: 64, temperature: 0.5, seed: 11, timeout: 8s, toolChoice: required,
     tools: [{function: {name: book, description: A seat., parameters: {type: object}}}]}
  keep: {outputs: failed, ttl: 240h, redact: [phone, email]}
  casePass: {minPassRate: 0.5}
  defaultTest: {vars: {other: x}, assert: [{type: latency, threshold: 500}]}
  tests:
    - {id: one, description: first, vars: {word: hi}, assert: [{type: contains, value: hi}], metadata: {tags: [a, b]}}
    - {id: two, vars: {word: ho}, assert: [{type: not-equals, value: {a: 1}}, {type: is-valid-openai-tools-call}]}
    - id: three
      repeats: 3
      threshold: 0.9
      vars: {word: he}
      assert:
        - {type: assert-set, threshold: 0.6, weight: 2, metric: tone, assert: [{type: is-json}]}
        - {$ref: "#/assertionTemplates/greets"}
  assertionTemplates: {greets: {type: icontains, value: polite}}
"""

Folders = tuple[Path, Path]


def make(at: Path, policy: str, suite: str) -> Folders:
    """One file in each of two folders."""
    for name, text in (("policies/p.yaml", policy), ("suites/s.yaml", suite)):
        (at / name).parent.mkdir(exist_ok=True)
        (at / name).write_text(text, encoding="utf-8")
    return at / "policies", at / "suites"


def said(folders: Folders) -> list[str]:
    return [str(finding) for finding in check(*folders)]


def rules_of(policy: Any, suite: Any, at: Path) -> Rules:
    """What a policy and a suite load as, each of them YAML or what YAML holds."""
    texts = (one if isinstance(one, str) else yaml.safe_dump(one, sort_keys=False) for one in (policy, suite))
    return load_rules(*make(at, *texts))


def shuffled(value: Any, draw: Callable[[st.SearchStrategy[Any]], Any]) -> Any:
    """The same with every mapping's keys in another order."""
    if isinstance(value, dict):
        return {key: shuffled(value[key], draw) for key in draw(st.permutations(list(value)))}
    return [shuffled(item, draw) for item in value] if isinstance(value, list) else value


def replaced(document: dict[str, Any], value: Any, draw: Callable[[st.SearchStrategy[Any]], Any]) -> dict[str, Any]:
    """The document with this value in some place of it."""
    place: Any = document
    while True:
        key = draw(st.sampled_from(list(place) if isinstance(place, dict) else range(len(place))))
        if not isinstance(place[key], dict | list) or not place[key] or draw(st.booleans()):
            break
        place = place[key]
    place[key] = value
    return document
