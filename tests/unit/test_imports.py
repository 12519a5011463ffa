"""Cases that people already have: what is taken over, what is lost, and that nothing of it is lost in silence."""

import json
from pathlib import Path
from typing import Any

import pytest

from ratchet.adapters.rule_files import RuleErrors, check, load_rules, suite_from_text
from ratchet.adapters.rules.foreign import compact
from ratchet.domain.suite import Suite, Tool
from support.rules import POLICY, Folders, make

SUITE = """\
kind: Suite
metadata: {name: core}
spec:
  import:
    - FILE
"""

PROMPTFOO = """\
description: what we ask
prompts: ["You are Acme. {{q}}"]
providers: [openai:gpt-4.1]
defaultTest:
  assert: [{type: not-is-refusal}, {type: llm-rubric, value: is kind}]
assertionTemplates:
  short: {type: word-count, value: {max: 60}}
tests:
  - description: Refund
    vars: {q: "Where is my refund?"}
    options: {provider: openai:gpt-4.1}
    metadata: {owner: ana, tags: [critical]}
    assert:
      - {type: icontains, value: refund, threshold: 0.4, provider: x}
      - {$ref: "#/assertionTemplates/short"}
      - {type: javascript, value: "output.length < 9"}
      - {type: assert-set, threshold: 0.5, assert: [{type: contains, value: a}, {type: similar, value: b}]}
  - vars: {q: [one, two], lang: [de, en]}
    assert: [{type: contains, value: "{{lang}}"}, {type: regex, value: "(?=x)"}]
  - vars: {q: file://long.txt}
    assert: [{type: contains, value: x}]
  - vars: {q: nothing asked}
"""


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folders:
    monkeypatch.chdir(tmp_path)
    return make(Path(), POLICY, SUITE)


def given(folders: Folders, entry: str, **files: str) -> None:
    (folders[1] / "s.yaml").write_text(SUITE.replace("FILE", entry))
    (folders[1] / "evals").mkdir(exist_ok=True)
    for name, text in files.items():
        (folders[1] / "evals" / name.replace("_", ".")).write_text(text, encoding="utf-8")


def loaded(folders: Folders) -> Suite:
    suite = load_rules(*folders).suites["core"]
    # The text is all that a replay has: no file is read for it.
    assert suite_from_text(suite.text) == suite
    return suite


def notes(folders: Folders) -> list[str]:
    return [str(finding) for finding in check(*folders) if finding.severity == "note"]


def asserted(suite: Suite) -> list[list[tuple[str, Any]]]:
    return [[(item.type, item.value) for item in case.asserts] for case in suite.cases]


def test_what_is_kept_and_could_never_fail_is_told_of(folders: Folders) -> None:
    given(folders, "{tests: evals/t.csv}", t_csv="q,__expected\nHi,icontains:hello\nHo,fn:x\nHa,\n")
    (folders[1] / "s.yaml").write_text((folders[1] / "s.yaml").read_text() + '  prompts: ["{{q}}"]\n')
    assert [case.judged for case in loaded(folders).cases] == [True, False, False]
    kept = "3 cases, 2 of them without assertions, 1 icontains"
    assert notes(folders) == [f"suites/s.yaml:5: evals/t.csv: kept {kept}, lost javascript"]


CALLER = """\
prompts: ["{{q}}"]
providers:
  - id: openai:chat:gpt-4.1
    config: {tools: [TOOLS]}
  - id: openai:chat:gpt-4.1-mini
    config: {temperature: 0, tools: [TOOLS]}
tests: [{vars: {q: "Book a seat."}, assert: [{type: is-valid-openai-tools-call}]}]
"""
TOOL = "{type: function, function: {name: book, strict: true, parameters: {type: object}}}"


def test_tools_that_all_providers_offer_are_taken_over(folders: Folders) -> None:
    given(folders, "{promptfoo: evals/pf.yaml}", pf_yaml=CALLER.replace("TOOLS", TOOL))
    suite = loaded(folders)
    assert suite.request.tools == (Tool(name="book", description="", parameters={"type": "object"}),)
    assert asserted(suite) == [[("is-valid-openai-tools-call", {"book": {"type": "object"}})]]
    (note,) = notes(folders)
    assert note.endswith("kept 1 case, 1 is-valid-openai-tools-call, lost `providers`, `strict` of a tool")


@pytest.mark.parametrize(
    "tools",
    [
        "file://tools.yaml",
        "{functionDeclarations: [{name: book}]}",
        "7",
        TOOL.replace("parameters", "schema"),
        TOOL.replace("book", "book it"),
        TOOL.replace("object", "thing"),
    ],
)
def test_tools_in_another_form_are_lost_and_what_judges_them_says_where_to_write_them(
    folders: Folders, tools: str
) -> None:
    given(folders, "{promptfoo: evals/pf.yaml}", pf_yaml=CALLER.replace("TOOLS", tools))
    with pytest.raises(RuleErrors, match=r"needs the tools that the model may call, write them under request\.tools"):
        load_rules(*folders)
    assert "`tools` of a provider" in notes(folders)[0]


def test_tools_of_the_suites_own_stand_above_those_of_a_file_and_those_of_two_minds_are_nobodys(
    folders: Folders,
) -> None:
    two = CALLER.replace("TOOLS", TOOL, 1).replace("TOOLS", TOOL.replace("book", "look"))
    given(
        folders,
        "{promptfoo: evals/pf.yaml}\n  request: {tools: [OWN]}".replace("OWN", TOOL.replace("strict: true, ", "")),
        pf_yaml=two,
    )
    assert [tool.name for tool in loaded(folders).request.tools] == ["book"]
    assert "`tools` of a provider" in notes(folders)[0]


def test_a_configuration_of_promptfoo_is_taken_over_and_its_note_says_what_was_lost(folders: Folders) -> None:
    given(folders, "{promptfoo: evals/pf.yaml}", pf_yaml=PROMPTFOO)
    suite = loaded(folders)
    assert [case.prompt for case in suite.cases] == [
        "You are Acme. Where is my refund?",
        *(f"You are Acme. {q}" for q in ("one", "one", "two", "two")),
        "You are Acme. nothing asked",
    ]
    assert [case.id for case in suite.cases] == ["refund", *(f"case-{n}" for n in range(2, 7))]
    assert suite.cases[0].tags == ("critical",)
    assert asserted(suite)[0] == [
        ("is-refusal", None), ("icontains", "refund"), ("word-count", {"max": 60}), ("assert-set", None),
    ]  # fmt: skip
    assert [(item.type, item.value) for item in suite.cases[0].asserts[3].of] == [("contains", "a")]
    assert asserted(suite)[2] == [("is-refusal", None), ("contains", "en")]
    assert notes(folders) == [
        "suites/s.yaml:5: evals/pf.yaml: kept 6 cases, 1 assert-set, 5 contains, 1 icontains, 1 not-is-refusal, "
        "1 word-count, lost `options` of a test, `providers`, "
        "a case that reads a file, javascript, llm-rubric, 4 regex: regex has a pattern that is refused: "
        "it looks around, and RE2 cannot, similar"
    ]


def test_a_variable_that_the_loader_would_refuse_loses_its_case_and_not_the_file(folders: Folders) -> None:
    tests = 'q,__expected\nHi,icontains:hello\n"{{x}}",contains:a\n'
    given(folders, "{tests: evals/t.csv}", t_csv=tests)
    (folders[1] / "s.yaml").write_text((folders[1] / "s.yaml").read_text() + '  prompts: ["{{q}}"]\n')
    assert [case.prompt for case in loaded(folders).cases] == ["Hi"]
    assert notes(folders) == [
        "suites/s.yaml:5: evals/t.csv: kept 1 case, 1 icontains, "
        "lost a case: a template inside a variable is not supported yet"
    ]


def test_a_prompt_and_defaults_of_the_suite_itself_win(folders: Folders) -> None:
    given(folders, "{promptfoo: evals/pf.yaml}", pf_yaml=PROMPTFOO)
    own = '  prompts: ["{{q}}"]\n  defaultTest: {assert: [{type: is-json}]}\n'
    path = folders[1] / "s.yaml"
    path.write_text(path.read_text() + own)
    suite = loaded(folders)
    assert suite.cases[0].prompt == "Where is my refund?"
    assert asserted(suite)[-1] == [("is-json", None)]


CSV = """\
q,__expected,__expected2,__description,__metric,__threshold,__config:__expected2:threshold,__metadata:tags[]
"Where, please?",icontains:refund,rouge-n(0.4):the refund,First one,tone,0.5,0.6,"a,b"
Bye,"contains-any:""a, b"",c",,,,,,
Hi,Hello there,fn:output.length,,,,,
"""


def test_promptfoos_csv_is_taken_over_with_its_compact_assertions(folders: Folders) -> None:
    given(folders, "{tests: evals/t.csv}", t_csv=CSV)
    (folders[1] / "s.yaml").write_text((folders[1] / "s.yaml").read_text() + '  prompts: ["{{q}}"]\n')
    suite = loaded(folders)
    first, second, third = suite.cases
    assert (first.id, first.prompt, first.threshold, first.tags) == ("first-one", "Where, please?", 0.5, ("a", "b"))
    assert [(item.type, item.value, item.threshold, item.metric) for item in first.asserts] == [
        ("icontains", "refund", None, "tone"), ("rouge-n", "the refund", 0.6, "tone"),
    ]  # fmt: skip
    assert [(item.type, item.value) for item in second.asserts] == [("contains-any", '"a, b",c')]
    assert [(item.type, item.value) for item in third.asserts] == [("equals", "Hello there")]
    kept = "3 cases, 1 contains-any, 1 equals, 1 icontains, 1 rouge-n"
    assert notes(folders) == [f"suites/s.yaml:5: evals/t.csv: kept {kept}, lost javascript"]


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("Refund", {"type": "equals", "value": "Refund"}),
        ("not-contains: x ", {"type": "not-contains", "value": "x"}),
        ("equals", {"type": "equals"}),
        ("is-json", {"type": "is-json"}),
        ("is-json:{type: object} ", {"type": "is-json", "value": "{type: object} "}),
        ("levenshtein(3):abc", {"type": "levenshtein", "value": "abc", "threshold": 3.0}),
        ("levenshtein:abc", {"type": "levenshtein", "value": "abc", "threshold": 0.75}),
        ("latency(900)", {"type": "latency", "threshold": 900.0}),
        ("bleu(0.3):a b", {"type": "bleu", "value": "a b"}),
        ("grade: is kind", {"type": "llm-rubric", "value": " is kind"}),
        ("note: mind the gap", {"type": "equals", "value": "note: mind the gap"}),
        ("regex:a:b\nc", {"type": "regex", "value": "a:b\nc"}),
    ],
)
def test_a_compact_assertion_is_what_promptfoo_0_121_20_makes_of_it(text: str, made: dict[str, Any]) -> None:
    assert compact(text) == made


@pytest.mark.parametrize("suffix", ["json", "jsonl", "yaml"])
def test_tests_may_stand_in_a_file_of_their_own(folders: Folders, suffix: str) -> None:
    tests = [{"vars": {"q": "1"}, "assert": [{"type": "equals", "value": 1}]}, {"vars": {"q": "2"}}]
    text = "\n".join(map(json.dumps, tests)) if suffix == "jsonl" else json.dumps(tests)
    config = f"prompts: ['{{{{q}}}}']\ntests: file://t.{suffix}\n"
    given(folders, "{promptfoo: evals/pf.yaml}", pf_yaml=config, **{f"t_{suffix}": text})
    suite = loaded(folders)
    assert [(case.prompt, case.judged) for case in suite.cases] == [("1", True), ("2", False)]


GRADERS = {
    "testing_criteria": [
        {"type": "string_check", "name": "exact", "input": "{{sample.output_text}}", "reference": "{{item.want}}",
         "operation": "ilike"},
        {"type": "text_similarity", "name": "like", "input": "{{ sample.output_text }}", "reference": "{{item.want}}",
         "evaluation_metric": "rouge_1", "pass_threshold": 0.6},
        {"type": "text_similarity", "input": "{{sample.output_text}}", "reference": "x", "evaluation_metric": "cosine"},
        {"type": "string_check", "input": "{{item.want}}", "reference": "x", "operation": "eq"},
        {"type": "score_model", "model": "gpt-4.1"},
        {"type": "multi", "name": "both", "calculate_output": "2 * a + b", "pass_threshold": 1.5, "graders": {
            "a": {"type": "string_check", "input": "{{sample.output_text}}", "reference": "A", "operation": "eq"},
            "b": {"type": "string_check", "input": "{{sample.output_text}}", "reference": "B", "operation": "ne"}}},
        {"type": "multi", "calculate_output": "max(a, b)", "graders": {}},
    ]
}  # fmt: skip


def test_openais_graders_judge_each_item(folders: Folders) -> None:
    items = '{"item": {"q": "Where?", "want": "refund"}}\n{"q": "When?", "want": "now"}\n'
    entry = "{openaiGraders: evals/g.json, items: evals/i.jsonl}"
    given(folders, entry, g_json=json.dumps(GRADERS), i_jsonl=items)
    (folders[1] / "s.yaml").write_text((folders[1] / "s.yaml").read_text() + '  prompts: ["{{q}}"]\n')
    suite = loaded(folders)
    assert [case.prompt for case in suite.cases] == ["Where?", "When?"]
    exact, like, both = suite.cases[1].asserts
    assert (exact.type, exact.value, exact.metric) == ("icontains", "now", "exact")
    assert (like.type, like.value, like.threshold) == ("rouge-n", "now", 0.6)
    assert (both.type, both.threshold, both.metric) == ("assert-set", 0.5, "both")
    assert [(item.type, item.negated, item.weight) for item in both.of] == [
        ("equals", False, 2.0),
        ("equals", True, 1.0),
    ]
    assert notes(folders) == [
        "suites/s.yaml:5: evals/g.json: kept 2 cases, 2 assert-set, 2 equals, 2 icontains, 2 not-equals, 2 rouge-n, "
        "lost the grader multi, the grader score_model, "
        "the grader string_check, the grader text_similarity by cosine"
    ]


@pytest.mark.parametrize(
    ("entry", "files", "expected"),
    [
        ("{}", {}, "5: an import names no file, write one of promptfoo, tests, openaiGraders, and its path"),
        ("x", {}, "5: an import names no file, write one of promptfoo, tests, openaiGraders, and its path"),
        ("{tests: a.csv, promptfoo: b.yaml}", {},
         "5: an import names no file, write one of promptfoo, tests, openaiGraders, and its path"),
        ("{tests: evals/t.csv, csv: x}", {}, "5: unknown key `csv`, leave it out"),
        ("{tests: evals/none.csv}", {}, "5: evals/none.csv cannot be read, check that it is there, and in UTF-8"),
        ("{tests: ../t.csv}", {}, "5: ../t.csv lies outside the folder of the suites, put it in there"),
        ("{tests: evals/t.txt}", {"t_txt": "x"},
         "5: evals/t.txt is of no kind that is known, use .yaml, .json, .jsonl or .csv"),
        ("{tests: evals/t.json}", {"t_json": "{"}, "5: evals/t.json is not JSON, mend it"),
        ("{tests: evals/t.json}", {"t_json": "{}"},
         "5: the file holds no list of tests, write one `- ` for each test"),
        ("{promptfoo: evals/p.json}", {"p_json": "[]"},
         "5: p.json is no configuration of promptfoo, name its tests: {tests: file}"),
        ("{openaiGraders: evals/g.json}", {"g_json": "[]"},
         "5: graders alone make no cases, add items: a file with one JSON object a line"),
        ("{openaiGraders: evals/g.json, items: evals/i.jsonl}", {"g_json": "3", "i_jsonl": ""},
         "5: the file holds no graders, write a list of them"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_taken_over_is_an_error(
    folders: Folders, entry: str, files: dict[str, str], expected: str
) -> None:
    given(folders, entry, **files)
    with pytest.raises(RuleErrors) as caught:
        load_rules(*folders)
    assert f"suites/s.yaml:{expected}" in [str(finding) for finding in caught.value.findings]


def test_what_is_wrong_in_a_yaml_file_is_said_with_its_own_line(folders: Folders) -> None:
    given(folders, "{promptfoo: evals/pf.yaml}", pf_yaml="prompts: [x]\ntests: [1\n")
    with pytest.raises(RuleErrors) as caught:
        load_rules(*folders)
    assert any(str(finding).startswith("suites/evals/pf.yaml:") for finding in caught.value.findings)
