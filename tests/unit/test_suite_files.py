"""A suite's file: what is refused, with its line and mend, and what its cases become."""

from pathlib import Path

import pytest

from ratchet.adapters.rule_files import RuleErrors, load_rules, suite_from_text
from ratchet.adapters.yaml_files import parse
from support.rules import FULL_SUITE, POLICY, SUITE, Folders, make, rules_of


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folders:
    monkeypatch.chdir(tmp_path)
    return make(Path(), POLICY, SUITE)


ASSERT = "{type: contains, value: hi}"
TESTS = SUITE[SUITE.index("  tests:") :]
TOOL = "{function: {name: book, parameters: {type: object}}}"
SUITE_REFUSALS: list[tuple[str, str, str]] = [
    (TESTS, "", "3: an empty suite is not evidence, add a test"),
    (TESTS, "  tests: []\n", "5: an empty suite is not evidence, add a test"),
    (f"[{ASSERT}]", "[]", "5: no case of the suite could ever fail, add an assert"),
    ("      vars:", "      threshold: 0\n      vars:", "5: no case of the suite could ever fail, add an assert"),
    (ASSERT, "{type: contains, value: hi, weight: 0}", "5: no case of the suite could ever fail, add an assert"),
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
    (ASSERT, "{type: is-json, value: {type: nothing}}", "8: is-json has a JSON Schema that is none, mend it"),
    (ASSERT, "{type: is-json, value: {$schema: x}}",
     "8: is-json has a JSON Schema of another draft than 7, leave out $schema"),
    (ASSERT, "{type: is-json, value: {$ref: https://example.com/x}}",
     "8: is-json has a JSON Schema that refers to another one, write it here"),
    (ASSERT, "{type: contains-all, value: []}", "8: contains-all needs a list of texts, write one that is not empty"),
    (ASSERT, "{type: bleu, value: hi, threshold: 2}",
     "8: no score reaches 2: scores are from 0 to 1, write one of them, such as 0.8"),
    (ASSERT, "{type: levenshtein, value: hi, threshold: -1}",
     "8: levenshtein never comes below 0, raise the threshold"),
    (ASSERT, "{type: finish-reason, value: content_filter}",
     "8: finish-reason needs one of length, stop, write one of them"),
    (ASSERT, "{type: assert-set}", "8: an assert-set has no assertions, add an assert"),
    (ASSERT, "{type: assert-set, threshold: 3, assert: [{type: is-json}]}",
     "8: no score reaches 3: scores are from 0 to 1, write one of them, such as 0.8"),
    (ASSERT, "{type: assert-set, assert: [{type: assert-set, assert: [{type: is-json}]}]}",
     "8: an assert-set holds another one, write one beside the other"),
    (ASSERT, "{type: not-assert-set, assert: [{type: is-json}]}",
     "8: `assert` does nothing in not-assert-set, make the type assert-set"),
    (ASSERT, "{value: hi}", "8: an assertion has no type, add a type, such as contains"),
    (ASSERT, "{$ref: '#/assertionTemplates/polite'}",
     "8: `#/assertionTemplates/polite` names no template, write #/assertionTemplates/<name>, and the template"),
    (ASSERT, "{$ref: x, type: contains}",
     "8: a `$ref` stands beside other keys, which it would replace, keep one or the other"),
    (ASSERT, "{type: contains, value: hi, weight: -1}",
     "8: `weight` does not fit, it should be greater than or equal to 0"),
    (ASSERT, '{type: contains, value: hi, metric: "{{wrod}}"}',
     "8: an undefined variable: 'wrod' is undefined, add it to vars"),
    (ASSERT, "{type: latency}", "8: latency has no threshold above 0, add threshold: 5000, in milliseconds"),
    (ASSERT, "{type: latency, threshold: 0}",
     "8: latency has no threshold above 0, add threshold: 5000, in milliseconds"),
    (ASSERT, "{type: perplexity}", "8: perplexity has no threshold above 0, add threshold: 5"),
    (ASSERT, "{type: perplexity-score, threshold: 1.5}",
     "8: no score reaches 1.5: scores are from 0 to 1, write one of them, such as 0.8"),
    (ASSERT, "{type: contains}", "8: contains has no value, add a value"),
    (ASSERT, '{type: contains, value: ""}', "8: contains needs a text or a number, write one that is not empty"),
    (ASSERT, "{type: contains, value: hi, threshold: 0.5}",
     "8: a threshold does nothing in contains, leave it out"),
    (ASSERT, '{type: regex, value: "a(?=b)"}',
     "8: regex has a pattern that is refused: it looks around, and RE2 cannot, add a second assertion"),
    (ASSERT, "{type: regex, value: 3}", "8: regex needs a text, write one, in quotes"),
    (ASSERT, "{type: contains, value: file://x}", "8: reading a file is not supported yet, write the value here"),
    ("      vars:", "      threshold: 1.5\n      vars:",
     "7: no score reaches 1.5: scores are from 0 to 1, write one of them, such as 0.8"),
    ("      vars:", "      tags: [x]\n      vars:", "7: `tags` is not supported yet, leave it out"),
    ("      vars:", "      metadata: {owner: x}\n      vars:", "7: `owner` is not supported yet, leave it out"),
    ("  tests:", "  defaultTest: {metadata: {}}\n  tests:", "5: `metadata` is not supported yet, leave it out"),
    ("metadata: {name: core}", "metadata: {name: core, nam: x}", "2: unknown key `nam`, did you mean `name`?"),
    ("      vars:", "      metadata: {tags: [a.b]}\n      vars:",
     "7: `tags` is 'a.b', use letters, digits and dashes, lower case for names"),
    ("      vars:", "      metadata: {tags: x}\n      vars:",
     "7: `tags` is not a list, write [...], or one `- ` for each below it"),
    ("      vars:", "      metadata: {tags: [x, x]}\n      vars:", "7: the tag `x` is there twice, keep one of them"),
    ("  tests:", "  import: x\n  tests:", "5: `import` is not a list, write [...], or one `- ` for each below it"),
    ("  tests:", "  run: {budget: {usd: 0}}\n  tests:", "5: `usd` does not fit, it should be greater than 0"),
    ("  tests:", "  run: {budget: {tokens: 0}}\n  tests:",
     "5: `tokens` does not fit, it should be greater than or equal to 1"),
    ("  tests:", "  run: {budget: {wall: 8}}\n  tests:", "5: `wall` is not a text, put it in quotes"),
    ("  tests:", "  run: {budget: {wall: soon}}\n  tests:",
     "5: 'soon' is not a time span, write a number and s, m, h or d, such as 24h; at most 365d"),
    ("  tests:", "  run: {seed: 7}\n  tests:",
     "5: a seed does nothing while the order is listed, write order: shuffled"),
    ("  tests:", "  run: {order: random}\n  tests:", "5: `order` is 'random', use listed or shuffled"),
    ("  tests:", "  casePass: {minPassRate: 0}\n  tests:",
     "5: `minPassRate` does not fit, it should be greater than 0"),
    ("      vars:", "      repeats: 21\n      vars:",
     "7: `repeats` does not fit, it should be less than or equal to 20"),
    (ASSERT, "{type: cost}", "8: cost has no threshold above 0, add threshold: 0.002, in USD"),
    ("  tests:", "  run: {repeats: 0}\n  tests:", "5: `repeats` does not fit, it should be greater than or equal to 1"),
    ("  tests:", "  run: {repeats: 21}\n  tests:", "5: `repeats` does not fit, it should be less than or equal to 20"),
    ("  tests:", "  request: {temperature: 2.1}\n  tests:",
     "5: `temperature` does not fit, it should be less than or equal to 2"),
    ("  tests:", "  request: {timeout: 8}\n  tests:", "5: `timeout` is not a text, put it in quotes"),
    ("  tests:", "  request: {seed: -1}\n  tests:",
     "5: `seed` does not fit, it should be greater than or equal to 0"),
    ("  tests:", "  request: {maxTokens: 8193}\n  tests:",
     "5: `maxTokens` does not fit, it should be less than or equal to 8192"),
    (ASSERT, "{type: is-valid-openai-tools-call}",
     "8: is-valid-openai-tools-call needs the tools that the model may call, write them under request.tools"),
    (ASSERT, "{type: not-is-valid-openai-tools-call}",
     "8: `not-is-valid-openai-tools-call` says nothing: promptfoo reads it without its not-, use not-tool-call-f1"),
    (ASSERT, "{type: is-valid-openai-tools-call, value: book}",
     "8: is-valid-openai-tools-call takes no value, leave it out"),
    ("  tests:", f"  request: {{tools: [{TOOL}, {TOOL}]}}\n  tests:",
     "5: the tool `book` is there twice, keep one of them"),
    ("  tests:", f"  request: {{tools: [{TOOL.replace('object', 'thing')}]}}\n  tests:",
     "5: the tool has a JSON Schema that is none, mend it"),
    ("  tests:", f"  request: {{tools: [{TOOL.replace('book', 'book it')}]}}\n  tests:",
     "5: `name` is 'book it', use letters, digits and dashes, lower case for names"),
    ("  tests:", "  request: {tools: [{function: {name: book}}]}\n  tests:", "5: `parameters` is missing, add it"),
    ("  tests:", "  request: {toolChoice: required}\n  tests:",
     "5: there is no tool that could be required, add tools"),
    ("  tests:", "  probe: {patience: 25h}\n  tests:",
     "5: nothing waits longer than a day for an endpoint, write 24h"),
    ("  tests:", "  keep: {outputs: all}\n  tests:", "5: `outputs` is 'all', use none or failed"),
    ("  tests:", "  keep: {redact: [name]}\n  tests:", "5: `redact` is 'name', use email or card or phone"),
    ("  tests:", "  keep: {redact: [email, email]}\n  tests:", "5: the kind `email` is there twice, keep one of them"),
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
    ("  tests:", "  run: {repeats: 20, concurrency: 64}\n  tests:"),
    ("  tests:", "  request: {maxTokens: 8192, temperature: 2, seed: 0, timeout: 1s, system: ''}\n  tests:"),
    ("  tests:", f"  request: {{toolChoice: required, tools: [{TOOL}]}}\n  tests:"),
    ("  tests:", "  probe: {patience: 24h}\n  keep: {outputs: none, ttl: 1s, redact: []}\n  tests:"),
    ("{word: hi}", "{word: 9007199254740992}"),
    ("  tests:", "  run: {order: shuffled, seed: 7, budget: {usd: 0.01, tokens: 1, wall: 8m}}\n  tests:"),
    ("  tests:", "  casePass: {minPassRate: 1}\n  tests:"),
    ("      vars:", "      repeats: 20\n      vars:"),
    (ASSERT, "{type: not-latency, threshold: 0.1}"),
    (ASSERT, "{type: not-bleu, value: [hi, ho], threshold: 1, weight: 0.1, metric: '{{word}}'}"),
    (ASSERT, "{type: assert-set, threshold: 0.1, assert: [{type: is-json, weight: 2}]}"),
    ("      vars:", "      threshold: 1\n      vars:"),
    ("  tests:", "  defaultTest: {threshold: 0.1}\n  assertionTemplates: {a: {type: is-json}}\n  tests:"),
    (ASSERT, '{type: equals, value: ""}'),
    ("Say {{word}}", "Say {{w.a}}"),
    ("      vars:", f"      metadata: {{tags: [{'a' * 64}, A_-9]}}\n      vars:"),
]


@pytest.mark.parametrize(("old", "new"), ALLOWED)
def test_the_last_allowed_value_loads(folders: Folders, old: str, new: str) -> None:
    assert old in SUITE
    text = SUITE.replace(old, new, 1).replace("{word: hi}", "{word: hi, w: {a: 1}}")
    (folders[1] / "s.yaml").write_text(text)
    suite = load_rules(*folders).suites["core"]
    assert suite_from_text(suite.text) == suite


def test_a_case_takes_its_id_from_its_description_or_its_place(folders: Folders) -> None:
    tests = "  tests:\n    - {description: Refund, twice!, vars: {word: a}, assert: [{type: is-json}]}\n"
    tests = tests.replace("Refund, twice!", '"Refund, twice!"')
    tests += "    - {vars: {word: b}, assert: [{type: is-json}]}\n"
    (folders[1] / "s.yaml").write_text(SUITE.replace(TESTS, tests))
    assert [case.id for case in load_rules(*folders).suites["core"].cases] == ["refund-twice", "case-2"]


def test_a_case_has_the_tags_of_its_metadata_in_order(folders: Folders) -> None:
    before = load_rules(*folders)
    (folders[1] / "s.yaml").write_text(
        SUITE.replace("      vars:", "      metadata: {tags: [slow, critical]}\n      vars:")
    )
    assert [case.tags for case in load_rules(*folders).suites["core"].cases] == [("critical", "slow")]
    assert load_rules(*folders).digest != before.digest
    (folders[1] / "s.yaml").write_text(SUITE.replace("      vars:", "      metadata: {tags: []}\n      vars:"))
    assert load_rules(*folders) == before


def test_a_suite_without_tags_has_the_digest_that_it_had_before_there_were_any(folders: Folders) -> None:
    digest = load_rules(*folders).suites["core"].digest
    assert digest == "d2f07fdd93ca68b6d0879306c22f36b876bdc3d3d57b1b663d4287e3d76e902d"


def test_log_probabilities_are_asked_for_where_something_judges_them(folders: Folders) -> None:
    judged = "{type: assert-set, assert: [{type: perplexity, threshold: 3}]}"
    for assertion, wanted in ((ASSERT, False), (judged, True), ("{type: not-perplexity-score, threshold: 0.4}", True)):
        (folders[1] / "s.yaml").write_text(SUITE.replace(ASSERT, assertion))
        suite = load_rules(*folders).suites["core"]
        assert suite.request.logprobs is wanted
        assert suite_from_text(suite.text) == suite


def test_a_template_stands_for_the_assertion_that_refers_to_it(folders: Folders) -> None:
    text = SUITE.replace("  tests:", "  assertionTemplates: {greets: {type: icontains, value: '{{word}}'}}\n  tests:")
    (folders[1] / "s.yaml").write_text(text.replace(ASSERT, "{$ref: '#/assertionTemplates/greets'}"))
    suite = load_rules(*folders).suites["core"]
    assert [(item.type, item.value) for item in suite.cases[0].asserts] == [("icontains", "hi")]
    assert suite_from_text(suite.text) == suite


def test_a_case_has_the_threshold_of_the_default_test_unless_it_has_its_own(folders: Folders) -> None:
    default = SUITE.replace("  tests:", "  defaultTest: {threshold: 0.5}\n  tests:")
    for text, threshold in ((default, 0.5), (default.replace("      vars:", "      threshold: 1\n      vars:"), 1)):
        (folders[1] / "s.yaml").write_text(text)
        assert load_rules(*folders).suites["core"].cases[0].threshold == threshold


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


SUITE_CHANGES: list[tuple[str, str]] = [
    ("Say", "Sing"), ("repeats: 2", "repeats: 1"), ("concurrency: 3", "concurrency: 4"), ("64", "65"),
    ("0.5", "0.25"), ("other: x", "other: y"), ("500", "501"), ("id: one", "id: uno"), ("first", "second"),
    ("word: hi", "word: he"), ("type: contains", "type: icontains"), ("value: hi", "value: he"),
    ("tags: [a, b]", "tags: [a]"), ("tags: [a, b]", "tags: [a, c]"), (", metadata: {tags: [a, b]}", ""),
    ("minPassRate: 0.5", "minPassRate: 0.6"), ("order: shuffled, seed: 7", "order: listed"), ("seed: 7", "seed: 8"),
    ("usd: 1.5", "usd: 1.25"), ("tokens: 9000", "tokens: 9001"), ("wall: 8m", "wall: 9m"), ("repeats: 3", "repeats: 4"),
    ("threshold: 0.9", "threshold: 0.8"), ("weight: 2", "weight: 3"), ("metric: tone", "metric: tune"),
    ("value: polite", "value: rude"), ("threshold: 0.6", "threshold: 0.7"), ("type: is-json", "type: not-is-json"),
    ("not-equals", "equals"), ("{a: 1}}", "{a: 2}}"), ("{a: 1}}", "{a: true}}"),
    ("toolChoice: required", "toolChoice: auto"), ("name: book", "name: look"), ("A seat.", "A table."),
    ("parameters: {type: object}", "parameters: {type: object, required: [a]}"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new"), SUITE_CHANGES)
def test_a_change_of_a_suites_value_changes_its_digest_and_its_policys(tmp_path: Path, old: str, new: str) -> None:
    before = rules_of(POLICY, FULL_SUITE, tmp_path)
    assert old in FULL_SUITE
    after = rules_of(POLICY, FULL_SUITE.replace(old, new, 1), tmp_path)
    assert after.suites["core"].digest != before.suites["core"].digest
    assert after.policies[0].digest != before.policies[0].digest
    assert after.digest != before.digest
    assert suite_from_text(after.suites["core"].text) == after.suites["core"]
