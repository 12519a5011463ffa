"""The bus on Google Cloud Pub/Sub, or on its emulator where `PUBSUB_EMULATOR_HOST` names one.

The generated client, not the high-level one: that batches on a thread of its own, and a batch dies with an instance
that is frozen after its answer. Here `publish` returns with a message id in hand.
"""

from datetime import UTC, datetime
from threading import Lock
from typing import Any

from ratchet import deadline, log
from ratchet.domain.events import Event, Topic
from ratchet.domain.messages import Message, message_of
from ratchet.ports import BusUnavailable, MessageRefused

_SECONDS = 5.0


class PubSubBus:
    """Publishes to the topics of one project, named as `Topic` names them.

    The SDK is imported, and the client made, at the first publish: in the worker, never in the server's parent.
    """

    def __init__(self, project: str, publisher: Any = None) -> None:
        self._project = project
        self._publisher = publisher
        self._connecting = Lock()

    def publish(self, event: Event) -> None:
        self.send(event.topic, message_of(event, datetime.now(UTC), log.traceparent()))

    def send(self, topic: Topic, message: Message) -> None:
        """Publish these bytes and attributes as they are."""
        from google.api_core import exceptions, retry
        from google.auth.exceptions import GoogleAuthError

        seconds = deadline.left(_SECONDS)
        # The default policy goes on for 600 s, longer than any sender waits for its answer.
        policy = retry.Retry(
            retry.if_exception_type(
                exceptions.Aborted, exceptions.InternalServerError, exceptions.ServiceUnavailable, exceptions.Unknown
            ),
            initial=0.1,
            maximum=1.0,
            timeout=seconds,
        )
        try:
            self._connect().publish(
                topic=f"projects/{self._project}/topics/{topic}",
                messages=[{"data": message.data, "attributes": dict(message.attributes)}],
                retry=policy,
                timeout=seconds,
            )
        except exceptions.InvalidArgument as exc:
            raise MessageRefused(f"publishing to {topic}") from exc
        # RetryError is not a GoogleAPICallError.
        except (exceptions.GoogleAPICallError, exceptions.RetryError, GoogleAuthError) as exc:
            raise BusUnavailable(f"publishing to {topic}") from exc

    def _connect(self) -> Any:
        with self._connecting:
            if self._publisher is None:
                from google.pubsub_v1.services.publisher import PublisherClient

                self._publisher = PublisherClient()
            return self._publisher
