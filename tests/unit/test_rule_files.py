"""Policies and suites from files: what is refused, with its line and mend, and what a digest stands for."""

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ratchet.adapters.rule_files import RuleErrors, check, load_rules, policy_from_text, suite_from_text
from ratchet.adapters.yaml_files import BadYaml, parse
from ratchet.domain.keys import AliasKey, Provider
from ratchet.domain.policy import Apply, BaselineUse, Comparison, Mode, Rules, Until, WhenMissing

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

Folders = tuple[Path, Path]


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folders:
    monkeypatch.chdir(tmp_path)
    return make(Path(), POLICY, SUITE)


def make(at: Path, policy: str, suite: str) -> Folders:
    for name, text in (("policies/p.yaml", policy), ("suites/s.yaml", suite)):
        (at / name).parent.mkdir(exist_ok=True)
        (at / name).write_text(text, encoding="utf-8")
    return at / "policies", at / "suites"


def findings(folders: Folders) -> list[str]:
    return [str(finding) for finding in check(*folders)]


def test_the_smallest_policy_and_suite_load_with_their_defaults(folders: Folders) -> None:
    rules = load_rules(*folders)
    (policy,) = rules.policies
    suite = rules.suites["core"]
    assert policy.alias == AliasKey("router", "prod")
    assert (policy.mode, policy.until, policy.max_wait) == (Mode.DRY_RUN, Until.JOB_TERMINAL, timedelta(hours=24))
    assert (policy.baseline, policy.when_missing, policy.apply) == (BaselineUse.CURRENT, WhenMissing.ALLOW, ())
    assert policy.select.providers == frozenset(Provider)
    assert (policy.evidence[0].min_cases, policy.evidence[0].max_age) == (1, None)
    assert policy.evidence[0].suite_digest == suite.digest
    assert policy.gates[0].passes == (Comparison(">=", ">= 0.9", 0.9),)
    assert (suite.repeats, suite.concurrency, suite.max_tokens, suite.temperature) == (1, 4, 256, 0.0)
    assert suite.cases[0].prompt == "Say hi"
    assert findings(folders) == []


def test_the_worked_examples_load_clean_and_change_nothing() -> None:
    shared = Path(__file__).resolve().parents[2] / "shared"
    assert check(shared / "policies", shared / "suites") == []
    rules = load_rules(shared / "policies", shared / "suites")
    assert [policy.mode for policy in rules.policies] == [Mode.DRY_RUN]
    assert [policy.apply for policy in rules.policies] == [(Apply.VERTEX_DEFAULT,)]
    assert len(rules.suites["support-core"].cases) == 12


GATE = '      pass: ">= 0.9"\n'
CHOOSE = "  choose: [{metric: step, better: lower}]\n"
EVIDENCE = "  evidence: {suites: [{suite: core}]}\n"
GATES = POLICY[POLICY.index("  gates:") : POLICY.index("  choose:")]

POLICY_REFUSALS: list[tuple[str, str, str]] = [
    (GATES, "", "3: a policy without gates lets everything pass, add a gate"),
    (GATES, "  gates: []\n", "8: a policy without gates lets everything pass, add a gate"),
    (GATE, "", '9: the gate `quality` has no condition, add pass: ">= 0.95"'),
    (GATE, "      pass: []\n", '11: the gate `quality` has no condition, add pass: ">= 0.95"'),
    (
        "suites.core.pass_rate",
        "suites.core.pas_rate",
        "10: unknown metric `suites.core.pas_rate`, did you mean `suites.core.pass_rate`?",
    ),
    (
        "suites.core.pass_rate",
        "bananas",
        "10: unknown metric `bananas`, use suites.<suite>.pass_rate, a loss, evaluation.<name>, step or epoch",
    ),
    ("metric: step", "metric: stepp", "12: unknown metric `stepp`, did you mean `step`?"),
    (
        "metric: suites.core.pass_rate",
        "metric: suites.cores.pass_rate",
        "10: the suite `cores` is not in evidence.suites, did you mean `core`?",
    ),
    (
        "metric: step",
        "metric: suites.other.cases",
        "12: the suite `other` is not in evidence.suites, add {suite: other} to evidence.suites",
    ),
    (EVIDENCE, "", "9: the suite `core` is not in evidence.suites, add {suite: core} to evidence.suites"),
    ("{suite: core}", "{suite: core, minCases: 2}",
     "7: minCases is 2, and the suite `core` has 1, lower it to 1, or add cases"),
    ("{suite: core}", "{suite: core, minCases: 0}",
     "7: `minCases` does not fit, it should be greater than or equal to 1"),
    ("{suite: core}", "{suite: core}, {suite: core}", "7: the suite `core` is there twice, keep one of them"),
    ("{suite: core}", "{suite: core}, {suite: kore}", "7: unknown suite `kore`, did you mean `core`?"),
    ('">= 0.9"', ">= 0.9", '11: a bare `>` starts a block of text in YAML, quote the comparison: ">= 0.95"'),
    ('">= 0.9"', "> 0.9", '11: a bare `>` starts a block of text in YAML, quote the comparison: ">= 0.95"'),
    ('">= 0.9"', "!= 0", '11: a bare `!=` is a tag to YAML, quote the comparison: "!= 0"'),
    ('">= 0.9"', "0.9", '11: \'0.9\' is not a comparison, say which way, in quotes: ">= 0.95"'),
    ('">= 0.9"', '">= NaN"', "11: '>= NaN' is not a comparison, write a finite number"),
    ('">= 0.9"', '"< -inf"', "11: '< -inf' is not a comparison, write a finite number"),
    ('">= 0.9"', '">= 1e999"', "11: '>= 1e999' is not a comparison, write a finite number"),
    ('">= 0.9"', ".inf", "11: a number is not finite, write a finite number, or quote a text"),
    ('">= 0.9"', '">= 1.01"', "11: '>= 1.01' is out of reach: a rate lies between 0 and 1, write 0.95 for 95 %"),
    ('">= 0.9"', '">= -0.01"', "11: '>= -0.01' is out of reach: a rate lies between 0 and 1, write 0.95 for 95 %"),
    (
        '">= 0.9"',
        '">= baseline - 1.1"',
        "11: '>= baseline - 1.1' is out of reach: a rate lies between 0 and 1, write 0.95 for 95 %",
    ),
    (
        '">= 0.9"',
        '"about 0.9"',
        "11: 'about 0.9' is not a comparison, "
        'write one like ">= 0.95", "<= baseline", ">= baseline - 0.01" or "<= baseline + 2%"',
    ),
    ('">= 0.9"', "{min: 0.9}", '11: `pass` as a mapping is not supported yet, write a comparison, such as ">= 0.95"'),
    (
        '">= 0.9"\n',
        '">= baseline"\n  baseline: {use: none}\n',
        "11: it compares with a baseline, and baseline.use is none, set baseline.use, or give a number",
    ),
    (
        CHOOSE,
        CHOOSE + "  settle: {until: eachCheckpoint}\n  apply: [vertexDefault]\n",
        "14: vertexDefault waits for the job's end, and settle does not, use settle.until: jobTerminal",
    ),
    (
        "[openai, vertex]}",
        "[openai]}\n  apply: [vertexDefault]",
        "7: vertexDefault is for Vertex, which the policy does not select, "
        "add vertex to select.providers, or leave apply out",
    ),
    (
        CHOOSE,
        '    - {id: quality, metric: step, pass: "> 1"}\n' + CHOOSE,
        "12: the id `quality` is there twice, keep one of them",
    ),
    (
        "{metric: step, better: lower}",
        "{metric: step, better: lower}, {metric: step, better: higher}",
        "12: the metric `step` is there twice, keep one of them",
    ),
    (CHOOSE, "", "3: nothing says which checkpoint to choose, add {metric: step, better: lower}"),
    (CHOOSE, "  choose: []\n", "12: nothing says which checkpoint to choose, add {metric: step, better: lower}"),
    ("better: lower", "better: lower, tie: -0.1", "12: `tie` does not fit, it should be greater than or equal to 0"),
    ("better: lower", "better: low", "12: `better` is 'low', did you mean `lower`?"),
    ("  alias: prod\n", "", "3: `alias` is missing, add it"),
    ("  alias: prod\n", "  alias: prod\n  mode: enforced\n", "6: `mode` is 'enforced', did you mean `enforce`?"),
    ("  alias: prod\n", "  alias: prod\n  mod: enforce\n", "6: unknown key `mod`, did you mean `mode`?"),
    ("  alias: prod\n", "  alias: prod\n  alias: other\n", "6: the key `alias` is there twice, keep one of them"),
    (
        "  alias: prod\n",
        "  alias: prod\n  on: push\n",
        "6: the bare key `on` means true or false to many YAML readers, quote it, or rename it",
    ),
    ("alias: prod", "alias: Prod", "5: `alias` is 'Prod', use letters, digits and dashes, lower case for names"),
    ("[openai, vertex]", "[openai, azure]", "6: `providers` is 'azure', use vertex or openai"),
    ("[openai, vertex]", "[]", "6: `providers` has 0 entries, write at least one"),
    ("[openai, vertex]", "[vertex, vertex]", "6: `select` names something twice, keep one of them"),
    ("{suite: core}", "{suite: core, maxAge: 3 days}", "7: '3 days' is not a time span, "
     "write a number and s, m, h or d, such as 24h; at most 365d"),
    ("{suite: core}", "{suite: core, maxAge: 0h}", "7: '0h' is not a time span, "
     "write a number and s, m, h or d, such as 24h; at most 365d"),
    (CHOOSE, CHOOSE + "  settle: {maxWait: 366d}\n", "13: '366d' is not a time span, "
     "write a number and s, m, h or d, such as 24h; at most 365d"),
    (CHOOSE, CHOOSE + "  baseline: {whenMissing: approval}\n",
     "13: `approval` is not supported yet, use allow or block"),
    ("kind: PromotionPolicy", "kind: Policy", "1: `kind` is 'Policy', use PromotionPolicy"),
    (POLICY, "", "1: the file is empty, write a policy or a suite, or remove it"),
    ("  line:", "\tline:", "4: YAML does not indent with tabs, use spaces"),
    (CHOOSE, CHOOSE + "---\nkind: x\n", "13: there is more than one document, use one file for each"),
    ("router", "&a router\n  <<: *a", "5: merge keys (`<<`) are not supported, write the values out"),
    ("line: router", "line: !x router", "4: the tag `!x` is not supported, leave it out"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "expected"), POLICY_REFUSALS)
def test_a_policy_is_refused_with_its_line_and_mend_row60(folders: Folders, old: str, new: str, expected: str) -> None:
    assert old in POLICY
    (folders[0] / "p.yaml").write_text(POLICY.replace(old, new, 1))
    with pytest.raises(RuleErrors) as caught:
        load_rules(*folders)
    assert [str(finding) for finding in caught.value.findings] == [f"policies/p.yaml:{expected}"]


LATER_SPEC = ["approval", "pacing", "windows", "watch", "rollback", "drift", "mustBeatCurrent", "thresholds", "tags"]
LATER: list[tuple[str, str, str]] = [
    *((CHOOSE, f"{CHOOSE}  {key}: {{}}\n", f"13: `{key}`") for key in LATER_SPEC),
    *(
        (GATE, f"{GATE}      {key}: true\n", f"12: `{key}`")
        for key in ("warn", "required", "missing", "comparable", "confidence", "anyOf")
    ),
    (CHOOSE, CHOOSE + "  baseline: {rerun: ifStale}\n", "13: `rerun`"),
    (CHOOSE, CHOOSE + "  settle: {quiet: 10m}\n", "13: `quiet`"),
    (EVIDENCE, "  evidence: {metrics: [x], suites: [{suite: core}]}\n", "7: `metrics`"),
    ("{suite: core}", "{suite: core, minRepeats: 3}", "7: `minRepeats`"),
]


@pytest.mark.parametrize(("old", "new", "expected"), LATER)
def test_a_key_that_is_not_built_yet_is_refused(folders: Folders, old: str, new: str, expected: str) -> None:
    (folders[0] / "p.yaml").write_text(POLICY.replace(old, new, 1))
    assert findings(folders) == [f"policies/p.yaml:{expected} is not supported yet, leave it out"]


ASSERT = "{type: contains, value: hi}"
TESTS = SUITE[SUITE.index("  tests:") :]
SUITE_REFUSALS: list[tuple[str, str, str]] = [
    (TESTS, "", "3: an empty suite is not evidence, add a test"),
    (TESTS, "  tests: []\n", "5: an empty suite is not evidence, add a test"),
    (f"[{ASSERT}]", "[]", "6: a case without assertions is not evidence, add an assert"),
    ("{word: hi}", "{}", "6: an undefined variable: 'word' is undefined, add it to vars"),
    ("value: hi", 'value: "{{wrod}}"', "8: an undefined variable: 'wrod' is undefined, add it to vars"),
    ("{{word}}", "{{range}}{{word}}", "6: an undefined variable: 'range' is undefined, add it to vars"),
    ("{{word}}", "{{word|upper}}", "6: the template is not supported yet: filter, use {{name}} or {{name.part}} only"),
    ("{{word}}", "{% for a in word %}{% endfor %}",
     "6: the template is not supported yet: for, use {{name}} or {{name.part}} only"),
    ("{{word}}", "{{word", "6: the template does not parse, mend it, or close the braces"),
    ('["Say {{word}}"]', '["a", "b"]', "4: `prompts` has 2 entries, write exactly one prompt"),
    ('["Say {{word}}"]', "[]", "4: `prompts` has 0 entries, write exactly one prompt"),
    ('  prompts: ["Say {{word}}"]\n', "", "3: `prompts` is missing, add it"),
    ("Say {{word}}", "file://prompt.txt",
     "4: a prompt from a file or as JSON messages is not supported yet, write the text"),
    ("{word: hi}", "{word: [a, b]}", "7: the list `word` makes several cases, not supported yet, write each as a test"),
    ("{word: hi}", "{word: {a: 1}}",
     "6: the template is not supported yet: a mapping or a list in a text, use {{name}} or {{name.part}} only"),
    ("{word: hi}", "{word: file://x.txt}", "7: reading a file is not supported yet, write the text here"),
    ("{word: hi}", '{word: "{{x}}"}', "7: a template inside a variable is not supported yet, write the text out"),
    ("type: contains", "type: javascript",
     "8: `javascript` is refused: user code does not run in the control plane, use contains or regex"),
    ("type: contains", "type: not-python",
     "8: `not-python` is refused: user code does not run in the control plane, use contains or regex"),
    ("type: contains", "type: webhook",
     "8: `webhook` is refused: user code does not run in the control plane, use contains or regex"),
    ("type: contains", "type: llm-rubric", "8: the assertion `llm-rubric` is not supported yet, leave it out"),
    ("type: contains", "type: contians", "8: unknown assertion `contians`, did you mean `contains`?"),
    (ASSERT, "{type: is-json, value: {type: object}}",
     "8: a JSON Schema for is-json is not supported yet, leave the value out"),
    (ASSERT, "{type: latency}", "8: latency has no threshold above 0, add threshold: 5000, in milliseconds"),
    (ASSERT, "{type: latency, threshold: 0}",
     "8: latency has no threshold above 0, add threshold: 5000, in milliseconds"),
    (ASSERT, "{type: contains}", "8: contains has no value, add a value"),
    (ASSERT, '{type: contains, value: ""}', "8: contains needs a text or a number, write one that is not empty"),
    (ASSERT, "{type: contains, value: hi, threshold: 0.5}",
     "8: a threshold for contains is not supported yet, leave it out"),
    (ASSERT, "{type: contains, value: hi, weight: 2}", "8: `weight` is not supported yet, leave it out"),
    (ASSERT, '{type: regex, value: "(a+)+b"}',
     "8: the regex is refused: it may run too long: nested or repeated quantifiers, bound them, such as {1,20}"),
    (ASSERT, "{type: regex, value: 3}", "8: regex needs a text, write a pattern, in quotes"),
    (ASSERT, "{type: contains, value: file://x}", "8: reading a file is not supported yet, write the value here"),
    ("      vars:", "      threshold: 0.5\n      vars:", "7: `threshold` is not supported yet, leave it out"),
    ("      vars:", "      tags: [x]\n      vars:", "7: `tags` is not supported yet, leave it out"),
    ("  tests:", "  import: [x]\n  tests:", "5: `import` is not supported yet, leave it out"),
    ("  tests:", "  run: {budget: {usd: 1}}\n  tests:", "5: `budget` is not supported yet, leave it out"),
    ("  tests:", "  run: {repeats: 0}\n  tests:", "5: `repeats` does not fit, it should be greater than or equal to 1"),
    ("  tests:", "  run: {repeats: 21}\n  tests:", "5: `repeats` does not fit, it should be less than or equal to 20"),
    ("  tests:", "  run: {temperature: 2.1}\n  tests:",
     "5: `temperature` does not fit, it should be less than or equal to 2"),
    ("  tests:", "  runs: {}\n  tests:", "5: unknown key `runs`, did you mean `run`?"),
    ("id: one", "id: a/b", "6: the id 'a/b' does not fit, use at most 64 letters, digits, . _ -"),
    (TESTS, TESTS + TESTS.removeprefix("  tests:\n"), "9: the id `one` is there twice, give each test its own id"),
    ("{word: hi}", "{word: why?}", "7: a bare `?` in a `{…}` or `[…]` is no text in YAML, quote the text"),
    ("{word: hi}", "{word: 9007199254740993}", "7: a whole number is larger than 2^53, quote it if it is a text"),
    ("{word: hi}", '{word: "\\ud800"}', "7: a text holds half a character, remove the \\ud800-\\udfff escape"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "expected"), SUITE_REFUSALS)
def test_a_suite_is_refused_with_its_line_and_mend_row60(folders: Folders, old: str, new: str, expected: str) -> None:
    assert old in SUITE
    (folders[1] / "s.yaml").write_text(SUITE.replace(old, new, 1))
    with pytest.raises(RuleErrors) as caught:
        load_rules(*folders)
    assert [str(finding) for finding in caught.value.findings] == [f"suites/s.yaml:{expected}"]


ALLOWED = [
    (POLICY, '">= 0.9"', '">= 1"'),
    (POLICY, '">= 0.9"', '">= 0"'),
    (POLICY, '">= 0.9"', '[">=0.9", ">= baseline - 1", "<= baseline + 2%", "== baseline"]'),
    (POLICY, "{suite: core}", "{suite: core, minCases: 1, maxAge: 1s}"),
    (POLICY, CHOOSE, CHOOSE + "  settle: {maxWait: 365d}\n"),
    (POLICY, "metric: step", "metric: evaluation.rouge_l"),
    (POLICY, "better: lower", "better: lower, tie: 0"),
    (SUITE, "  tests:", "  run: {repeats: 20, concurrency: 64, maxTokens: 8192, temperature: 2}\n  tests:"),
    (SUITE, "{word: hi}", "{word: 9007199254740992}"),
    (SUITE, ASSERT, "{type: not-latency, threshold: 0.1}"),
    (SUITE, ASSERT, '{type: equals, value: ""}'),
    (SUITE, "Say {{word}}", "Say {{w.a}}"),
]


@pytest.mark.parametrize(("source", "old", "new"), ALLOWED)
def test_the_last_allowed_value_loads(folders: Folders, source: str, old: str, new: str) -> None:
    edited = source.replace(old, new, 1).replace("{word: hi}", "{word: hi, w: {a: 1}}")
    make(Path(), *((edited, SUITE) if source is POLICY else (POLICY, edited)))
    rules = load_rules(*folders)
    assert policy_from_text(rules.policies[0].text) == rules.policies[0]
    assert suite_from_text(rules.suites["core"].text) == rules.suites["core"]


@pytest.mark.parametrize(
    ("text", "comparison"),
    [
        ("<0.5", Comparison("<", "<0.5", 0.5)),
        ("== .5", Comparison("==", "== .5", 0.5)),
        ("!= 1e-3", Comparison("!=", "!= 1e-3", 0.001)),
        ("<= baseline", Comparison("<=", "<= baseline")),
        (">=  baseline -0.01", Comparison(">=", ">= baseline -0.01", None, -0.01)),
        ("> baseline+2 %", Comparison(">", "> baseline+2 %", None, 2.0, True)),
    ],
)
def test_a_comparison_is_read_as_written(folders: Folders, text: str, comparison: Comparison) -> None:
    (folders[0] / "p.yaml").write_text(POLICY.replace(">= 0.9", text))
    assert load_rules(*folders).policies[0].gates[0].passes == (comparison,)


def test_two_policies_on_one_alias_are_refused(folders: Folders) -> None:
    (folders[0] / "q.yaml").write_text(POLICY.replace("name: prod", "name: other"))
    assert findings(folders) == [
        "policies/q.yaml:5: router@prod already has the policy `prod`, keep one policy for each alias"
    ]


def test_two_policies_or_suites_of_one_name_are_refused(folders: Folders) -> None:
    (folders[0] / "q.yaml").write_text(POLICY.replace("alias: prod", "alias: dev"))
    (folders[1] / "t.yml").write_text(SUITE)
    assert findings(folders) == [
        "policies/q.yaml:2: another policy is named `prod`, rename one of them",
        "suites/t.yml:2: another suite is named `core`, rename one of them",
    ]


def test_a_missing_folder_is_named(folders: Folders) -> None:
    expected = ["nowhere:1: there is no such folder, create it, or mend the settings"]
    assert [str(finding) for finding in check(Path("nowhere"), folders[1])] == expected


def test_a_metric_that_a_provider_never_reports_is_a_warning_and_loads(folders: Folders) -> None:
    (folders[0] / "p.yaml").write_text(POLICY.replace("metric: step", "metric: valid_loss"))
    (finding,) = check(*folders)
    assert finding.severity == "warning"
    assert str(finding) == (
        "policies/p.yaml:12: vertex never reports `valid_loss`: its checkpoints would be inconclusive, "
        "use a suite's metric, or select other providers"
    )
    assert load_rules(*folders).policies
    (folders[0] / "p.yaml").write_text(POLICY.replace("metric: step", "metric: valid_loss").replace(", vertex", ""))
    assert findings(folders) == []


def test_a_case_takes_its_id_from_its_description_or_its_place(folders: Folders) -> None:
    tests = "  tests:\n    - {description: Refund, twice!, vars: {word: a}, assert: [{type: is-json}]}\n"
    tests = tests.replace("Refund, twice!", '"Refund, twice!"')
    tests += "    - {vars: {word: b}, assert: [{type: is-json}]}\n"
    (folders[1] / "s.yaml").write_text(SUITE.replace(TESTS, tests))
    assert [case.id for case in load_rules(*folders).suites["core"].cases] == ["refund-twice", "case-2"]


def test_default_vars_and_asserts_join_those_of_the_case(folders: Folders) -> None:
    default = "  defaultTest: {vars: {word: x, n: 1.0}, assert: [{type: equals, value: '{{n}} {{word}}'}]}\n  tests:"
    (folders[1] / "s.yaml").write_text(SUITE.replace("  tests:", default))
    (case,) = load_rules(*folders).suites["core"].cases
    assert [item.value for item in case.asserts] == ["1 hi", "hi"]


def test_words_and_times_keep_the_meaning_they_have_in_promptfoo() -> None:
    data = parse("{a: yes, b: off, c: 12:30, d: 010, e: 2026-01-01, f: true, g: ~, h: 0x1f}", "f").data
    assert data == {
        "a": "yes", "b": "off", "c": "12:30", "d": 10, "e": "2026-01-01", "f": True, "g": None, "h": 31,
    }  # fmt: skip


def test_aliases_cannot_blow_a_small_file_up() -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    for n in range(1, 9):
        bomb += f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n"
    with pytest.raises(BadYaml, match="too many values"):
        parse(bomb, "f")


def test_a_value_that_holds_itself_is_refused() -> None:
    with pytest.raises(BadYaml, match="nested too deep"):
        parse("a: &a [*a]", "f")


def rules_of(policy: Any, suite: Any, at: Path) -> Rules:
    text = policy if isinstance(policy, str) else yaml.safe_dump(policy, sort_keys=False)
    other = suite if isinstance(suite, str) else yaml.safe_dump(suite, sort_keys=False)
    return load_rules(*make(at, text, other))


FULL_POLICY = """\
kind: PromotionPolicy
metadata: {name: prod}
spec:
  line: router
  alias: prod
  mode: enforce
  select: {providers: [vertex], labels: {team: a}, baseModels: [gemini]}
  settle: {until: jobTerminal, maxWait: 2h}
  evidence: {suites: [{suite: core, minCases: 2, maxAge: 3h}]}
  baseline: {use: lastGood, whenMissing: block}
  gates:
    - {id: quality, metric: suites.core.pass_rate, pass: [">= 0.9", ">= baseline"]}
    - {id: alive, metric: suites.core.error_rate, pass: ["<= 0.1"]}
  choose: [{metric: suites.core.pass_rate, better: higher, tie: 0.5}, {metric: step, better: lower, tie: 0.5}]
  apply: [vertexDefault]
"""
FULL_SUITE = """\
kind: Suite
metadata: {name: core}
spec:
  prompts: ["Say {{word}}"]
  run: {repeats: 2, concurrency: 3, maxTokens: 64, temperature: 0.5}
  defaultTest: {vars: {other: x}, assert: [{type: latency, threshold: 500}]}
  tests:
    - {id: one, description: first, vars: {word: hi}, assert: [{type: contains, value: hi}]}
    - {id: two, vars: {word: ho}, assert: [{type: not-equals, value: {a: 1}}]}
"""


def shuffled(value: Any, draw: Callable[[st.SearchStrategy[Any]], Any]) -> Any:
    if isinstance(value, dict):
        return {key: shuffled(value[key], draw) for key in draw(st.permutations(list(value)))}
    return [shuffled(item, draw) for item in value] if isinstance(value, list) else value


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_change_of_layout_keeps_every_digest(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    at = tmp_path_factory.mktemp("rules")
    before = rules_of(FULL_POLICY, FULL_SUITE, at)
    texts = [
        "# a comment\n"
        + yaml.safe_dump(
            shuffled(yaml.safe_load(source), data.draw),
            sort_keys=False,
            default_flow_style=data.draw(st.booleans()),
            indent=data.draw(st.integers(2, 8)),
            width=data.draw(st.integers(20, 200)),
        )
        for source in (FULL_POLICY, FULL_SUITE)
    ]
    assert rules_of(texts[0], texts[1], at) == before


def test_an_explicit_default_another_unit_and_another_order_of_a_set_keep_the_digest(folders: Folders) -> None:
    before = load_rules(*folders)
    text = POLICY.replace("[openai, vertex]", "[vertex, openai]").replace('">= 0.9"', '[">=  0.9"]')
    text += "  mode: dryRun\n  settle: {maxWait: 1440m}\n  apply: []\n"
    (folders[0] / "p.yaml").write_text(text)
    assert load_rules(*folders) == before


CHANGES: list[tuple[str, str]] = [
    ("name: prod", "name: prod2"), ("line: router", "line: r2"), ("alias: prod", "alias: dev"),
    ("enforce", "dryRun"), ("enforce", "disabled"), ("[vertex]", "[vertex, openai]"), ("team: a", "team: b"),
    ("team: a", "group: a"), ("[gemini]", "[gemini-2]"), ("[gemini]", "[]"), ("maxWait: 2h", "maxWait: 3h"),
    ("minCases: 2", "minCases: 1"), ("maxAge: 3h", "maxAge: 4h"), (", maxAge: 3h", ""), ("lastGood", "current"),
    ("block", "allow"), ("id: quality", "id: q2"), (">= 0.9", ">= 0.91"), (">= 0.9", "> 0.9"),
    ('">= 0.9", ', ""), ("error_rate", "pass_rate"), ("better: higher", "better: lower"), ("tie: 0.5", "tie: 0.25"),
    ("apply: [vertexDefault]", "apply: []"), (", {metric: step, better: lower, tie: 0.5}", ""),
]  # fmt: skip
SUITE_CHANGES: list[tuple[str, str]] = [
    ("Say", "Sing"), ("repeats: 2", "repeats: 3"), ("concurrency: 3", "concurrency: 4"), ("64", "65"),
    ("0.5", "0.25"), ("other: x", "other: y"), ("500", "501"), ("id: one", "id: uno"), ("first", "second"),
    ("word: hi", "word: he"), ("type: contains", "type: icontains"), ("value: hi", "value: he"),
    ("not-equals", "equals"), ("{a: 1}}]", "{a: 2}}]"), ("{a: 1}}]", "{a: true}}]"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new"), CHANGES)
def test_a_change_of_a_policys_value_changes_its_digest(tmp_path: Path, old: str, new: str) -> None:
    before = rules_of(FULL_POLICY, FULL_SUITE, tmp_path)
    assert old in FULL_POLICY
    after = rules_of(FULL_POLICY.replace(old, new, 1), FULL_SUITE, tmp_path)
    assert after.policies[0].digest != before.policies[0].digest
    assert after.digest != before.digest
    assert after.suites == before.suites
    assert policy_from_text(after.policies[0].text) == after.policies[0]


@pytest.mark.parametrize(("old", "new"), SUITE_CHANGES)
def test_a_change_of_a_suites_value_changes_its_digest_and_its_policys(tmp_path: Path, old: str, new: str) -> None:
    before = rules_of(FULL_POLICY, FULL_SUITE, tmp_path)
    assert old in FULL_SUITE
    after = rules_of(FULL_POLICY, FULL_SUITE.replace(old, new, 1), tmp_path)
    assert after.suites["core"].digest != before.suites["core"].digest
    assert after.policies[0].digest != before.policies[0].digest
    assert after.digest != before.digest
    assert suite_from_text(after.suites["core"].text) == after.suites["core"]


@settings(max_examples=60, deadline=None)
@given(
    word=st.text(st.characters(codec="utf-8", exclude_characters="{}[]"), max_size=20),
    value=st.text(st.characters(codec="utf-8", exclude_characters="{}"), min_size=1, max_size=20),
    tie=st.floats(0, 10),
    bound=st.floats(0, 1),
)
def test_a_text_builds_an_equal_value_again(
    tmp_path_factory: pytest.TempPathFactory, word: str, value: str, tie: float, bound: float
) -> None:
    policy, suite = yaml.safe_load(FULL_POLICY), yaml.safe_load(FULL_SUITE)
    policy["spec"]["choose"][0]["tie"] = tie
    policy["spec"]["gates"][0]["pass"] = f">= {bound!r}"
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


@settings(max_examples=150, deadline=None)
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


@settings(max_examples=150, deadline=None)
@given(data=st.data(), value=JSON)
def test_any_value_in_any_place_loads_or_is_a_finding(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, value: Any
) -> None:
    sources = [yaml.safe_load(FULL_POLICY), yaml.safe_load(FULL_SUITE)]
    place: Any = data.draw(st.sampled_from(sources))
    while True:
        key = data.draw(st.sampled_from(list(place) if isinstance(place, dict) else range(len(place))))
        if not isinstance(place[key], dict | list) or not place[key] or data.draw(st.booleans()):
            break
        place = place[key]
    place[key] = value
    with suppress(RuleErrors):
        rules_of(sources[0], sources[1], tmp_path_factory.mktemp("rules"))


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "1", "{}", '{"kind":"Suite"}', "[" * 100000, '{"kind":"\\ud800"}', '{"kind":NaN}']
)
def test_a_stored_text_that_is_none_of_ours_is_refused(text: str) -> None:
    for read in (policy_from_text, suite_from_text):
        with pytest.raises(RuleErrors):
            read(text)
