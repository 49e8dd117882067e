"""The ports on Apache Kafka."""

from shared.adapters.kafka.event_log import KafkaEventLog
from shared.adapters.kafka.inbox import KafkaInbox
from shared.adapters.kafka.journal import KafkaJournal

__all__ = ["KafkaEventLog", "KafkaInbox", "KafkaJournal"]
