"""Verdicts and scores equal promptfoo's own, on generated pairs of an assertion and an answer.

Another search: `pytest tests/contract/test_promptfoo.py --promptfoo-seed 7`. What differs on purpose is in README.md.
"""

import hashlib
import json
import random
import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from statistics import fmean
from typing import Any

import pytest
from rapidfuzz.distance import Levenshtein

from ratchet.adapters.assertions.grade import KINDS, grade
from ratchet.adapters.assertions.javascript import units
from ratchet.adapters.assertions.likeness import bleu, gleu, rouge_1
from ratchet.adapters.assertions.tool_calls import VALID_CALLS
from ratchet.domain.records import CaseOutcome
from ratchet.ports import Answer, Finish
from support.policies import case_of
from support.promptfoo.oracle import judged, missing

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())

PAIRS = 40
"""Of each type and polarity."""


class Chance(random.Random):
    """`hit`: whether the pair to be made should hold. Half of them should, or little is shown."""

    hit = True

    @classmethod
    def of(cls, name: str, n: int) -> "Chance":
        made = cls(f"{name} {n}")
        made.hit = n % 2 == 0
        return made


Pair = tuple[dict[str, Any], dict[str, Any]]
Make = Callable[[Chance], tuple[dict[str, Any], str]]

WORDS = """
    the cat sat on a mat and can't see the dog's “bone” at 7:30, isn't it? Gonna tell U.S. folks: 1,000 (or so) pieces;
    Ärger mit Straße — naïve coöperation … 日本語 テキスト 😀 e.g. it's “so-called” 'quoted' "double" well--known $5.00
    cannot wanna 'twas I'm sorry A.B. end.
""".split()  # noqa: SIM905


def some(chance: Chance, least: int = 1, most: int = 9) -> str:
    return " ".join(chance.choice(WORDS) for _ in range(chance.randint(least, most)))


def near(chance: Chance, text: str, changes: int) -> str:
    """The text, so many words or letters of it changed."""
    for _ in range(changes):
        words = text.split(" ")
        n = chance.randrange(len(words))
        match chance.randrange(4):
            case 0:
                words[n] = chance.choice(WORDS)
            case 1:
                words.insert(n, chance.choice(WORDS))
            case 2 if len(words) > 1:
                del words[n]
            case _:
                words[n] = words[n].swapcase() + chance.choice(["", ".", "x"])
        text = " ".join(words)
    return text or "x"


def either(chance: Chance, yes: str, no: str) -> str:
    return yes if chance.hit else no


def equals(chance: Chance) -> tuple[dict[str, Any], str]:
    value = chance.choice([
        some(chance), chance.randint(-5, 10**6), chance.choice([1.5, 1e21, 1e-7, -0.0, 2.0]), True, None,
        {"a": chance.randint(0, 2), "b": [1.0, some(chance)]}, [1, {"x": None}],
    ])  # fmt: skip
    said = value if isinstance(value, str) else json.dumps(value, ensure_ascii=chance.random() < 0.5)
    if not chance.hit:
        said = chance.choice([said + " ", said.upper(), said.replace("1", "2"), f"[{said}]", "{}"])
    return {"value": value}, said


def contains(chance: Chance, *, fold: bool) -> tuple[dict[str, Any], str]:
    value = chance.choice([some(chance, 1, 2), chance.randint(1, 99), 2.50])
    text = str(value) if not isinstance(value, float) else "2.5"
    held = f"{some(chance)} {text} {some(chance)}"
    return {"value": value}, either(chance, held.swapcase() if fold else held, "x".join(some(chance)))


def several(chance: Chance, *, fold: bool, every: bool) -> tuple[dict[str, Any], str]:
    wanted = [chance.choice([some(chance, 1, 2).replace('"', ""), str(chance.randint(1, 99))]) for _ in range(3)]
    value = chance.choice([
        wanted,
        ", ".join(f'"{word}"' for word in wanted),
        ",,".join(word.replace(",", "") for word in wanted),
    ])  # fmt: skip
    few = wanted[: chance.randint(1, 2)]
    said = either(chance, "; ".join(wanted) if every else few[0], " ".join(few) if every else "xyz")
    return {"value": value}, chance.choice([said, said, said.swapcase()]) if fold else said


def starts_with(chance: Chance) -> tuple[dict[str, Any], str]:
    value = some(chance, 1, 2)
    said = either(chance, chance.choice([value + " and so on", value]), chance.choice([" " + value, "x" + value]))
    return {"value": value}, said


REGEXES = [
    (r"\d{3}", "call 112", "call 11"), (r"^\d{3}$", "112", "112\n"), (r"a\sb", "a\u00a0b", "a\x1cb"),
    (r"a\Sb", "a\x1cb", "a\ufeffb"), (r"[\s\S]x", "\u2028x", "x"), (r"^[^\s]$", "\u200b", "\u2003"),
    (r"a.b", "axb", "a\u2028b"), (r"^..$", "😀", "x"), (r"^.$", "é", "😀"), (r"(?<y>\d{4})-\d\d", "2026-11", "26-11"),
    (r"[\w-.]+@x", "a-b.c@x", "@x"), (r"^[^]$", "\n", ""), (r"\bword\b", "a word.", "swords"),
    (r"\u0041\x42", "AB", "ab"),
    (r"(a+)+b", "aaab", "aaaa"), (r"x{2,3}?y", "xxy", "xy"), (r"[[a]", "[", "b"), (r"a{,2}", "a{,2}", "aa"),
    (r"\$5\.00", "$5.00", "5.00"), (r"[😀]", "😀", "é"), (r"tab\there", "tab\there", "tab here"),
    (r"[\b]", "\x08", "b"),
    (r"^(yes|no)$", "no", "maybe"), (r"\w\W\d\D", "a-1x", "é-1x"), (r"a$|^b", "ca", "cab "),
    (r"\/path\-x", "/path-x", "path"),
]  # fmt: skip


def regex(chance: Chance) -> tuple[dict[str, Any], str]:
    source, yes, no = chance.choice(REGEXES)
    return {"value": source}, either(chance, yes, no or "-")


SCHEMAS: list[tuple[Any, list[Any], list[Any]]] = [
    (None, [{"a": 1}], []),
    ({"type": "object", "required": ["a"]}, [{"a": 1}], [{"b": 1}]),
    ({"type": "object", "properties": {"n": {"type": "integer", "minimum": 2}}}, [{"n": 2.0}, {}],
     [{"n": 1}, {"n": 2.5}]),
    ({"properties": {"s": {"type": "string", "pattern": "^a+$", "maxLength": 3}}}, [{"s": "aa"}],
     [{"s": "ab"}, {"s": "aaaa"}]),
    ({"properties": {"k": {"enum": ["x", 1, None]}}}, [{"k": None}, {"k": 1.0}], [{"k": "y"}]),
    ({"additionalProperties": False, "properties": {"a": {}}}, [{"a": []}], [{"b": 0}]),
    ({"anyOf": [{"required": ["a"]}, {"required": ["b"]}]}, [{"b": 1}], [{"c": 1}]),
    ({"properties": {"d": {"type": "string", "format": "date"}}}, [{"d": "2026-11-26"}], [{"d": "26.11.2026"}]),
    ({"properties": {"l": {"type": "array", "items": {"type": "string"}, "uniqueItems": True}}}, [{"l": ["a"]}],
     [{"l": ["a", "a"]}, {"l": [1]}]),
    ("type: object\nrequired: [a]", [{"a": 1}], [{"b": 1}]),
]  # fmt: skip


def is_json(chance: Chance) -> tuple[dict[str, Any], str]:
    schema, good, bad = chance.choice(SCHEMAS)
    value = chance.choice(good if chance.hit or not bad else bad)
    said = json.dumps(value, indent=chance.choice([None, 2]))
    if not chance.hit and (not bad or chance.random() < 0.3):
        said = chance.choice([said[:-1], said + ",", "```json\n" + said + "\n```", "NaN", "nope"])
    return ({"value": schema} if schema else {}), said


def contains_json(chance: Chance) -> tuple[dict[str, Any], str]:
    schema, good, bad = chance.choice(SCHEMAS)
    value = chance.choice(good if chance.hit or not bad else bad)
    said = json.dumps(value)
    around = ["Here: {}", "```json\n{}\n```", "{} and {}", "not this (, but {}", "{}", "} {} }"]
    said = chance.choice(around).replace("{}", said)
    if chance.hit and chance.random() < 0.2:
        said = f"It was cut: {json.dumps(value)[:-1]}"
    if not chance.hit and (not bad or chance.random() < 0.3):
        said = chance.choice(["none at all", "[1, 2]", "{a word}?"[1:]])
    return ({"value": schema} if schema else {}), said


def levenshtein(chance: Chance) -> tuple[dict[str, Any], str]:
    value = some(chance, 2, 5)
    off = chance.randint(1, 9)
    said = list(value)
    for _ in range(off):
        said.insert(chance.randrange(len(said)), chance.choice(string.ascii_letters + "😀"))
    text = "".join(said)
    distance = Levenshtein.distance(units(text), units(value))
    limit = distance + chance.choice([0, 0.5, 1] if chance.hit else [-1, -0.5])
    bare = (distance <= 5) is chance.hit and chance.random() < 0.5
    return {"value": value} | ({} if bare or limit < 0 else {"threshold": limit}), text


def like(measure: Callable[[str, Sequence[str]], float], least: float, *, many: bool) -> Make:
    def make(chance: Chance) -> tuple[dict[str, Any], str]:
        reference = some(chance, 5, 14)
        said = near(chance, reference, chance.choice([0, 1, 2] if chance.hit else [1, 2, 3, 5]))
        references = [some(chance, 3, 9), reference] if many and chance.random() < 0.4 else [reference]
        score = measure(said, references)
        threshold = score + chance.choice([-0.01, -0.1] if chance.hit else [0.01, 0.1])
        bare = (score >= least) is chance.hit
        value = references if len(references) > 1 else reference
        return {"value": value} | ({} if bare or not 0 <= threshold <= 1 else {"threshold": threshold}), said

    return make


def word_count(chance: Chance) -> tuple[dict[str, Any], str]:
    said = chance.choice(["", " ", "\u00a0"]) + some(chance, 1, 12) + chance.choice(["", "\n\n", "\x1c"])
    count = len(said.replace("\x1c", "x").split())
    if chance.hit:
        value = chance.choice([count, str(count), {"min": count}, {"max": count}, {"min": count - 1, "max": count}])
    else:
        value = chance.choice([count + 1, str(count - 1), {"min": count + 1}, {"max": count - 1}])
    return {"value": value}, said


REFUSED = [
    "I'm sorry, but no.", "Sorry, no", "  i cannot say", "My apologies", "Well, as an AI model I think",
    "It is illegal to", "I’m unable to help", "We can't help", "No. I won't suggest that", "I don't recommend it",
    "It would be not appropriate", "I aim to provide", "that would not be appropriate", "I am really sorry",
    "I do not actually recommend it",
]  # fmt: skip
SERVED = [
    "The answer is 4.", "I can help with that", "unsorry", "can't helper", "I can't suggest otherwise",
    "I don't create",
    "It's legal", "I won't recommend", "He is not ethicalish", "Apologies", "I was sorry", "as a model",
    "I'm notable to",
]  # fmt: skip


def is_refusal(chance: Chance) -> tuple[dict[str, Any], str]:
    return {}, chance.choice(REFUSED if chance.hit else SERVED)


def finish_reason(chance: Chance) -> tuple[dict[str, Any], str]:
    return {"value": chance.choice(["stop", "STOP"] if chance.hit else ["length", "Length"])}, "done"


def latency(chance: Chance) -> tuple[dict[str, Any], str]:
    return {"threshold": chance.choice([100, 101, 100.0] if chance.hit else [99, 50.5, 99.9])}, "done"


def cost(chance: Chance) -> tuple[dict[str, Any], str]:
    return {"threshold": chance.choice([0.002, 0.0021] if chance.hit else [0.0019, 0.00199])}, "done"


LOGPROBS = [-0.1, -0.7, -0.4]
"""Their mean is -0.4: a perplexity of 1.4918, and a score of 0.4013."""


def perplexity(chance: Chance) -> tuple[dict[str, Any], str]:
    return {"threshold": chance.choice([1.4919, 1.5, 40] if chance.hit else [1.4918, 1, 0.3])}, "done"


def perplexity_score(chance: Chance) -> tuple[dict[str, Any], str]:
    return {"threshold": chance.choice([0.4013, 0.4, 0.01] if chance.hit else [0.4014, 0.5, 1])}, "done"


DOCUMENTS = [
    ("<a/>", []), ("<a><b>1</b></a>", ["a.b", "a"]), ("<a><b>1</b><b>2</b></a>", ["a.b.1", "a.b"]),
    ('<a x="1">t<b/></a>', ["a.@_x", "a.b", "a.#text"]), ('<?xml version="1.0"?>\n<r><i>é 😀</i></r>', ["r.i"]),
    ('<a:b xmlns:a="u"><a:c/></a:b>', ["a:b.a:c"]), ("<!-- c --><a>&amp;<![CDATA[<z>]]></a>", ["a"]),
    ("<!DOCTYPE a><a/>", ["a"]), ("<a><b><c><d>1</d></c></b><b/></a>", ["a.b.0.c.d"]),
]  # fmt: skip
BROKEN = [
    "", "plain", "<a>", "<a></b>", "<a><b></a></b>", "<a/><b/>", "a <b/>", "<a x=1/>", "<p:a/>", "<a>&nope;</a>",
    "<a b='<'/>", "<!DOCTYPE a [<!ENTITY e 'x'>]><a>&e;</a>", "<1a/>", "<a x='1' x='2'/>", "{}",
]  # fmt: skip


def is_xml(chance: Chance) -> tuple[dict[str, Any], str]:
    text, paths = chance.choice(DOCUMENTS)
    if chance.hit:
        required = chance.choice([[], paths[:1], paths])
    elif chance.random() < 0.5:
        text, required = chance.choice(BROKEN), []
    else:
        required = [*paths, chance.choice(["zz", "a.zz", "a.b.9", "a.b.c.d.e"])]
    value = chance.choice([required, ", ".join(required), {"requiredElements": required}])
    return ({"value": value} if required else {}), text


def contains_xml(chance: Chance) -> tuple[dict[str, Any], str]:
    written, text = is_xml(chance)
    around = ["{}", "Here: {} done", "```xml\n{}\n```", "3 < 4 and {}", "<br> {} and </i>", "<!-- {} no --> {}"]
    if not chance.hit and "value" not in written:
        return {}, chance.choice(["none", "a < b > c", "<open>", "</close>", "<1/>", "x <!-- <a/> --> y", "<>", "{}"])
    return written, chance.choice(around).replace("{}", text.partition("?>\n")[2] or text)


PAGES = [
    "<p>hi</p>", "<div class='a'><b>x</b></div>", "<!DOCTYPE html><html><body>plain</body></html>",
    "<my-tag>x</my-tag>", "<br>",
    "<ul><li>1<li>2</ul>", "<html></html>", "<table><tr><td>1</table>", "  <h1>T</h1>\n<p>x", "<svg></svg>",
    "<head><title>x</title></head>", "<P>upper</P>",
]  # fmt: skip
NO_PAGES = [
    "plain", "a <b>bold</b> word", "<foo>x</foo>", "<?xml version='1.0'?><p/>", "<p>x</p> tail", "1 < 2 > 0", "<>",
    "&amp;", "# heading", '{"a": 1}', "<!-- only -->",
]  # fmt: skip


def is_html(chance: Chance) -> tuple[dict[str, Any], str]:
    return {}, chance.choice(PAGES if chance.hit else NO_PAGES)


SOME_HTML = [
    "see <p>this</p>",
    "<div>",
    "x <!-- a --> &amp; y",
    "<foo>x</foo>",
    "a <br/> b",
    "<x a='1'>",
    "&lt; <!DOCTYPE html>",
]
NO_HTML = ["plain", "a < b", "&amp;", "<!-- c -->", "x = 'y'", "<foo>", "</foo>", "a@b.c", "1 <2> 3"]


def contains_html(chance: Chance) -> tuple[dict[str, Any], str]:
    return {}, chance.choice(SOME_HTML if chance.hit else NO_HTML)


CALLS: Sequence[Callable[[Sequence[str]], Any]] = (
    lambda names: {"tool_calls": [{"function": {"name": name, "arguments": "{}"}} for name in names]},
    lambda names: [{"function": {"name": name}} for name in names],
    lambda names: [{"name": name} for name in names],
    lambda names: [{"type": "tool_use", "name": name} for name in names],
    lambda names: [{"functionCall": {"name": name}} for name in names],
    lambda names: {"toolCall": {"functionCalls": [{"name": name} for name in names]}},
    lambda names: {"functionCall": {"name": names[0]}} if names else {"functionCall": {}},
    lambda names: {"tool_calls": [{"name": name} for name in names]},
)


def tool_call_f1(chance: Chance) -> tuple[dict[str, Any], str]:
    wanted = chance.sample(["search", "book", "pay", "7"], chance.randint(1, 3))
    called = wanted if chance.hit else chance.choice([wanted[1:], [*wanted, "other"], ["other"], []])
    call = chance.choice(CALLS)
    if chance.hit and len(wanted) > 1:
        call = chance.choice(CALLS[:6])
    said = json.dumps(call(called))
    said = chance.choice([said, f"I will call:\n{said}\nnow", json.dumps(said)])
    threshold = chance.choice([{}, {"threshold": 1}]) if chance.hit else chance.choice([{}, {"threshold": 0.9}])
    return {"value": chance.choice([wanted, ", ".join(wanted)])} | threshold, said


TOOLS: Sequence[tuple[dict[str, Any], Sequence[Any], Sequence[Any]]] = (
    ({"type": "object"}, [{}, {"a": 1}], [[], "a", 1]),
    ({"type": "object", "required": ["city"], "properties": {"city": {"type": "string"}}},
     [{"city": "Köln"}, {"city": "", "b": None}], [{}, {"city": 7}]),
    ({"type": "object", "additionalProperties": False, "properties": {"n": {"type": "integer", "minimum": 2}}},
     [{"n": 2.0}, {}], [{"n": 1}, {"m": 2}]),
    ({"type": "object", "properties": {"unit": {"enum": ["C", "F"]}}}, [{"unit": "F"}], [{"unit": "K"}]),
)  # fmt: skip


def valid_tools_call(chance: Chance) -> tuple[dict[str, Any], Any]:
    """The answer is what OpenAI's provider makes of one: the calls, or the message with what was said beside them."""
    names = chance.sample(["search", "book", "pay"], chance.randint(1, 3))
    offered = {name: chance.choice(TOOLS) for name in names}
    called = chance.sample(names, chance.randint(1, len(names)))
    arguments = {name: json.dumps(chance.choice(offered[name][1])) for name in called}
    calls = [{"type": "function", "function": {"name": n, "arguments": a}} for n, a in arguments.items()]
    made: Any = chance.choice([calls, {"content": some(chance), "tool_calls": calls}])
    if not chance.hit:
        bad, wrong = calls[-1]["function"], offered[called[-1]][2]
        match chance.randrange(6):
            case 0:
                bad["arguments"] = json.dumps(chance.choice(wrong))
            case 1:
                bad["name"] = "other"
            case 2:
                bad["arguments"] = bad["arguments"][:-1]
            case 3:
                calls[-1] = chance.choice([{"name": bad["name"], "arguments": "{}"}, {"function": None}, 7])
            case 4:
                bad["arguments"] = {}
            case _:
                made = chance.choice([some(chance), json.dumps(calls)])
    tools = [{"type": "function", "function": {"name": n, "parameters": s}} for n, (s, _, _) in offered.items()]
    return {"tools": tools}, made


MAKERS: Mapping[str, Make] = {
    VALID_CALLS: valid_tools_call,
    "equals": equals,
    "contains": partial(contains, fold=False),
    "icontains": partial(contains, fold=True),
    "contains-all": partial(several, fold=False, every=True),
    "contains-any": partial(several, fold=False, every=False),
    "icontains-all": partial(several, fold=True, every=True),
    "icontains-any": partial(several, fold=True, every=False),
    "starts-with": starts_with,
    "regex": regex,
    "is-json": is_json,
    "contains-json": contains_json,
    "levenshtein": levenshtein,
    "bleu": like(bleu, 0.5, many=True),
    "gleu": like(gleu, 0.5, many=True),
    "rouge-n": like(lambda said, references: rouge_1(said, references[0]), 0.75, many=False),
    "word-count": word_count,
    "is-refusal": is_refusal,
    "finish-reason": finish_reason,
    "perplexity": perplexity,
    "perplexity-score": perplexity_score,
    "latency": latency,
    "cost": cost,
    "is-xml": is_xml,
    "contains-xml": contains_xml,
    "is-html": is_html,
    "contains-html": contains_html,
    "tool-call-f1": tool_call_f1,
}


TYPES = [f"{not_}{base}" for base in MAKERS for not_ in ("", "not-") if not_ + base != f"not-{VALID_CALLS}"]
"""One is refused with `not-`, since promptfoo reads it as if that were not there."""


def one(chance: Chance, type_: str) -> Pair:
    written, output = MAKERS[type_.removeprefix("not-")](chance)
    tools = written.pop("tools", [])
    said = {"output": output, "latencyMs": 100, "finishReason": "stop", "cost": 0.002, "tools": tools}
    said |= {"logProbs": LOGPROBS}
    return {"type": type_, **written}, said


def pairs(seed: int, type_: str) -> list[dict[str, Any]]:
    """As judge.mjs reads them; each its own chance, so that one more of a type leaves the others alone."""
    found = []
    for n in range(PAIRS):
        assertion, said = one(Chance.of(f"{seed} {type_}", n), type_)
        found.append({"assert": [assertion], **said})
    return found


def together(seed: int, n: int) -> dict[str, Any]:
    """A case of several assertions on one answer: weights, metrics, sets, thresholds."""
    chance = Chance.of(f"{seed} together", n)
    text = some(chance, 3, 9)

    def single() -> dict[str, Any]:
        word = chance.choice(text.split(" "))
        item: dict[str, Any] = chance.choice([
            {"type": "contains", "value": word}, {"type": "not-contains", "value": "nowhere"},
            {"type": "equals", "value": "nothing"}, {"type": "not-icontains", "value": word},
            {"type": "rouge-n", "value": near(chance, text, 2)}, {"type": "not-bleu", "value": near(chance, text, 3)},
            {"type": "word-count", "value": {"min": 4}},
        ])  # fmt: skip
        return item | weight() | metric()

    def weight() -> dict[str, Any]:
        return chance.choice([{}, {}, {"weight": 0}, {"weight": 2}, {"weight": 0.5}])

    def metric() -> dict[str, Any]:
        return chance.choice([{}, {}, {"metric": "tone"}, {"metric": "facts"}])

    def threshold() -> dict[str, Any]:
        return chance.choice([{}, {}, {"threshold": 0.5}, {"threshold": 1}, {"threshold": 0.25}])

    asserts = []
    for _ in range(chance.randint(1, 4)):
        if chance.random() < 0.35:
            of = [single() for _ in range(chance.randint(1, 3))]
            asserts.append({"type": "assert-set", "assert": of} | threshold() | weight() | metric())
        else:
            asserts.append(single())
    return {"assert": asserts, "output": text, "latencyMs": 100} | threshold()


def ours(case: Mapping[str, Any]) -> dict[str, Any]:
    made = case_of({key: case[key] for key in ("assert", "threshold") if key in case}, case.get("tools", []))
    called = not isinstance(case["output"], str)
    text = json.dumps(case["output"]) if called else case["output"]
    sha256 = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    answer = Answer(0, text, Finish.STOP, sha256, case["latencyMs"], 1, 1, case.get("cost"), called, fmean(LOGPROBS))
    found = grade(made, answer)
    passed = found.outcome in (CaseOutcome.PASS, CaseOutcome.UNJUDGED)
    return {"pass": passed, "score": found.score, "metrics": dict(found.metrics)}


Asked = dict[str, list[tuple[dict[str, Any], dict[str, Any]]]]


@pytest.fixture(scope="module")
def asked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Asked:
    """By type, what promptfoo was asked and what it said: one process for all."""
    seed = request.config.getoption("--promptfoo-seed")
    groups = {type_: pairs(seed, type_) for type_ in TYPES}
    groups["together"] = [together(seed, n) for n in range(400)]
    flat: Sequence[dict[str, Any]] = [case for group in groups.values() for case in group]
    said: Iterable[dict[str, Any]] = iter(judged(flat, tmp_path_factory.mktemp("promptfoo")))
    return {name: [(case, next(iter(said))) for case in group] for name, group in groups.items()}


def test_each_type_is_compared() -> None:
    assert MAKERS.keys() == KINDS.keys()


@pytest.mark.parametrize("type_", [*TYPES, "together"])
def test_verdicts_and_scores_equal_promptfoos(asked: Asked, type_: str) -> None:
    differ = []
    for case, theirs in asked[type_]:
        assert "error" not in theirs, (case, theirs)
        mine = ours(case)
        if mine["pass"] is not theirs["pass"] or mine["metrics"] != pytest.approx(theirs["metrics"], abs=1e-6) or (
            mine["score"] != pytest.approx(theirs["score"], abs=1e-6)
        ):  # fmt: skip
            differ.append((case, theirs, mine))
    assert not differ, f"{len(differ)} of {len(asked[type_])}, such as {differ[0]}"
    failed = sum(not theirs["pass"] for _, theirs in asked[type_]) / len(asked[type_])
    assert 0.3 <= failed <= 0.7, f"{failed:.0%} fail, which shows little"
