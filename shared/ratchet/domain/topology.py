"""Which function listens to which topic: one subscription a line, as Terraform and the local queue both make them."""

from collections.abc import Mapping

from ratchet.domain.events import Topic

SUBSCRIBERS: Mapping[Topic, str] = {
    Topic.TUNING_JOBS: "track_tuning_job",
    Topic.CHECKPOINTS: "record_checkpoint",
    Topic.SMOKE_TESTS: "run_smoke_test",
    Topic.PROMOTIONS: "enforce_promotion",
    Topic.COMMANDS: "enforce_promotion",
    Topic.DEAD_LETTERS: "park_dead_letter",
}
"""Each function gets the messages of a topic at the path `/<topic>`. `decisions` is for the users' own systems."""


def topic_of(name: str) -> Topic | None:
    """The topic that our subscription of this name listens to; None: it is not ours."""
    return next((topic for topic in SUBSCRIBERS if subscription(topic) == name), None)


def subscription(topic: Topic) -> str:
    """The name of our own subscription to this topic: the function's, with the topic where it has several."""
    function = SUBSCRIBERS[topic]
    return function if list(SUBSCRIBERS.values()).count(function) == 1 else f"{function}-{topic}"
