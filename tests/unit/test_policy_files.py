"""A policy's file: what is refused, with its line and mend, and what its keys become."""

from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ratchet.adapters.rule_files import RuleErrors, check, load_rules, policy_from_text
from ratchet.domain.keys import AliasKey, Provider
from ratchet.domain.policy import (
    Apply,
    Approval,
    ApprovalWhen,
    Baseline,
    BaselineUse,
    Comparison,
    Criterion,
    DriftUse,
    Gate,
    Missing,
    Mode,
    MustBeat,
    Pacing,
    Policy,
    Rerun,
    RollBackUse,
    Sameness,
    Selector,
    Settle,
    SuiteEvidence,
    Trigger,
    Until,
    WatchPlan,
    WhenMissing,
)
from ratchet.domain.windows import Dated, Day, Weekly, Window, WindowKind
from support.depth import deep
from support.policies import SUITE_FILES, policy_files, policy_of
from support.rules import FULL_POLICY, FULL_SUITE, POLICY, SUITE, Folders, make, rules_of, said, shuffled


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folders:
    monkeypatch.chdir(tmp_path)
    return make(Path(), POLICY, SUITE)


# What Berlin calls 17:00 is 16:00 in UTC, and 15:00 in summer.
OPEN_IN_SUMMER = """\
  windows:
    - {name: fridays, kind: allow, tz: UTC, weekly: {days: [fri], from: "16:00", to: "17:00"}}
    - {name: late, kind: deny, tz: Europe/Berlin, weekly: {days: [fri], from: "17:00", to: "18:00"}}
"""
SPAN = "write a number and s, m, h or d, such as 24h; at most 365d"
WINDOW = """\
  windows:
    - {name: freeze, kind: deny, tz: Europe/Berlin, weekly: {days: [fri], from: "16:00", to: "23:59"}}
"""
WEEK = (
    WINDOW.replace("[fri]", "[mon, tue, wed, thu, fri, sat, sun]").replace("16:00", "00:00").replace("23:59", "24:00")
)
DATED = '  windows: [{name: freeze, kind: deny, tz: UTC, from: "2026-12-19T00:00", to: "2027-01-03T00:00"}]\n'
ONCE = '    - {name: once, kind: allow, tz: UTC, from: "2026-12-19T00:00", to: "2027-01-03T00:00"}\n'
NEVER_OPEN = """\
  windows:
    - {name: fridays, kind: allow, tz: UTC, weekly: {days: [fri], from: "17:00", to: "18:00"}}
    - {name: late, kind: deny, tz: UTC, weekly: {days: [fri], from: "16:00", to: "18:00"}}
"""
HOW = 'write one like ">= 0.95", "<= baseline", ">= baseline - 0.01" or "<= baseline + 2%"'
RATE = 'suites.core.pass_rate\n      pass: ">= 0.9"\n'
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
        "11: 'about 0.9' is not a comparison, " + HOW,
    ),
    ('">= 0.9"', "{min: 0.9}",
     '11: this is not a condition, write ">= 0.95", a list of such, or {anyOf: [...]}'),
    ('">= 0.9"', '{anyOf: ">= 0.9"}',
     '11: this is not a condition, write ">= 0.95", a list of such, or {anyOf: [...]}'),
    ('">= 0.9"', "{anyOf: []}", '11: the gate `quality` has no condition, add pass: ">= 0.95"'),
    ('">= 0.9"', '{anyOf: [">= 0.9", []]}', '11: the gate `quality` has no condition, add pass: ">= 0.95"'),
    ('">= 0.9"', '{anyOf: [[">= 0.9", "0.8"]]}', '11: \'0.8\' is not a comparison, ' + HOW),
    ('">= 0.9"', "", "11: `pass` has no value, give it one, or leave it out"),
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
    ("[openai, vertex]", "[vertex, vertex]", "6: the provider `vertex` is there twice, keep one of them"),
    ("{suite: core}", "{suite: core, maxAge: 3 days}", "7: '3 days' is not a time span, " + SPAN),
    ("{suite: core}", "{suite: core, maxAge: 0h}", "7: '0h' is not a time span, " + SPAN),
    (CHOOSE, CHOOSE + "  settle: {maxWait: 366d}\n", "13: '366d' is not a time span, " + SPAN),
    ("kind: PromotionPolicy", "kind: Policy", "1: `kind` is 'Policy', use PromotionPolicy"),
    (POLICY, "", "1: the file is empty, write a policy or a suite, or remove it"),
    ("  line:", "\tline:", "4: YAML does not indent with tabs, use spaces"),
    (CHOOSE, CHOOSE + "---\nkind: x\n", "13: there is more than one document, use one file for each"),
    ("router", "&a router\n  <<: *a", "5: merge keys (`<<`) are not supported, write the values out"),
    ("line: router", "line: !x router", "4: the tag `!x` is not supported, leave it out"),
    # What only the whole language has.
    ("[openai, vertex]}", "[openai, vertex], names: [a, a]}", "6: the name `a` is there twice, keep one of them"),
    ("[openai, vertex]}", '[openai, vertex], names: [""]}',
     "6: `names` does not fit, String should have at least 1 character"),
    ("[openai, vertex]}", "[openai, vertex], labels: {tier: 1}}", "6: `tier` is not a text, put it in quotes"),
    ("[openai, vertex]}", "[openai, vertex], labels: {since: 2026-01-01}}",
     '6: the bare `2026-01-01` is a date to many YAML readers, quote it: "2026-01-01"'),
    ("[openai, vertex]}", "[openai, vertex], labels: {at: 16:00}}",
     '6: the bare `16:00` is a number to many YAML readers, quote it: "16:00"'),
    ("[openai, vertex]}", "[openai, vertex], labels: {urgent: yes}}",
     '6: the bare `yes` is true or false to many YAML readers, quote it: "yes"'),
    (CHOOSE, CHOOSE + "  settle: {quiet: 10}\n", "13: `quiet` is not a text, put it in quotes"),
    (CHOOSE, CHOOSE + "  settle:\n", "13: `settle` has no value, give it one, or leave it out"),
    (CHOOSE, CHOOSE + "  settle: 2h\n", "13: `settle` is not a mapping, write key: value below it, or {key: value}"),
    ("{suite: core}", "{suite: core, minRepeats: 2}",
     "7: minRepeats is 2, and the suite `core` has repeats: 1, lower it to 1, or raise run.repeats"),
    ("{suite: core}", "{suite: core, minRepeats: 0}",
     "7: `minRepeats` does not fit, it should be greater than or equal to 1"),
    ("[{suite: core}]}", "[{suite: core}], metrics: [stpe]}", "7: unknown metric `stpe`, did you mean `step`?"),
    ("[{suite: core}]}", "[{suite: core}], metrics: [step, step]}",
     "7: the metric `step` is there twice, keep one of them"),
    ("suites.core.pass_rate", "suites.core.tags.slow.pass_rate",
     "10: no case of the suite `core` has the tag `slow`, add it to a test's metadata: {tags: [...]}"),
    ("suites.core.pass_rate", "suites.core.metrics.tone",
     "10: no assertion of the suite `core` has the metric `tone`, add it to an assertion: {metric: …}"),
    ("suites.core.pass_rate", "suites.core.tags.slow.score",
     "10: unknown metric `suites.core.tags.slow.score`, did you mean `suites.core.score`?"),
(RATE, 'suites.core.regressions\n      pass: "<= 0"\n  baseline: {use: none}\n',
     "10: `suites.core.regressions` compares with a baseline, and baseline.use is none, "
     "set baseline.use, or use another metric"),
    ("suites.core.pass_rate\n      pass: \">= 0.9\"", 'suites.core.score\n      pass: ">= 90"',
     "11: '>= 90' is out of reach: a score lies between 0 and 1, write 0.95 for 95 %"),
    (GATE, GATE + "      warn: []\n", "12: the `warn` of gate `quality` is empty, leave it out"),
    (GATE, GATE + '      warn: ">= 0.9"\n', "12: `warn` is the same as `pass`, make it looser, or leave it out"),
    (GATE, GATE + '      warn: "> 0.9"\n',
     "12: warn '> 0.9' is stricter than pass '>= 0.9', let `warn` be the looser one"),
    (GATE, GATE + '      warn: ">= 0.91"\n',
     "12: warn '>= 0.91' is stricter than pass '>= 0.9', let `warn` be the looser one"),
    (GATE, '      pass: "<= baseline + 2%"\n      warn: "<= baseline + 1%"\n',
     "12: warn '<= baseline + 1%' is stricter than pass '<= baseline + 2%', let `warn` be the looser one"),
    (GATE, '      pass: ">= baseline - 0.1"\n      warn:\n        - ">= 0.1"\n        - ">= baseline"\n',
     "14: warn '>= baseline' is stricter than pass '>= baseline - 0.1', let `warn` be the looser one"),
    (GATE, '      pass: ">= 0.9"\n      warn: {anyOf: [\n        ">= 0.8",\n        ">= 0.95"]}\n',
     "14: warn '>= 0.95' is stricter than pass '>= 0.9', let `warn` be the looser one"),
    (GATE, GATE + "      required: true\n      missing: skip\n",
     "12: the gate `quality` is required, and skipped where its metric is missing, "
     "leave `required` out, or use missing: inconclusive"),
    (GATE, GATE + "      comparable: [dataset, dataset]\n", "12: the word `dataset` is there twice, keep one of them"),
    (GATE, GATE + "      missing: allow\n", "12: `missing` is 'allow', use skip or warn or inconclusive or fail"),
    (GATE, GATE + "      confidence: {level: 1}\n",
     "12: `level` does not fit, it should be less than or equal to 0.9999"),
    (GATE, GATE + "      confidence: {level: 0.49}\n",
     "12: `level` does not fit, it should be greater than or equal to 0.5"),
    (GATE, GATE + "      confidence: {method: bayes, level: 0.9}\n", "12: `method` is 'bayes', use wilson"),
    (GATE, GATE + "      confidence: {level: 0.9}\n",
     "12: no result can pass the gate `quality` with minCases: 1 at level 0.9, "
     "use minCases: 25 (the suite has 1)"),
    (GATE, '      pass: ">= 1"\n      confidence: {level: 0.9}\n',
     "12: no result can pass the gate `quality` with minCases: 1 at level 0.9, "
     "no suite is large enough (at most 1000 cases); loosen the limit, or lower the level"),
    (GATE, '      pass: "<= 0.5"\n      confidence: {level: 0.9}\n',
     "12: no result can pass the gate `quality` with minCases: 1 at level 0.9, use minCases: 3 (the suite has 1)"),
    (GATE, '      pass: [">= 0.5", "== 1"]\n      confidence: {level: 0.9}\n',
     "11: '== 1' can never be told with confidence, compare with >= or <=, or leave `confidence` out"),
    (GATE, '      pass: [">= 0.5", ">= baseline"]\n      confidence: {level: 0.9}\n',
     "11: confidence is for a number, and this compares with the baseline, "
     "leave `confidence` out, or make it a gate of its own"),
    (RATE, RATE.replace("core", "other") + "      confidence: {level: 0.9}\n",
     "10: the suite `other` is not in evidence.suites, add {suite: other} to evidence.suites"),
    (GATE, '      pass: ">= baseline"\n      confidence: {level: 0.9}\n',
     "11: confidence is for a number, and this compares with the baseline, "
     "leave `confidence` out, or make it a gate of its own"),
    (GATE, '      pass: "== 1"\n      confidence: {level: 0.9}\n',
     "11: '== 1' can never be told with confidence, compare with >= or <=, or leave `confidence` out"),
    (GATE, '      pass: "!= 1"\n      confidence: {level: 0.9}\n',
     "11: '!= 1' can never be told with confidence, compare with >= or <=, or leave `confidence` out"),
    (RATE, RATE.replace("pass_rate", "score") + "      confidence: {level: 0.9}\n",
     "12: confidence needs a count of cases, and `suites.core.score` has none, "
     "use pass_rate or error_rate, or leave `confidence` out"),
    (CHOOSE, "  choose: {order: []}\n",
     "12: nothing says which checkpoint to choose, add {metric: step, better: lower}"),
    (CHOOSE, "  choose:\n    - {metric: step, better: lower}\n    - {metric: stepp, better: lower}\n",
     "14: unknown metric `stepp`, did you mean `step`?"),
    (CHOOSE, "  choose:\n    order:\n      - {metric: stepp, better: lower}\n",
     "14: unknown metric `stepp`, did you mean `step`?"),
    (CHOOSE, "  choose:\n    order: [{metric: step, better: lower}]\n    mustBeatCurrent: {by: 1}\n",
     "14: `step` says nothing across jobs, so nothing can beat the current by it, name another criterion's metric"),
    (CHOOSE, "  choose:\n    order: [{metric: step, better: lower}]\n    mustBeatCurrent: {metric: stepp, by: 1}\n",
     "14: `stepp` is no criterion of choose.order, did you mean `step`?"),
    (CHOOSE, "  choose:\n    order: [{metric: suites.core.score, better: higher}]\n    mustBeatCurrent: {by: 0}\n",
     "14: `by` does not fit, it should be greater than 0"),
    (CHOOSE, CHOOSE + "  approval: {min: 2}\n",
     "13: `approval` says who is asked, and `when` is never, add when: always, onWarn or firstPromotion"),
    (CHOOSE, CHOOSE + "  approval: {when: always, min: 2, from: [ana@acme.com]}\n",
     "13: 2 must agree, and `from` names 1, lower it, or name more people"),
    (CHOOSE, CHOOSE + "  approval: {when: always, from: [ana]}\n",
     "13: 'ana' is nobody's address, write an e-mail address, or *@ and a domain"),
    (CHOOSE, CHOOSE + "  approval: {when: always, from: ['an*@acme.com']}\n",
     "13: 'an*@acme.com' is nobody's address, write an e-mail address, or *@ and a domain"),
    (CHOOSE, CHOOSE + "  approval: {when: always, from: [ana@acme.com, Ana@acme.com]}\n",
     "13: the address `ana@acme.com` is there twice, keep one of them"),
    (CHOOSE, CHOOSE + "  approval: {when: always, expires: 0h}\n", "13: '0h' is not a time span, " + SPAN),
    (CHOOSE, CHOOSE + "  approval: {when: always, min: 0}\n",
     "13: `min` does not fit, it should be greater than or equal to 1"),
    (CHOOSE, CHOOSE + "  pacing: {cooldown: 0s}\n", "13: '0s' is not a time span, " + SPAN),
    (CHOOSE, CHOOSE + "  pacing: {maxPerDay: 11}\n",
     "13: `maxPerDay` does not fit, it should be less than or equal to 10"),
    (CHOOSE, CHOOSE + "  pacing: {maxPerDay: 0}\n",
     "13: `maxPerDay` does not fit, it should be greater than or equal to 1"),
    (CHOOSE, CHOOSE + WINDOW.replace("Europe/Berlin", "Europe/Berln"),
     "14: unknown time zone 'Europe/Berln', did you mean `Europe/Berlin`?"),
    (CHOOSE, CHOOSE + WINDOW.replace("Europe/Berlin", "localtime"),
     "14: unknown time zone 'localtime', use an IANA name, such as Europe/Berlin or UTC"),
    (CHOOSE, CHOOSE + WINDOW.replace('"16:00"', "16:00"),
     '14: the bare `16:00` is a number to many YAML readers, quote it: "16:00"'),
    (CHOOSE, CHOOSE + WINDOW.replace("16:00", "24:00"), '14: \'24:00\' is not a time, write "00:00" to "23:59"'),
    (CHOOSE, CHOOSE + WINDOW.replace("23:59", "24:01"), '14: \'24:01\' is not a time, write "00:00" to "24:00"'),
    (CHOOSE, CHOOSE + WINDOW.replace("23:59", "9:30"), '14: \'9:30\' is not a time, write "00:00" to "24:00"'),
    (CHOOSE, CHOOSE + WINDOW.replace("23:59", "16:00"),
     '14: the window ends when it begins, write a later time; "24:00" is midnight'),
    (CHOOSE, CHOOSE + WINDOW.replace("[fri]", "[]"), "14: `days` has 0 entries, write at least one"),
    (CHOOSE, CHOOSE + WINDOW.replace("[fri]", "[fri, fri]"), "14: the day `fri` is there twice, keep one of them"),
    (CHOOSE, CHOOSE + WINDOW.replace("[fri]", "[friday]"), "14: `days` is 'friday', did you mean `fri`?"),
    (CHOOSE, CHOOSE + WINDOW + WINDOW.partition("\n")[2], "15: the name `freeze` is there twice, keep one of them"),
    (CHOOSE, CHOOSE + "  windows: [{name: freeze, kind: deny, tz: UTC}]\n",
     "13: the window `freeze` is neither weekly nor from one moment to another, write either `weekly`, "
     "or `from` and `to`"),
    (CHOOSE, CHOOSE + DATED.replace(', to: "2027-01-03T00:00"', ""),
     "13: the window `freeze` is neither weekly nor from one moment to another, write either `weekly`, "
     "or `from` and `to`"),
    (CHOOSE, CHOOSE + DATED.replace("2027-01-03T00:00", "2026-12-19T00:00"),
     "13: the window is over before it begins, write a later moment"),
    (CHOOSE, CHOOSE + DATED.replace("2027-01-03", "2027-02-29"),
     "13: '2027-02-29T00:00' is not a date with a time, write one like \"2026-12-19T00:00\", in clock time"),
    (CHOOSE, CHOOSE + DATED.replace("2027-01-03T00:00", "2027-01-03"),
     "13: '2027-01-03' is not a date with a time, write one like \"2026-12-19T00:00\", in clock time"),
    (CHOOSE, CHOOSE + DATED.replace("2026-12-19T00:00", "1999-12-19T00:00"),
     "13: '1999-12-19T00:00' is not a date with a time, write one like \"2026-12-19T00:00\", in clock time"),
    (CHOOSE, CHOOSE + NEVER_OPEN,
     "13: the windows never open, let a deny window end, or an allow window go beyond it"),
    (CHOOSE, CHOOSE + WEEK,
     "13: the windows never open, let a deny window end, or an allow window go beyond it"),
    (CHOOSE, CHOOSE + WEEK + ONCE,
     "13: the windows never open, let a deny window end, or an allow window go beyond it"),
    (CHOOSE, CHOOSE + "  watch: {suite: cor}\n", "13: the suite `cor` is not in evidence.suites, did you mean `core`?"),
    (CHOOSE, CHOOSE + "  watch: {suite: core, count: 2, limits: {failures: 3}}\n",
     "13: limits.failures is 3, and the watch runs 2 times, lower it, or raise count"),
    (GATE, '      pass: ">= baseline"\n  watch: {suite: core}\n',
     "12: no required gate judges the suite `core` without a baseline, so no watch could fail, "
     'add a gate such as {metric: suites.core.pass_rate, pass: ">= 0.9"}'),
    (RATE, 'suites.core.regressions\n      pass: "<= 1"\n  watch: {suite: core}\n',
     "12: no required gate judges the suite `core` without a baseline, so no watch could fail, "
     'add a gate such as {metric: suites.core.pass_rate, pass: ">= 0.9"}'),
    (GATE, GATE + "      required: false\n  watch: {suite: core}\n",
     "13: no required gate judges the suite `core` without a baseline, so no watch could fail, "
     'add a gate such as {metric: suites.core.pass_rate, pass: ">= 0.9"}'),
    (CHOOSE, CHOOSE + "  watch: {suite: core, delay: 0s}\n", "13: '0s' is not a time span, " + SPAN),
    (CHOOSE, CHOOSE + "  rollback: {breaker: 11}\n",
     "13: `breaker` does not fit, it should be less than or equal to 10"),
    (CHOOSE, CHOOSE + "  rollback: {hold: for ever}\n", "13: 'for ever' is not a time span, " + SPAN),
    (CHOOSE, CHOOSE + "  rollback: {triggers: [watchFailed, watchFailed]}\n",
     "13: the trigger `watchFailed` is there twice, keep one of them"),
    (CHOOSE, CHOOSE + "  drift: ignore\n", "13: `drift` is 'ignore', use adopt or revert or hold"),
    (CHOOSE, CHOOSE + "  apply: [vertexDefault, vertexDefault]\n",
     "13: the word `vertexDefault` is there twice, keep one of them"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "expected"), POLICY_REFUSALS)
def test_a_policy_is_refused_with_its_line_and_mend_row60(folders: Folders, old: str, new: str, expected: str) -> None:
    assert old in POLICY
    (folders[0] / "p.yaml").write_text(POLICY.replace(old, new, 1))
    with pytest.raises(RuleErrors) as caught:
        load_rules(*folders)
    assert [str(finding) for finding in caught.value.findings] == [f"policies/p.yaml:{expected}"]


SPEC_LATER = ["sinks", "notify", "retain", "score", "verify", "freezeExempt"]
LATER: list[tuple[str, str, str]] = [
    *((CHOOSE, f"{CHOOSE}  {key}: {{}}\n", f"13: `{key}`") for key in SPEC_LATER),
    *((GATE, f"{GATE}      {key}: true\n", f"12: `{key}`") for key in ("weight", "where", "cel", "external", "dryRun")),
    ("metadata: {name: prod}", "metadata: {name: prod, description: x}", "2: `description`"),
    ("kind: PromotionPolicy", "kind: PromotionPolicy\napiVersion: ratchet/v1", "2: `apiVersion`"),
]


@pytest.mark.parametrize(("old", "new", "expected"), LATER)
def test_a_key_that_is_not_built_yet_is_refused(folders: Folders, old: str, new: str, expected: str) -> None:
    (folders[0] / "p.yaml").write_text(POLICY.replace(old, new, 1))
    assert said(folders) == [f"policies/p.yaml:{expected} is not supported yet, leave it out"]


ALLOWED: list[tuple[str, str]] = [
    ('">= 0.9"', '">= 1"'),
    ('">= 0.9"', '">= 0"'),
    ('">= 0.9"', '[">=0.9", ">= baseline - 1", "<= baseline + 2%", "== baseline"]'),
    ('">= 0.9"', '{anyOf: [">=0.9", [">= baseline - 1", "<= 1"]]}'),
    ("{suite: core}", "{suite: core, minCases: 1, minRepeats: 1, maxAge: 1s}"),
    ("[{suite: core}]}", "[{suite: core}], metrics: [step, suites.core.tokens]}"),
    ("[openai, vertex]}", '[openai, vertex], names: ["a*"], labels: {at: "16:00", early: 09:30, on-call: "yes"}}'),
    (CHOOSE, CHOOSE + "  settle: {maxWait: 365d, quiet: 1s}\n"),
    ("metric: step", "metric: evaluation.rouge_l"),
    ("better: lower", "better: lower, tie: 0"),
    (GATE, GATE + '      warn: ">= 0.89"\n'),
    (GATE, '      pass: "> 0.9"\n      warn: ">= 0.9"\n'),
    (GATE, GATE + '      warn: "<= 0.95"\n'),
    (GATE, GATE + '      warn: "<= 0.5"\n'),
    (GATE, '      pass: [">= 0.9", "<= 0.95"]\n      warn: ">= 0.9"\n'),
    (GATE, GATE + '      warn: ">= baseline"\n'),
    (GATE, '      pass: {anyOf: [">= 0.9", ">= 0.5"]}\n      warn: ">= 0.6"\n'),
    (GATE, '      pass: ">= baseline - 2%"\n      warn: ">= baseline - 0.01"\n'),
    (GATE, '      pass: "== 1"\n      warn: "!= 1"\n'),
    (GATE, GATE + "      missing: skip\n"),
    (GATE, GATE + "      missing: skip\n      required: false\n"),
    (GATE, GATE + "      missing: warn\n      required: true\n"),
    (GATE, GATE + "      comparable: []\n"),
    (GATE, '      pass: ">= 0.26"\n      confidence: {level: 0.9}\n'),
    (GATE, '      pass: "<= 0.8"\n      confidence: {level: 0.5}\n'),
    (GATE, '      pass: {anyOf: [">= 1", "<= 1"]}\n      confidence: {level: 0.9999}\n'),
    (
        CHOOSE,
        "  choose: {order: [{metric: step, better: lower}, {metric: suites.core.score, better: higher}], "
        "mustBeatCurrent: {metric: suites.core.score, by: 0.001}}\n",
    ),
    (CHOOSE, CHOOSE + "  approval: {when: never, min: 2}\n"),
    (CHOOSE, CHOOSE + "  approval: {min: 2}\n  baseline: {whenMissing: approval}\n"),
    (CHOOSE, CHOOSE + "  approval: {when: always, min: 1, from: [ana@acme.com]}\n"),
    (CHOOSE, CHOOSE + '  approval: {when: always, min: 9, from: [ana@acme.com, "*@acme.com"]}\n'),
    (CHOOSE, CHOOSE + "  pacing: {cooldown: 1s, maxPerDay: 10}\n"),
    (CHOOSE, CHOOSE + WINDOW),
    (CHOOSE, CHOOSE + WINDOW.replace("16:00", "00:00").replace("23:59", "24:00")),
    (CHOOSE, CHOOSE + WINDOW.replace("23:59", "15:59")),
    (CHOOSE, CHOOSE + DATED),
    (CHOOSE, CHOOSE + DATED.replace("2027-01-03T00:00", "2026-12-19T00:01")),
    (CHOOSE, CHOOSE + NEVER_OPEN.replace('to: "18:00"', 'to: "18:01"', 1)),
    (CHOOSE, CHOOSE + NEVER_OPEN.replace("tz: UTC", "tz: Europe/Berlin", 1)),
    (CHOOSE, CHOOSE + NEVER_OPEN + ONCE),
    (CHOOSE, CHOOSE + OPEN_IN_SUMMER),
    (
        CHOOSE,
        CHOOSE
        + "  watch: {suite: core, delay: 1s, interval: 1s, count: 1, limits: {failures: 1, inconclusive: 9}}\n",
    ),
    (GATE, '      pass: {anyOf: [">= baseline", ">= 0.5"]}\n  watch: {suite: core}\n'),
    (CHOOSE, CHOOSE + "  rollback: {triggers: [], hold: 1s, breaker: 10}\n"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new"), ALLOWED)
def test_the_last_allowed_value_loads(folders: Folders, old: str, new: str) -> None:
    assert old in POLICY
    (folders[0] / "p.yaml").write_text(POLICY.replace(old, new, 1))
    (policy,) = load_rules(*folders).policies
    assert policy_from_text(policy.text) == policy


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
    assert load_rules(*folders).policies[0].gates[0].passes == ((comparison,),)


def test_the_smallest_policy_loads_with_its_defaults(folders: Folders) -> None:
    rules = load_rules(*folders)
    (policy,) = rules.policies
    day = timedelta(hours=24)
    assert policy == Policy(
        name="prod",
        alias=AliasKey("router", "prod"),
        mode=Mode.DRY_RUN,
        select=Selector(providers=frozenset({Provider.VERTEX, Provider.OPENAI}), labels={}),
        settle=Settle(until=Until.JOB_TERMINAL, quiet=None, max_wait=day),
        evidence=(SuiteEvidence(suite="core", suite_digest=rules.suites["core"].digest, min_cases=1, max_age=None),),
        metrics=(),
        baseline=Baseline(use=BaselineUse.CURRENT, rerun=Rerun.IF_STALE, when_missing=WhenMissing.ALLOW),
        gates=(Gate(id="quality", metric="suites.core.pass_rate", passes=((Comparison(">=", ">= 0.9", 0.9),),)),),
        choose=(Criterion(metric="step", higher_is_better=False, tie=0.0),),
        must_beat=None,
        approval=Approval(
            when=ApprovalWhen.NEVER, least=1, approvers=(), not_by_trigger=True, expires=timedelta(hours=48)
        ),
        pacing=Pacing(cooldown=None, max_per_day=None),
        windows=(),
        apply=frozenset(),
        watch=None,
        rollback=RollBackUse(triggers=frozenset({Trigger.WATCH_FAILED}), hold=None, breaker=2),
        drift=DriftUse.HOLD,
        digest=policy.digest,
        text=policy.text,
    )
    assert said(folders) == []


def test_the_whole_language_becomes_the_policy_that_it_says(tmp_path: Path) -> None:
    rules = rules_of(FULL_POLICY, FULL_SUITE, tmp_path)
    (policy,) = rules.policies
    score = Criterion(metric="suites.core.score", higher_is_better=True, tie=0.01)
    assert policy == Policy(
        name="full",
        alias=AliasKey("router", "prod"),
        mode=Mode.ENFORCE,
        select=Selector(
            providers=frozenset({Provider.VERTEX}),
            labels={"team": "a"},
            base_models=frozenset({"gemini"}),
            names=("faq", "support-*"),
        ),
        settle=Settle(until=Until.JOB_TERMINAL, quiet=timedelta(minutes=10), max_wait=timedelta(seconds=90)),
        evidence=(
            SuiteEvidence(
                suite="core",
                suite_digest=rules.suites["core"].digest,
                min_cases=2,
                max_age=timedelta(days=3),
                min_repeats=2,
            ),
        ),
        metrics=("step", "suites.core.tokens"),
        baseline=Baseline(use=BaselineUse.BEST_OF_LINE, rerun=Rerun.ALWAYS, when_missing=WhenMissing.APPROVAL),
        gates=(
            Gate(
                id="quality",
                metric="suites.core.pass_rate",
                passes=((Comparison(">=", ">= 0.25", 0.25),),),
                warns=((Comparison(">=", ">= 0.2", 0.2),),),
                level=0.9,
            ),
            Gate(
                id="quick",
                metric="suites.core.latency_p95_ms",
                passes=(
                    (Comparison("<=", "<= 1500", 1500.0),),
                    (
                        Comparison("<=", "<= 3000", 3000.0),
                        Comparison("<=", "<= baseline + 20%", None, 20.0, True),
                    ),
                ),
                required=False,
                missing=Missing.WARN,
            ),
            Gate(
                id="alike",
                metric="suites.core.tags.a.regressions",
                passes=((Comparison("==", "== 0", 0.0),),),
                missing=Missing.FAIL,
            ),
            Gate(
                id="rouge",
                metric="evaluation.rouge_l",
                passes=((Comparison(">=", ">= baseline"),),),
                missing=Missing.SKIP,
                comparable=frozenset({Sameness.DATASET}),
            ),
        ),
        choose=(score, Criterion(metric="step", higher_is_better=False, tie=0.0)),
        must_beat=MustBeat(criterion=score, by=0.02),
        approval=Approval(
            when=ApprovalWhen.ON_WARN,
            least=2,
            approvers=("*@ml.acme.com", "ana@acme.com"),
            not_by_trigger=False,
            expires=timedelta(hours=12),
        ),
        pacing=Pacing(cooldown=timedelta(hours=6), max_per_day=3),
        windows=(
            Window(
                name="hours",
                kind=WindowKind.ALLOW,
                zone="Europe/Berlin",
                when=Weekly(days=frozenset({Day.MONDAY, Day.TUESDAY}), start=time(9), end=time(0)),
            ),
            Window(
                name="year-end",
                kind=WindowKind.DENY,
                zone="UTC",
                when=Dated(start=datetime(2026, 12, 19), end=datetime(2027, 1, 3, 12, 30)),  # noqa: DTZ001
            ),
        ),
        apply=frozenset({Apply.VERTEX_DEFAULT}),
        watch=WatchPlan(
            suite="core",
            delay=timedelta(minutes=1),
            interval=timedelta(minutes=5),
            count=3,
            failures=2,
            inconclusive=1,
        ),
        rollback=RollBackUse(triggers=frozenset({Trigger.ENDPOINT_GONE}), hold=timedelta(hours=2), breaker=3),
        drift=DriftUse.REVERT,
        digest=policy.digest,
        text=policy.text,
    )
    assert check(*make(tmp_path, FULL_POLICY, FULL_SUITE), datetime(2027, 1, 3, 12, 29, tzinfo=UTC)) == []


@pytest.mark.parametrize(
    ("metric", "comparable"),
    [
        ("full_valid_loss", frozenset(Sameness)),
        ("overfit_gap", frozenset(Sameness)),
        ("step", frozenset()),
        ("suites.core.score", frozenset()),
    ],
)
def test_a_loss_is_compared_over_the_same_data_and_tokens_unless_the_gate_says_otherwise(
    folders: Folders, metric: str, comparable: frozenset[Sameness]
) -> None:
    (folders[0] / "p.yaml").write_text(POLICY.replace("suites.core.pass_rate", metric))
    assert load_rules(*folders).policies[0].gates[0].comparable == comparable
    (folders[0] / "p.yaml").write_text(
        POLICY.replace("suites.core.pass_rate", f"{metric}\n      comparable: [tokenizer]")
    )
    assert load_rules(*folders).policies[0].gates[0].comparable == frozenset({Sameness.TOKENIZER})


def cases(count: int, tagged: int) -> str:
    """A suite with so many cases, of which so many have the tag `a`."""
    suite = yaml.safe_load(SUITE)
    (test,) = suite["spec"]["tests"]
    suite["spec"]["tests"] = [
        {**test, "id": f"case-{n}", "metadata": {"tags": ["a"] if n < tagged else []}} for n in range(count)
    ]
    return yaml.safe_dump(suite)


def test_confidence_asks_for_as_many_tagged_cases_as_a_limit_needs(tmp_path: Path) -> None:
    gate = 'suites.core.tags.a.pass_rate\n      pass: ">= {}"\n      confidence: {{level: 0.9}}\n'
    # Two of two passing: the lower bound is 2 / (2 + 1.645^2), so 0.4250.
    assert said(make(tmp_path, POLICY.replace(RATE, gate.format("0.4250")), cases(5, 2))) == []
    found = said(make(tmp_path, POLICY.replace(RATE, gate.format("0.4251")), cases(5, 2)))
    assert [text.partition(": ")[2] for text in found] == [
        "no result can pass the gate `quality` with 2 tagged `a` at level 0.9, tag at least 3, or lower the level"
    ]
    # Of a suite that is not there nobody knows how many have a tag.
    found = said(make(tmp_path, POLICY.replace(RATE, gate.format("1")).replace("core", "kore"), SUITE))
    assert [text.partition(": ")[2] for text in found] == ["unknown suite `kore`, did you mean `core`?"]


@pytest.mark.parametrize(("least", "count"), [(24, 1), (25, 0)])
def test_confidence_asks_for_as_many_cases_as_a_limit_needs(tmp_path: Path, least: int, count: int) -> None:
    text = POLICY.replace("{suite: core}", f"{{suite: core, minCases: {least}}}")
    found = said(make(tmp_path, text.replace(GATE, GATE + "      confidence: {level: 0.9}\n"), cases(25, 0)))
    assert len(found) == count
    assert all(text.endswith("with minCases: 24 at level 0.9, use minCases: 25") for text in found)


SILENT = [
    ("valid_loss", "vertex", "its checkpoints would be inconclusive"),
    ("overfit_gap", "vertex", "its checkpoints would be inconclusive"),
    ("slope", "vertex", "its checkpoints would be inconclusive"),
    ("is_minimum", "vertex", "its checkpoints would be inconclusive"),
    ("epoch", "openai", "its checkpoints would be inconclusive"),
    ("evaluation.rouge_l", "openai", "its checkpoints would be inconclusive"),
]


@pytest.mark.parametrize(("metric", "provider", "what"), SILENT)
def test_a_metric_that_a_provider_never_reports_is_a_warning_and_loads(
    folders: Folders, metric: str, provider: str, what: str
) -> None:
    text = POLICY.replace("metric: step", f"metric: {metric}")
    (folders[0] / "p.yaml").write_text(text)
    (finding,) = check(*folders)
    assert finding.severity == "warning"
    assert str(finding) == (
        f"policies/p.yaml:12: {provider} never reports `{metric}`: {what}, "
        "use a suite's metric, or select other providers"
    )
    assert load_rules(*folders).policies
    other = next(other for other in Provider if other != provider)
    (folders[0] / "p.yaml").write_text(text.replace("[openai, vertex]", f"[{other}]"))
    assert said(folders) == []


def test_the_days_to_a_shutdown_are_no_secret_of_vertex_where_people_write_its_dates(folders: Folders) -> None:
    text = POLICY.replace("metric: step", "metric: base_model.days_to_shutdown").replace("[openai, vertex]", "[vertex]")
    (folders[0] / "p.yaml").write_text(text)
    assert said(folders) == []


@pytest.mark.parametrize(
    ("missing", "what"),
    [("warn", "its checkpoints would warn"), ("fail", "its checkpoints would fail"), ("skip", None)],
)
def test_what_a_silent_provider_comes_to_is_what_the_gate_says_of_a_missing_metric(
    folders: Folders, missing: str, what: str | None
) -> None:
    gate = f'full_valid_loss\n      missing: {missing}\n      pass: "<= 1"'
    text = POLICY.replace('suites.core.pass_rate\n      pass: ">= 0.9"', gate)
    (folders[0] / "p.yaml").write_text(text)
    assert [f"{what}," in finding for finding in said(folders)] == ([True] if what else [])


def test_a_gate_that_every_selected_provider_would_skip_never_counts(folders: Folders) -> None:
    gate = 'full_valid_loss\n      missing: skip\n      pass: "<= 1"'
    text = POLICY.replace('suites.core.pass_rate\n      pass: ">= 0.9"', gate).replace("[openai, vertex]", "[vertex]")
    (folders[0] / "p.yaml").write_text(text)
    assert said(folders) == [
        "policies/p.yaml:10: vertex never reports `full_valid_loss`: the gate would never count, "
        "use a suite's metric, or select other providers"
    ]


@pytest.mark.parametrize(
    ("more", "asked"),
    [("", False), ('      warn: ">= 0.8"\n', True), ("      required: false\n", True), ("      missing: warn\n", True)],
)
def test_an_approval_on_a_warning_that_no_gate_can_give_is_a_warning(folders: Folders, more: str, asked: bool) -> None:
    (folders[0] / "p.yaml").write_text(POLICY.replace(GATE, GATE + more) + "  approval: {when: onWarn}\n")
    assert [(str(finding), finding.severity) for finding in check(*folders)] == (not asked) * [
        (
            "policies/p.yaml:13: approval.when is onWarn, and no gate can warn, so nobody is ever asked, "
            "give a gate a `warn`, or use when: always",
            "warning",
        )
    ]
    assert load_rules(*folders).policies


@pytest.mark.parametrize(
    ("gate", "more", "count"),
    [
        ('suites.core.pass_rate\n      pass: ">= baseline"\n', "", 1),
        ('suites.core.regressions\n      pass: "== 0"\n', "", 1),
        ('suites.core.pass_rate\n      pass: [">= baseline", ">= 0.5"]\n', "", 0),
        ('suites.core.pass_rate\n      pass: ">= baseline"\n', "  baseline: {whenMissing: block}\n", 0),
        ('suites.core.pass_rate\n      pass: ">= baseline"\n    - {id: b, metric: step, pass: "> 1"}\n', "", 0),
    ],
)
def test_a_line_that_could_never_begin_is_a_warning(folders: Folders, gate: str, more: str, count: int) -> None:
    (folders[0] / "p.yaml").write_text(POLICY.replace(RATE, gate) + more)
    assert [(str(finding), finding.severity) for finding in check(*folders)] == count * [
        (
            "policies/p.yaml:8: every gate compares with a baseline, so the first promotion of the line is "
            "inconclusive, add a gate with a number, or promote the first one by hand",
            "warning",
        )
    ]
    assert load_rules(*folders).policies


def test_a_dated_window_that_is_over_is_a_warning_once_it_is(folders: Folders) -> None:
    (folders[0] / "p.yaml").write_text(POLICY + DATED)
    end = datetime(2027, 1, 3, tzinfo=UTC)
    assert check(*folders, end - timedelta(seconds=1)) == []
    assert check(*folders) == []
    assert [(str(finding), finding.severity) for finding in check(*folders, end)] == [
        ("policies/p.yaml:13: the window `freeze` ended on 2027-01-03, move it, or remove it", "warning")
    ]
    assert load_rules(*folders).policies


def test_the_end_of_the_last_dated_allow_window_closes_for_ever(folders: Folders) -> None:
    (folders[0] / "p.yaml").write_text(POLICY + DATED.replace("deny", "allow"))
    assert [str(finding) for finding in check(*folders, datetime(2027, 1, 3, tzinfo=UTC))] == [
        "policies/p.yaml:13: the window `freeze` ended on 2027-01-03, move it, or remove it",
        "policies/p.yaml:13: no allow window is open (freeze), and none ever opens again, "
        "add a window that opens, or nothing is promoted",
    ]


def test_every_finding_of_a_file_is_told_at_once(folders: Folders) -> None:
    text = POLICY.replace("metric: step", "metric: stpe").replace(">= 0.9", "about 0.9") + "  pacing: {cooldown: 0s}\n"
    (folders[0] / "p.yaml").write_text(text)
    assert [finding.partition(", ")[0] for finding in said(folders)] == [
        "policies/p.yaml:11: 'about 0.9' is not a comparison",
        "policies/p.yaml:12: unknown metric `stpe`",
        "policies/p.yaml:13: '0s' is not a time span",
    ]


@settings(max_examples=deep(25, 300), deadline=None)
@given(st.data())
def test_a_change_of_layout_keeps_the_digest(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
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
    text = POLICY.replace("[openai, vertex]", "[vertex, openai]").replace('">= 0.9"', '{anyOf: [[">=  0.9"]]}')
    text = text.replace("[{metric: step, better: lower}]", "{order: [{metric: step, better: lower}]}")
    text += "  mode: dryRun\n  settle: {maxWait: 1440m}\n  apply: []\n  approval: {when: never, expires: 2d}\n"
    text += "  drift: hold\n  rollback: {hold: untilReleased}\n  baseline: {rerun: ifStale}\n"
    (folders[0] / "p.yaml").write_text(text)
    assert load_rules(*folders) == before


CHANGES: list[tuple[str, str]] = [
    ("name: full", "name: prod2"), ("line: router", "line: r2"), ("alias: prod", "alias: dev"),
    ("mode: enforce", "mode: dryRun"), ("mode: enforce", "mode: disabled"), ("[vertex]", "[vertex, openai]"),
    ("team: a", "team: b"), ("team: a", "group: a"), ("[gemini]", "[gemini-2]"), ("[gemini]", "[]"),
    ("support-*", "support-?"), ("quiet: 10m", "quiet: 11m"), ("quiet: 10m, ", ""), ("maxWait: 90s", "maxWait: 91s"),
    ("minCases: 2", "minCases: 1"), ("minRepeats: 2", "minRepeats: 1"), ("maxAge: 3d", "maxAge: 4d"),
    (", maxAge: 3d", ""), ("tokens, step", "tokens, epoch"), ("use: bestOfLine", "use: current"),
    ("rerun: always", "rerun: never"), ("whenMissing: approval", "whenMissing: block"), ("id: quality", "id: q2"),
    (">= 0.25", ">= 0.26"), (">= 0.25", "> 0.25"), ('[">= 0.2"]', '[">= 0.1"]'), ('      warn: [">= 0.2"]\n', ""),
    ("level: 0.9", "level: 0.8"), (', "<= baseline + 20%"', ""), ("20%", "20"), ('"<= 1500", ', ""),
    ("required: false", "required: true"), ("missing: warn", "missing: inconclusive"),
    ("missing: fail", "missing: inconclusive"), ("tags.a", "tags.b"), ("[dataset]", "[dataset, tokenizer]"),
    (", comparable: [dataset]", ""), ("score, better: higher", "score, better: lower"), ("tie: 0.01", "tie: 0.02"),
    ("by: 0.02", "by: 0.03"), ("    mustBeatCurrent: {by: 0.02}\n", ""), ("when: onWarn", "when: always"),
    ("min: 2", "min: 1"), ("ana@", "bo@"), ("notBy: [], ", ""), ("expires: 12h", "expires: 13h"),
    ("cooldown: 6h", "cooldown: 7h"), ("maxPerDay: 3", "maxPerDay: 4"), ("name: hours", "name: day"),
    ("kind: allow", "kind: deny"), ("Europe/Berlin", "Europe/Paris"), ("[mon, tue]", "[mon]"),
    ('"09:00"', '"09:01"'), ('"24:00"', '"23:59"'), ("12-19T00:00", "12-19T00:01"), ("01-03T12:30", "01-03T12:31"),
    ("  apply: [vertexDefault]\n", ""), ("delay: 1m", "delay: 2m"), ("interval: 5m", "interval: 6m"),
    ("count: 3", "count: 4"), ("failures: 2", "failures: 1"), ("inconclusive: 1", "inconclusive: 2"),
    ("[endpointGone]", "[endpointGone, watchFailed]"), ("hold: 2h", "hold: untilReleased"),
    ("breaker: 3", "breaker: 4"), ("drift: revert", "drift: adopt"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new"), CHANGES)
def test_a_change_of_a_value_changes_the_digest_and_nothing_of_the_suite(tmp_path: Path, old: str, new: str) -> None:
    before = rules_of(FULL_POLICY, FULL_SUITE, tmp_path)
    assert old in FULL_POLICY
    after = rules_of(FULL_POLICY.replace(old, new, 1), FULL_SUITE, tmp_path)
    assert after.policies[0].digest != before.policies[0].digest
    assert after.digest != before.digest
    assert after.suites == before.suites
    assert policy_from_text(after.policies[0].text) == after.policies[0]


@settings(max_examples=deep(60, 2000), deadline=None)
@given(policy_files())
def test_the_text_of_any_policy_builds_it_again(file: dict[str, Any]) -> None:
    policy = policy_of(file)
    assert policy_from_text(policy.text) == policy


@settings(max_examples=deep(25, 500), deadline=None)
@given(policy_files())
def test_any_policy_reads_from_yaml_as_it_was_meant(
    tmp_path_factory: pytest.TempPathFactory, file: dict[str, Any]
) -> None:
    folders = make(tmp_path_factory.mktemp("rules"), yaml.safe_dump(file), yaml.safe_dump(dict(SUITE_FILES[0])))
    (folders[1] / "t.yaml").write_text(yaml.safe_dump(dict(SUITE_FILES[1])))
    assert load_rules(*folders).policies == (policy_of(file),)
