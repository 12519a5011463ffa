"""The JSON Schema that editors use: it agrees with the loader wherever a schema can."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from ratchet.adapters.rule_files import RuleErrors
from ratchet.adapters.rules import metrics
from ratchet.domain.keys import Provider
from ratchet_cli.main import app
from support.depth import deep
from support.policies import policy_files
from support.rules import FULL_POLICY, FULL_SUITE, POLICY, SUITE, replaced, rules_of

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT / "shared"
README = (ROOT / "README.md").read_text(encoding="utf-8")
SHIPPED = sorted([*SHARED.glob("*/*.yaml"), *SHARED.glob("ratchet_sim/scenarios/*/*/*.yaml")])


def printed(kind: str) -> Draft202012Validator:
    result = CliRunner().invoke(app, ["schema", kind])
    assert result.exit_code == 0, result.output
    schema = json.loads(result.output)
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


SCHEMAS = {"PromotionPolicy": printed("policy"), "Suite": printed("suite")}


def fits(document: Mapping[str, Any]) -> bool:
    return SCHEMAS[document["kind"]].is_valid(document)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_what_is_shipped_fits(path: Path) -> None:
    document = yaml.safe_load(path.read_text())
    assert list(SCHEMAS[document["kind"]].iter_errors(document)) == []


def test_there_is_something_shipped() -> None:
    assert {yaml.safe_load(path.read_text())["kind"] for path in SHIPPED} == set(SCHEMAS)


def test_what_init_writes_fits(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["init", "--config", str(tmp_path / "ratchet.yaml")])
    assert result.exit_code == 0, result.output
    for path in tmp_path.glob("*/*.yaml"):
        assert fits(yaml.safe_load(path.read_text())), path


def test_every_key_is_told_of_a_mapping_and_no_key_is_offered_an_empty_value() -> None:
    for validator in SCHEMAS.values():
        parts = [validator.schema, *validator.schema["$defs"].values()]
        assert all(part.get("type") == "object" or "anyOf" in part for part in parts)
        written = json.dumps(validator.schema)
        assert "null" not in written
        assert '"default": []' not in written


@settings(max_examples=deep(60, 1000), deadline=None)
@given(policy_files())
def test_any_policy_that_loads_fits(file: dict[str, Any]) -> None:
    assert list(SCHEMAS["PromotionPolicy"].iter_errors(file)) == []


VALUES = (
    st.none()
    | st.booleans()
    | st.integers(-1, 30)
    | st.sampled_from(
        (0.5, 1e6, "", "24h", "0h", "366d", "16:00", "24:00", "ana@acme.com", "*@acme.com", "== 1", ">= x")
    )
    | st.sampled_from(([], {}, ["step"], ["ana@acme.com"], {"anyOf": ["== 1", [">= 1"]]}, ["vertex", "vertex"]))
)


@settings(max_examples=deep(300, 5000), deadline=None)
@given(data=st.data())
def test_what_loads_with_another_value_anywhere_fits_too(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    policy, suite = yaml.safe_load(FULL_POLICY), yaml.safe_load(FULL_SUITE)
    changed = replaced(policy, data.draw(VALUES), data.draw)
    try:
        rules_of(changed, suite, tmp_path_factory.mktemp("rules"))
    except RuleErrors:
        return
    assert list(SCHEMAS["PromotionPolicy"].iter_errors(changed)) == []


WEEKLY = '  windows: [{name: a, kind: deny, tz: UTC, weekly: {days: [fri], from: "16:00", to: "24:00"}}]\n  choose'
MISFITS: list[tuple[str, str, str]] = [
    ("policy", "  alias: prod\n", ""),
    ("policy", "alias: prod", "alias: Prod"),
    ("policy", "  alias: prod\n", "  alias: prod\n  mod: enforce\n"),
    ("policy", "  alias: prod\n", "  alias: prod\n  mode: enforced\n"),
    ("policy", "[openai, vertex]", "[openai, azure]"),
    ("policy", "[openai, vertex]", "[]"),
    ("policy", "[openai, vertex]", "[vertex, vertex]"),
    ("policy", "{suite: core}", "{suite: core, minCases: 0}"),
    ("policy", "{suite: core}", "{suite: core, maxAge: 3 days}"),
    ("policy", "{suite: core}", "{suite: core, maxAge: 0h}"),
    ("policy", "{suite: core}", "{suite: core, maxAge: 1234567h}"),
    ("policy", "{suite: core}", "{suite: core, maxAge: }"),
    ("policy", '      pass: ">= 0.9"\n', ""),
    ("policy", '">= 0.9"', "0.9"),
    ("policy", '">= 0.9"', "[]"),
    ("policy", '">= 0.9"', '"about 0.9"'),
    ("policy", '">= 0.9"', '">= 0.9%"'),
    ("policy", '">= 0.9"', '">= NaN"'),
    ("policy", '">= 0.9"', "{anyOf: []}"),
    ("policy", '">= 0.9"', '{anyOf: ["== 1"], allOf: []}'),
    ("policy", '">= 0.9"\n', '">= 0.9"\n      confidence: {level: 1}\n'),
    ("policy", '">= 0.9"\n', '">= 0.9"\n      confidence: {method: wilson}\n'),
    ("policy", "{metric: step, better: lower}", ""),
    ("policy", "better: lower", "better: low"),
    ("policy", "better: lower", "better: lower, tie: -0.1"),
    ("policy", "[{metric: step, better: lower}]", "{order: []}"),
    ("policy", "[{metric: step, better: lower}]", "{mustBeatCurrent: {by: 1}}"),
    ("policy", "  choose", "  approval: {when: always, from: [ana]}\n  choose"),
    ("policy", "  choose", "  pacing: {maxPerDay: 11}\n  choose"),
    ("policy", "  choose", "  windows: [{name: a, kind: deny, tz: UTC}]\n  choose"),
    ("policy", "  choose", '  windows: [{name: a, kind: deny, tz: UTC, from: "2026-12-19T00:00"}]\n  choose'),
    ("policy", "  choose", WEEKLY.replace("[fri]", "[]")),
    ("policy", "  choose", WEEKLY.replace("16:00", "24:00")),
    ("policy", "  choose", "  watch: {count: 2}\n  choose"),
    ("policy", "  choose", "  rollback: {hold: for ever}\n  choose"),
    ("policy", "  choose", "  sinks: []\n  choose"),
    ("policy", "kind: PromotionPolicy\n", ""),
    ("suite", '["Say {{word}}"]', '["a", "b"]'),
    ("suite", "  tests:", "  run: {repeats: 21}\n  tests:"),
    ("suite", "  tests:", "  runs: {}\n  tests:"),
    ("suite", "      vars:", "      metadata: {tags: [a.b]}\n      vars:"),
    ("suite", "      vars:", "      metadata: {owner: x}\n      vars:"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "old", "new"), MISFITS)
def test_what_does_not_fit_does_not_load_either(tmp_path: Path, kind: str, old: str, new: str) -> None:
    texts = {"policy": POLICY, "suite": SUITE}
    assert fits(yaml.safe_load(texts[kind]))
    assert old in texts[kind]
    texts[kind] = texts[kind].replace(old, new, 1)
    name = "PromotionPolicy" if kind == "policy" else "Suite"
    assert not SCHEMAS[name].is_valid(yaml.safe_load(texts[kind]))
    with pytest.raises(RuleErrors):
        rules_of(texts["policy"], texts["suite"], tmp_path)


def table(head: str) -> dict[str, list[str]]:
    """A table of the README: of each row the other cells, by every word in code of the first."""
    rows = README.partition(f"\n| {head} |")[2].partition("\n\n")[0].splitlines()[2:]
    cells = [row.strip("| ").split(" | ") for row in rows]
    return {word: row[1:] for row in cells for word in re.findall(r"`([^`]+)`", row[0])}


def test_the_tables_of_the_readme_name_every_key_and_no_other() -> None:
    defined = SCHEMAS["PromotionPolicy"].schema["$defs"]
    # `choose` has a short form beside its keys.
    parts = {name: set((part["anyOf"][1] if "anyOf" in part else part)["properties"]) for name, part in defined.items()}
    assert set(table("key of `spec`")) == parts["PolicySpec"]
    assert set(table("key of a gate")) == parts["Gate"]
    # What a key is made of is named in its row.
    told = {key: " ".join(cells) for key, cells in table("key of `spec`").items()}
    for key, part in (
        ("select", "Select"), ("settle", "Settle"), ("evidence", "WantedSuite"), ("baseline", "Baseline"),
        ("choose", "Criterion"), ("choose", "Choose"), ("choose", "MustBeat"), ("approval", "Approval"),
        ("pacing", "Pacing"), ("windows", "Window"), ("windows", "Weekly"), ("watch", "Watch"),
        ("watch", "WatchLimits"), ("rollback", "RollBack"),
    ):  # fmt: skip
        assert [name for name in sorted(parts[part]) if name not in told[key]] == [], key


def test_the_table_of_metrics_names_every_metric_and_who_tells_it() -> None:
    rows = table("metric")
    written = {*metrics.OF_CHECKPOINTS, *metrics.SUITE, *metrics.TAG, "evaluation.<metric>"}
    assert {re.sub(r"suites\.<name>\.(tags\.<tag>\.)?", "", name) for name in rows} == written
    assert "suites.<name>.tags.<tag>.pass_rate" in rows
    for name, cells in rows.items():
        for provider, cell in zip((Provider.VERTEX, Provider.OPENAI), cells, strict=True):
            assert cell.startswith("–") is metrics.never_told(provider, name), (name, provider)
