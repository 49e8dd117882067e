"""Publishing and reading, for the API, the workers and the indexer."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Final

from shared.adapters.kafka.publisher import Publisher
from shared.adapters.kafka.subscription import KafkaSubscription
from shared.adapters.kafka.tail import KafkaTail
from shared.model.moment import Millis
from shared.ports import Outbound, Topic
from shared.settings import Settings


class KafkaEventLog:
    """Implements `EventLog`. `publish` may be called by several threads at once."""

    def __init__(self, settings: Settings) -> None:
        """No connection yet: it is opened by the first call that needs one."""
        self._settings: Final = settings
        self._lock: Final = threading.Lock()
        self._publisher: Publisher | None = None

    def publish(self, records: Sequence[Outbound]) -> None:
        """See `EventLog.publish`."""
        with self._lock:
            if self._publisher is None:
                self._publisher = Publisher(self._settings)
            publisher = self._publisher
        publisher.publish(records)

    def subscribe(self, topics: Sequence[Topic], group: str) -> KafkaSubscription:
        """See `EventLog.subscribe`; `group` is without the prefix. Raises JournalError."""
        return KafkaSubscription(self._settings, topics, group)

    def tail(self, topics: Sequence[Topic], since: Millis | None = None) -> KafkaTail:
        """See `EventLog.tail`. Raises JournalError."""
        return KafkaTail(self._settings, topics, since)

    def close(self) -> None:
        """Close the publisher; subscriptions and tails are closed by who asked for them."""
        with self._lock:
            publisher, self._publisher = self._publisher, None
        if publisher is not None:
            publisher.close()
