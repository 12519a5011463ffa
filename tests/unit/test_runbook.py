"""What the runbook says at 3 a.m. is true: its commands parse, its events exist, and alerts find its sections."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.main import get_command

from ratchet.domain.keys import AliasKey, CheckpointKey
from ratchet.domain.topology import SUBSCRIBERS, subscription
from ratchet.log import Event
from ratchet_cli.main import app

RUNBOOK = (Path(__file__).parents[2] / "infra" / "RUNBOOK.md").read_text()
PREAMBLE, *CHAPTERS = re.split(r"^## (?=[0-9]+\. )", RUNBOOK, flags=re.MULTILINE)
SECTIONS = {title: body for title, _, body in (chapter.partition("\n") for chapter in CHAPTERS)}
PARTS = ["Meaning", "Impact", "First three commands", "Decide", "Verify", "Escalate"]
# Alerts link these: a heading that is worded anew breaks them.
ANCHORS = [
    "1-dead-letters-and-replay",
    "2-queue-age",
    "3-webhook-rejects-and-secret-rotation",
    "4-stuck-intent",
    "5-drift-foreign-stale-gone",
    "6-roll-back-a-default",
    "7-hold-and-release-promotions",
    "8-provider-outage-or-key-revoked",
    "9-smoke-inconclusive-storm",
    "10-store-outage-and-recovery-order",
    "11-invariant-monitor-fired",
    "12-cost-cap",
    "13-suspected-forgery-or-leak",
    "14-bad-deploy",
    "15-region-loss",
    "16-canary-failed",
    "17-promotions-that-want-a-person",
    "18-heartbeat-missing-or-a-timer-is-stuck",
]
SAMPLES = {
    "LINE@ALIAS": "support-router@prod",
    "CHECKPOINT": "vertex:123456789012:us-central1:8812/3",
    "d-PREFIX": "d-9c3e10",
    "TIME": "2026-11-22T14:30Z",
}
# typer brings a click of its own, whose errors it does not all name.
USAGE_ERROR: Any = typer.BadParameter.__mro__[1]
CATALOGUE = {event.label for event in Event}
# A file's name is no event, though it has the form of one.
FILES = {"ratchet.yaml", "anchors.json", "history.jsonl"}
# Of a setting: `key.key`.
KEYS = {"run.concurrency", "run.budget", "run.repeats", "rollback.triggers"}


def blocks(text: str) -> list[list[str]]:
    """The lines of each block of commands, without comments."""
    found = re.findall(r"^```sh\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    return [[line for line in block.splitlines() if line.strip()] for block in found]


def spans(text: str) -> list[str]:
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    assert prose.count("`") % 2 == 0
    return re.findall(r"`([^`]+)`", prose)


def code(text: str) -> list[str]:
    return [*spans(text), *(line for block in blocks(text) for line in block)]


COMMANDS = sorted({line for line in code(RUNBOOK) if line.startswith("ratchet ")})


def parsed(line: str) -> dict[str, Any]:
    """The parameters as the real command parses them; nothing is invoked. Raises: USAGE_ERROR."""
    _, *words = shlex.split(line, comments=True)
    command: Any = get_command(app)
    arguments = [SAMPLES.get(word, word) for word in words]
    while hasattr(command, "commands"):
        name = arguments.pop(0)
        if name not in command.commands:
            raise USAGE_ERROR(f"no such command: {name}")
        command = command.commands[name]
    given: dict[str, Any] = command.make_context(command.name, arguments).params
    return given


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_parses(line: str) -> None:
    given = parsed(line)
    if given.get("alias") is not None:
        AliasKey.parse(given["alias"])
    if given.get("checkpoint") is not None:
        CheckpointKey.parse(given["checkpoint"])
    # What the commands check for themselves, once they run.
    if "every" in given and "alias" in given:
        assert (given["alias"] is None) is given["every"]
    if "ids" in given:
        assert bool(given["ids"]) is not (given["reason"] is not None or given["since"] is not None)
    if "target" in given:
        assert (given["checkpoint"] is None) is not (given["target"] is None)


@pytest.mark.parametrize(
    "line",
    ["ratchet unhold LINE@ALIAS", "ratchet hold LINE@ALIAS", "ratchet status --since 1d", "ratchet dead-letters purge"],
)
def test_a_command_that_does_not_exist_is_found_out(line: str) -> None:
    with pytest.raises(USAGE_ERROR):
        parsed(line)


def test_there_are_commands_to_parse() -> None:
    assert len(COMMANDS) > 30
    assert {line.split()[1] for line in COMMANDS} >= {"status", "why", "hold", "release", "rollback", "promote"}


def test_every_event_that_it_names_is_in_the_catalogue() -> None:
    named = {span for span in spans(RUNBOOK) if re.fullmatch(r"[a-z]+\.[a-z_]+", span)} - FILES - KEYS
    filtered = set(re.findall(r'"([a-z]+\.[a-z_]+)"', "\n".join(code(RUNBOOK))))
    assert named | filtered <= CATALOGUE, (named | filtered) - CATALOGUE
    assert filtered


def test_every_event_that_wants_a_person_is_explained_in_a_section() -> None:
    explained = {span for body in SECTIONS.values() for span in spans(body)}
    wanted = {event.label for event in Event if event.wants_person}
    assert wanted <= explained, wanted - explained


def test_the_index_leads_each_event_that_wants_a_person_to_a_section_that_names_it() -> None:
    bodies = dict(zip(ANCHORS, SECTIONS.values(), strict=True))
    led = {}
    for row in re.findall(r"^\| (`[a-z]+\.[a-z_]+`.*) \| (\[.*) \|$", PREAMBLE, flags=re.MULTILINE):
        for event in re.findall(r"`([^`]+)`", row[0]):
            led[event] = re.findall(r"\(#([^)]+)\)", row[1])
    assert set(led) == {event.label for event in Event if event.wants_person}
    for event, anchors in led.items():
        assert anchors
        for anchor in anchors:
            assert f"`{event}`" in bodies[anchor], (event, anchor)


def slug(heading: str) -> str:
    """As the hosts of Markdown make a heading's anchor."""
    return re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-")


def test_the_anchors_are_those_that_alerts_link() -> None:
    assert [slug(title) for title in SECTIONS] == ANCHORS


def test_every_link_within_it_leads_to_the_section_of_that_number() -> None:
    for text, anchor in re.findall(r"\[([^]]+)\]\(#([^)]+)\)", RUNBOOK):
        assert anchor in ANCHORS
        assert anchor.split("-")[0] == text


@pytest.mark.parametrize("title", SECTIONS)
def test_each_section_has_its_six_parts_in_order(title: str) -> None:
    body = SECTIONS[title]
    assert re.findall(r"^\*\*([^*]+)\.\*\*", body, flags=re.MULTILINE) == PARTS
    texts = re.split(r"^\*\*[^*]+\.\*\*", body, flags=re.MULTILINE)[1:]
    assert all(text.strip() for text in texts)
    commands, decide = texts[2], texts[3]
    (first,) = blocks(commands)
    assert len(first) == 3
    assert all(line.split()[0] in ("ratchet", "gcloud") for line in first)
    steps = [int(number) for number in re.findall(r"^([0-9]+)\. ", decide, flags=re.MULTILINE)]
    assert steps == list(range(1, len(steps) + 1))
    assert len(steps) > 1


def test_commands_stand_where_the_test_sees_them() -> None:
    outside = re.sub(r"`[^`]+`", "", re.sub(r"^```.*?^```", "", RUNBOOK, flags=re.DOTALL | re.MULTILINE))
    assert not re.search(r"\b(ratchet [a-z-]+ |gcloud [a-z]+ )", outside)
    assert not [line for line in code(RUNBOOK) if "\n" in line], "a command is one line, to be copied"


def test_the_subscriptions_have_the_names_that_they_are_made_with() -> None:
    names = {subscription(topic) for topic in SUBSCRIBERS}
    assert names <= set(spans(PREAMBLE)), names - set(spans(PREAMBLE))
    used = re.findall(r"gcloud pubsub subscriptions [a-z-]+ (\S+)", "\n".join(code(RUNBOOK)))
    assert set(used) <= names | {"SUBSCRIPTION"}
