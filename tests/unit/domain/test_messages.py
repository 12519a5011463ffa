"""What travels: who may publish where, who listens, and what an event looks like on the wire."""

import json

import pytest

from ratchet.domain.events import PUBLISHERS, SCHEMA_VERSION, DeadLetter, Event, PromotionDue, Topic, TuningJobHint
from ratchet.domain.messages import ENVELOPE, REPLAY_OF, message_of
from ratchet.domain.topology import SUBSCRIBERS, subscription, topic_of
from support.decisions import ALIAS, JOB, START


def event(**attributes: str) -> Event:
    return Event(
        topic=Topic.TUNING_JOBS,
        id="e-1",
        source="reconcile",
        payload=TuningJobHint(job=JOB, reason="because"),
        attributes=attributes,
    )


def test_an_event_is_a_cloud_event_in_binary_form() -> None:
    message = message_of(event(), START, None)
    assert message.attributes == {
        "ce-specversion": "1.0",
        "ce-id": "e-1",
        "ce-source": "//ratchet/reconcile",
        "ce-type": "ratchet.TuningJobHint",
        "ce-time": "2026-11-22T12:00:00.000000Z",
        "Content-Type": "application/json",
        "schema_version": "1",
    }
    assert json.loads(message.data) == {"job": str(JOB), "reason": "because", "triggered_by": None}
    assert SCHEMA_VERSION == 1


def test_a_trace_travels_and_an_events_own_attributes_replace_none_of_ours() -> None:
    message = message_of(event(replay_of="e-0", **{"ce-id": "mine"}), START, "00-trace")
    assert message.attributes["traceparent"] == "00-trace"
    assert message.attributes[REPLAY_OF] == "e-0"
    assert message.attributes["ce-id"] == "e-1"
    assert (REPLAY_OF, ENVELOPE) == ("replay_of", "envelope")


def test_the_type_is_that_of_the_payload() -> None:
    due = Event(
        topic=Topic.PROMOTIONS, id="e", source="reconcile", payload=PromotionDue(alias=ALIAS, job=None, reason="r")
    )
    assert due.type == "ratchet.PromotionDue"
    assert due.data == {"alias": str(ALIAS), "job": None, "reason": "r"}
    assert due.attributes == {}


@pytest.mark.parametrize("word", ["tuning-jobs", "malformed", "a", "x" * 64, "a_b-c"])
def test_a_dead_letter_is_told_of_in_our_words(word: str) -> None:
    assert DeadLetter(event_id="e", topic=word, attributes={}, data="", reason=word).reason == word


@pytest.mark.parametrize("word", ["", "A", "9a", "-a", "a b", "x" * 65, "a\n", "é"])
def test_whatever_else_somebody_sent_is_no_word_of_ours(word: str) -> None:
    for words in ({"topic": word, "reason": "malformed"}, {"topic": "tuning-jobs", "reason": word}):
        with pytest.raises(ValueError, match=r"^not a word of ours$"):
            DeadLetter(event_id="e", attributes={}, data="", **words)


def test_who_may_publish_where() -> None:
    assert {topic: sorted(sources) for topic, sources in PUBLISHERS.items()} == {
        "tuning-jobs": ["receive_webhook", "reconcile", "replay"],
        "checkpoints": ["replay", "track_tuning_job"],
        "smoke-tests": ["enforce_promotion", "reconcile", "record_checkpoint", "replay", "run_smoke_test"],
        "promotions": ["reconcile", "replay", "run_smoke_test", "track_tuning_job"],
        "commands": ["receive_command"],
    }


def test_each_topic_has_one_subscriber_and_each_subscription_one_name() -> None:
    assert {topic: subscription(topic) for topic in SUBSCRIBERS} == {
        "tuning-jobs": "track_tuning_job",
        "checkpoints": "record_checkpoint",
        "smoke-tests": "run_smoke_test",
        "promotions": "enforce_promotion-promotions",
        "commands": "enforce_promotion-commands",
        "dead-letters": "park_dead_letter",
    }
    for topic in SUBSCRIBERS:
        assert topic_of(subscription(topic)) is topic
    assert topic_of("enforce_promotion") is None
    assert topic_of("decisions") is None
