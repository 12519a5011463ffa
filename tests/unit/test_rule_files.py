"""The folders of policies and suites: what loads together, who owns an alias, and what any file may hold."""

from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ratchet.adapters.rule_files import (
    RuleErrors,
    check,
    load_policy,
    load_rules,
    policy_from_text,
    suite_from_text,
)
from ratchet.adapters.rules.metrics import LOSSES, OF_CHECKPOINTS, Metric, of_suite
from ratchet.adapters.yaml_files import BadYaml, parse
from ratchet.domain.evidence import DAYS_TO_SHUTDOWN, measure, observe, with_neighbours
from ratchet.domain.keys import AliasKey, CheckpointKey, JobKey, Provider
from ratchet.domain.policy import Mode
from ratchet.domain.records import Checkpoint, CheckpointState, Lease, Measure, Purpose, RunOutcome, SmokeRun, Summary
from support.depth import deep
from support.rules import FULL_POLICY, FULL_SUITE, POLICY, SUITE, Folders, make, replaced, rules_of, said

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folders:
    monkeypatch.chdir(tmp_path)
    return make(Path(), POLICY, SUITE)


def test_the_worked_examples_load_clean_and_change_nothing() -> None:
    folders = SHARED / "policies", SHARED / "suites"
    assert check(*folders, datetime(2026, 11, 22, tzinfo=UTC)) == []
    rules = load_rules(*folders)
    assert [(policy.name, str(policy.alias), policy.mode) for policy in rules.policies] == [
        ("approval-on-warn", "refunds@prod", Mode.DRY_RUN),
        ("beats-the-current", "support-router@prod", Mode.DRY_RUN),
        ("best-of-the-job", "support-router@staging", Mode.DRY_RUN),
    ]
    assert {name: len(suite.cases) for name, suite in rules.suites.items()} == {
        "refund-answers": 20,
        "support-core": 12,
        "support-desks": 60,
    }
    # Each suite is there for a policy.
    assert {wanted.suite for policy in rules.policies for wanted in policy.evidence} == set(rules.suites)


def test_two_policies_or_suites_of_one_name_are_refused(folders: Folders) -> None:
    (folders[0] / "q.yaml").write_text(POLICY.replace("alias: prod", "alias: dev"))
    (folders[1] / "t.yml").write_text(SUITE)
    assert said(folders) == [
        "policies/q.yaml:2: another policy is named `prod`, rename one of them",
        "suites/t.yml:2: another suite is named `core`, rename one of them",
    ]


def test_a_missing_folder_is_named(folders: Folders) -> None:
    expected = ["nowhere:1: there is no such folder, create it, or mend the settings"]
    assert said((Path("nowhere"), folders[1])) == expected
    assert said((folders[0], Path("nowhere"))) == expected


def test_a_suite_with_a_finding_is_not_also_called_unknown(folders: Folders) -> None:
    (folders[1] / "s.yaml").write_text(SUITE.replace("{word: hi}", "{}"))
    undefined = "suites/s.yaml:6: an undefined variable: 'word' is undefined"
    assert [finding.partition(",")[0] for finding in said(folders)] == [undefined]
    (folders[1] / "s.yaml").write_text("{")
    assert [finding.partition(":")[0] for finding in said(folders)] == ["suites/s.yaml"]
    (folders[1] / "s.yaml").write_text(SUITE.replace("name: core", "name: kore").replace("{word: hi}", "{}"))
    assert [finding.partition(",")[0] for finding in said(folders)] == [
        "policies/p.yaml:7: unknown suite `core`",
        undefined,
    ]


def named(name: str, mode: str, more: str = "", alias: str = "prod") -> str:
    text = POLICY.replace("name: prod", f"name: {name}").replace("alias: prod", f"alias: {alias}")
    return f"{text}  mode: {mode}\n{more}"


def owners(folders: Folders, *modes: str) -> dict[str, str]:
    """The alias of each of several policies on router@prod; they are named a, b, c."""
    for name, mode in zip("abc", modes, strict=False):
        (folders[0] / f"{name}.yaml").write_text(named(name, mode))
    (folders[0] / "p.yaml").unlink()
    return {policy.name: str(policy.alias) for policy in load_rules(*folders).policies}


def test_beside_the_one_that_enforces_the_others_decide_on_its_shadows(folders: Folders) -> None:
    expected = {"a": "router@prod~a", "b": "router@prod", "c": "router@prod~c"}
    assert owners(folders, "dryRun", "enforce", "dryRun") == expected


def test_the_first_of_the_dry_ones_owns_the_alias_where_none_enforces(folders: Folders) -> None:
    assert owners(folders, "disabled", "dryRun", "dryRun") == {
        "a": "router@prod",
        "b": "router@prod",
        "c": "router@prod~c",
    }


def test_each_alias_and_each_shadow_finds_its_policy_and_a_disabled_one_is_nobodys(folders: Folders) -> None:
    owners(folders, "disabled", "dryRun", "dryRun")
    rules = load_rules(*folders)
    found = {name: rules.policy_for(AliasKey.parse(name)) for name in ("router@prod", "router@prod~c", "router@prod~a")}
    assert {name: policy and policy.name for name, policy in found.items()} == {
        "router@prod": "b",
        "router@prod~c": "c",
        "router@prod~a": None,
    }
    for name in "bc":
        (folders[0] / f"{name}.yaml").unlink()
    assert load_rules(*folders).policy_for(AliasKey("router", "prod")) is None


def test_the_digest_of_a_policy_does_not_tell_whether_it_is_a_shadow(folders: Folders) -> None:
    (alone,) = load_rules(*folders).policies
    (folders[0] / "q.yaml").write_text(named("other", "enforce"))
    _, beside = load_rules(*folders).policies
    assert (beside.alias, beside.digest, beside.text) == (AliasKey("router", "prod~prod"), alone.digest, alone.text)
    assert policy_from_text(beside.text) == alone


def test_two_policies_that_enforce_one_alias_are_refused(folders: Folders) -> None:
    (folders[0] / "p.yaml").write_text(named("prod", "enforce"))
    (folders[0] / "q.yaml").write_text(named("other", "enforce"))
    assert said(folders) == [
        "policies/q.yaml:13: router@prod is already moved by the policy `prod`, "
        "let one of them enforce, and make the other dryRun"
    ]
    (folders[0] / "q.yaml").write_text(named("other", "enforce", alias="dev"))
    assert said(folders) == []


OVERLAPS: list[tuple[str, str, bool]] = [
    ("", "", True),
    ("labels: {team: a}", "labels: {team: b}", False),
    ("labels: {team: a}", "labels: {line: b}", True),
    ("labels: {team: a}", "", True),
    ("baseModels: [x]", "baseModels: [y]", False),
    ("baseModels: [x, y]", "baseModels: [y]", True),
    ("baseModels: [x]", "", True),
    ("names: [a]", "names: [b]", False),
    ("names: [a, b]", "names: [b]", True),
    ("names: [a]", "", True),
    ("names: [ab]", 'names: ["a*"]', True),
    ('names: ["a*"]', "names: [ab]", True),
    ("names: [bb]", 'names: ["a*"]', False),
    ('names: ["a*"]', 'names: ["*b"]', True),
    ('names: ["a*"]', 'names: ["b*"]', False),
    ('names: ["*a"]', 'names: ["*b"]', False),
    ('names: ["*ab"]', 'names: ["*xb"]', False),
    ('names: ["a[bc]"]', 'names: ["a[cd]"]', True),
    ('names: ["[ab]c"]', 'names: ["[ab]d"]', False),
]


@pytest.mark.parametrize(("ours", "theirs", "overlap"), OVERLAPS)
def test_two_policies_that_may_set_one_models_default_are_refused(
    folders: Folders, ours: str, theirs: str, overlap: bool
) -> None:
    for name, select in (("p", ours), ("q", theirs)):
        text = named(name, "enforce", "  apply: [vertexDefault]\n", alias=name)
        (folders[0] / f"{name}.yaml").write_text(text.replace("[openai, vertex]}", f"[vertex], {select}}}"))
    expected = (
        "policies/q.yaml:14: the policy `p` may select the same jobs, and sets the same model's default, "
        "let one of them apply it, or select by different labels"
    )
    assert said(folders) == ([expected] if overlap else [])
    # One that is not in force sets nothing.
    (folders[0] / "q.yaml").write_text((folders[0] / "q.yaml").read_text().replace("enforce", "dryRun"))
    assert said(folders) == []


def test_one_policy_can_be_loaded_beside_the_suites_whatever_others_there_are(folders: Folders) -> None:
    other = Path("other.yaml")
    other.write_text(named("other", "enforce"))
    (folders[0] / "q.yaml").write_text("{")
    rules = load_policy(other, folders[1])
    assert [(policy.name, policy.alias, policy.mode) for policy in rules.policies] == [
        ("other", AliasKey("router", "prod"), Mode.ENFORCE)
    ]
    assert sorted(rules.suites) == ["core"]
    with pytest.raises(RuleErrors, match=r"absent\.yaml:1: the file cannot be read"):
        load_policy(Path("absent.yaml"), folders[1])


# As an earlier release wrote it: fewer keys, and the short form of `choose`.
KEPT = """{"kind":"PromotionPolicy","metadata":{"name":"prod"},"spec":{"alias":"prod","apply":[],\
"baseline":{"use":"current","whenMissing":"allow"},"choose":[{"better":"lower","metric":"step","tie":0.0}],\
"evidence":{"suites":[{"maxAge":null,"minCases":1,"suite":"core"}]},\
"gates":[{"id":"quality","metric":"suites.core.pass_rate","pass":[">= 0.9"]}],"line":"router","mode":"dryRun",\
"select":{"baseModels":[],"labels":{},"providers":["openai","vertex"]},\
"settle":{"maxWait":"24h","until":"jobTerminal"}},\
"suiteDigests":{"core":"d2f07fdd93ca68b6d0879306c22f36b876bdc3d3d57b1b663d4287e3d76e902d"}}"""


def test_what_an_earlier_release_kept_is_read_under_the_digest_that_it_was_kept_by(folders: Folders) -> None:
    (policy,) = load_rules(*folders).policies
    kept = policy_from_text(KEPT)
    assert (kept.text, kept.digest) == (KEPT, sha256(KEPT.encode()).hexdigest())
    assert replace(kept, text=policy.text, digest=policy.digest) == policy


# The metrics that a policy may name, and those that are measured.

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
JOB = JobKey(Provider.OPENAI, "proj_a1", "-", "ftjob-1")
CHECKPOINT = Checkpoint(
    key=CheckpointKey(JOB, "1"),
    job=JOB,
    base_model="gpt-4.1-mini",
    name="",
    labels={},
    datasets={},
    job_created_at=NOW,
    recorded_at=NOW,
    state=CheckpointState.READY,
    step=100,
    epoch=1,
)


def run(suite: str, failed: tuple[str, ...]) -> SmokeRun:
    summary = Summary(
        total=2, passed=1, errors=0, cases=2, repeats=1, error_cases=0, score=0.5, latency_p50_ms=1, latency_p95_ms=2,
        tokens_in=1, tokens_out=1, failed=failed, tags={"a": ("one",)}, metrics={"tone": 0.5}, usd=0.5,
    )  # fmt: skip
    return SmokeRun(
        key="0" * 64, checkpoint=CHECKPOINT.key, job=CHECKPOINT.job, suite=suite, suite_digest="d",
        purpose=Purpose.GATE, occasion="-", attempt=1, lease=Lease("w", 1, NOW), started_at=NOW,
        outcome=RunOutcome.PASS, last=True, summary=summary, finished_at=NOW,
    )  # fmt: skip


def test_a_policy_may_name_exactly_what_is_measured() -> None:
    runs = {"core": run("core", ("one",))}
    told = {name: Measure(0.5, "checkpoint") for name in (*LOSSES, "evaluation.rouge_l")}
    other = replace(CHECKPOINT, key=CheckpointKey(JOB, "2"), step=200, metrics=told)
    seen = [
        observe(checkpoint, runs, {}, against={"core": run("core", ())}, shutdown_at=NOW)
        for checkpoint in (replace(CHECKPOINT, metrics=told), other)
    ]
    measured = set(with_neighbours(seen)[1].measures) | {DAYS_TO_SHUTDOWN}
    assert not isinstance(measure(seen[0], DAYS_TO_SHUTDOWN, NOW), str)
    own = frozenset({"tone"})
    named_ = {*OF_CHECKPOINTS, *of_suite("core", frozenset({"a"}), own), "evaluation.rouge_l"}
    assert measured == named_
    assert all(Metric.parse(name).exists for name in measured)


def test_a_rate_that_can_be_asked_for_with_confidence_has_its_count() -> None:
    candidate = observe(CHECKPOINT, {"core": run("core", ("one",))}, {}, against={"core": run("core", ())})
    counted = {name for name, found in candidate.measures.items() if found.count is not None}
    assert counted == {name for name in candidate.measures if Metric.parse(name).counted}
    assert {name for name in of_suite("core", frozenset({"a"})) if Metric.parse(name).paired} == {
        name for name in candidate.measures if name.endswith(("regressions", "improvements"))
    }


@pytest.mark.parametrize("name", ["suites.core", "suites..score", "suites.core.tags.a", "suites.core.tags.a.b.score",
                                  "suites.core.metrics.a b", "suites.core.metrics", "suites.core.metrics.",
                                  "suites.core.tags.a.tokens", "evaluation.", "evaluation", "losses", ""])  # fmt: skip
def test_what_nobody_measures_is_no_metric(name: str) -> None:
    assert not Metric.parse(name).exists


# What a file may hold.


def test_aliases_cannot_blow_a_small_file_up() -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    for n in range(1, 9):
        bomb += f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n"
    with pytest.raises(BadYaml, match="too many values"):
        parse(bomb, "f")


def test_a_value_that_holds_itself_is_refused() -> None:
    with pytest.raises(BadYaml, match="nested too deep"):
        parse("a: &a [*a]", "f")


@settings(max_examples=deep(40, 500), deadline=None)
@given(
    word=st.text(st.characters(codec="utf-8", exclude_characters="{}[]"), max_size=20),
    value=st.text(st.characters(codec="utf-8", exclude_characters="{}"), min_size=1, max_size=20),
    label=st.text(st.characters(codec="utf-8"), max_size=20),
)
def test_a_text_builds_an_equal_value_again(
    tmp_path_factory: pytest.TempPathFactory, word: str, value: str, label: str
) -> None:
    policy, suite = yaml.safe_load(POLICY), yaml.safe_load(FULL_SUITE)
    policy["spec"]["select"]["labels"] = {"a": label}
    suite["spec"]["tests"][0]["vars"]["word"] = f"w{word}"
    suite["spec"]["tests"][0]["assert"][0]["value"] = f"v{value}"
    rules = rules_of(policy, suite, tmp_path_factory.mktemp("rules"))
    assert policy_from_text(rules.policies[0].text) == rules.policies[0]
    assert suite_from_text(rules.suites["core"].text) == rules.suites["core"]
    assert rules.suite_by_digest(rules.policies[0].evidence[0].suite_digest) == rules.suites["core"]


SNIPPETS = st.sampled_from(
    [
        *POLICY.split("\n"),
        *SUITE.split("\n"),
        "  ",
        "- ",
        "? ",
        ": ",
        "&a ",
        "*a",
        "!!set",
        "{",
        "]",
        "\\",
        '"',
        "\t",
        "%",
    ]
)


@settings(max_examples=deep(100, 2000), deadline=None)
@given(raw=st.binary(max_size=80) | st.lists(SNIPPETS | st.text(max_size=5), max_size=12).map("\n".join).map(
    lambda text: text.encode("utf-8", "surrogatepass")
))  # fmt: skip
def test_whatever_a_file_holds_the_loader_raises_only_rule_errors(
    tmp_path_factory: pytest.TempPathFactory, raw: bytes
) -> None:
    folders = make(tmp_path_factory.mktemp("rules"), POLICY, SUITE)
    for folder in folders:
        (folder / "x.yaml").write_bytes(raw)
    with pytest.raises(RuleErrors) as caught:
        load_rules(*folders)
    assert all(finding.line >= 1 for finding in caught.value.findings)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
)


@settings(max_examples=deep(100, 2000), deadline=None)
@given(data=st.data(), value=JSON)
def test_any_value_in_any_place_loads_or_is_a_finding(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, value: Any
) -> None:
    sources = [yaml.safe_load(FULL_POLICY), yaml.safe_load(FULL_SUITE)]
    replaced(data.draw(st.sampled_from(sources)), value, data.draw)
    with suppress(RuleErrors):
        rules_of(sources[0], sources[1], tmp_path_factory.mktemp("rules"))


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "1", "{}", '{"kind":"Suite"}', "[" * 100000, '{"kind":"\\ud800"}', '{"kind":NaN}']
)
def test_a_stored_text_that_is_none_of_ours_is_refused(text: str) -> None:
    for read in (policy_from_text, suite_from_text):
        with pytest.raises(RuleErrors):
            read(text)
