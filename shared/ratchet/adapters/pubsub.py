"""The bus on Google Cloud Pub/Sub, or on its emulator where `PUBSUB_EMULATOR_HOST` names one.

The generated client, not the high-level one: that batches on a thread of its own, and a batch dies with an instance
that is frozen after its answer. Here `publish` returns with a message id in hand.
"""

from datetime import UTC, datetime
from threading import Lock
from typing import Any

from ratchet import deadline, log
from ratchet.domain.events import Event
from ratchet.domain.messages import message_of
from ratchet.ports import BusUnavailable

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
        from google.api_core import exceptions, retry
        from google.auth.exceptions import GoogleAuthError

        message = message_of(event, datetime.now(UTC), log.traceparent())
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
                topic=f"projects/{self._project}/topics/{event.topic}",
                messages=[{"data": message.data, "attributes": message.attributes}],
                retry=policy,
                timeout=seconds,
            )
        # RetryError is not a GoogleAPICallError.
        except (exceptions.GoogleAPICallError, exceptions.RetryError, GoogleAuthError) as exc:
            raise BusUnavailable(f"publishing to {event.topic}") from exc

    def _connect(self) -> Any:
        with self._connecting:
            if self._publisher is None:
                from google.pubsub_v1.services.publisher import PublisherClient

                self._publisher = PublisherClient()
            return self._publisher
