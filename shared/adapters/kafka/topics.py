"""The topics in the cluster: creating them, and saying what differs from the design."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # it lists no exports
    AdminClient,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from shared.adapters.kafka import client
from shared.ports import JournalError, Topic
from shared.settings import Settings, TopicSettings

_HOUR: Final = 3_600_000
_DAY: Final = 24 * _HOUR


def _kept(millis: int) -> dict[str, str]:
    # A segment is removed whole, and never the active one: it is rolled in time to be.
    return {
        "cleanup.policy": "delete",
        "retention.ms": str(millis),
        "segment.ms": str(min(millis // 4, _DAY)),
    }


_COMPACTED: Final = {"cleanup.policy": "compact"}

CONFIGS: Final[Mapping[Topic, Mapping[str, str]]] = {
    Topic.EXECUTION_COMMANDS: _kept(7 * _DAY),
    Topic.TASK_RUN_COMMANDS: _kept(_DAY),
    Topic.TASK_RUN_EVENTS: _kept(7 * _DAY),
    # Whoever tails it sees every event of the last week, not only the last one of each document.
    Topic.EXECUTION_EVENTS: _COMPACTED | {"min.compaction.lag.ms": str(7 * _DAY)},
    # A restore reads all of it: small segments, compacted early, keep it near the size of what is alive.
    Topic.EXECUTOR_STATE: _COMPACTED
    | {"segment.bytes": str(64 * 1024 * 1024), "segment.ms": str(_HOUR), "min.cleanable.dirty.ratio": "0.2"},
    Topic.FLOWS: _COMPACTED,
    Topic.HEARTBEATS: _kept(_HOUR),
    Topic.LOGS: _kept(7 * _DAY),
    Topic.METRICS: _kept(7 * _DAY),
    Topic.DEAD_LETTERS: _kept(30 * _DAY),
    Topic.BULK_ACTIONS: _COMPACTED,
}
"""What each topic keeps, and for how long."""

CO_PARTITIONED: Final = (
    Topic.EXECUTION_COMMANDS,
    Topic.TASK_RUN_EVENTS,
    Topic.EXECUTION_EVENTS,
    Topic.EXECUTOR_STATE,
)
"""Partition p of each belongs to the same executions: their numbers of partitions must be equal."""

_SINGLE: Final = frozenset({Topic.FLOWS, Topic.HEARTBEATS, Topic.DEAD_LETTERS, Topic.BULK_ACTIONS})
"""Read whole by everyone and small: one partition is one fetch, and one offset to be caught up with."""


class TopicsDiffer(JournalError):
    """Topics are there that the services cannot work with."""


@dataclass(frozen=True, slots=True)
class Report:
    """What `create` did and found."""

    created: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)  #: of existing topics from the settings; none is an error


def partitions_of(topic: Topic, settings: TopicSettings) -> int:
    """How many partitions a topic is created with."""
    if topic is Topic.TASK_RUN_COMMANDS:
        return settings.inbox_partitions
    return 1 if topic in _SINGLE else settings.partitions


def create(settings: Settings) -> Report:
    """Create the topics that are missing; those that exist are left as they are, and compared. Repeatable.

    Raises:
        TopicsDiffer: when co-partitioned topics have different numbers of partitions, naming each.
        JournalError: when Kafka does not answer or refuses.
    """
    names = client.Names(settings)
    admin = AdminClient(client.common(settings), logger=client.LOG)
    try:
        existing = admin.list_topics(timeout=client.REQUEST_TIMEOUT).topics
        missing = [topic for topic in Topic if names.full[topic] not in existing]
        created = _create(admin, [_new(topic, names, settings.topics) for topic in missing])
        counts = client.partition_counts(admin, names)
        old = [topic for topic in Topic if names.full[topic] not in created]
        configs = _configs(admin, [names.full[topic] for topic in old])
    except KafkaException as failure:
        raise JournalError(f"topics could not be created: {client.error_of(failure).str()}") from failure
    if len({counts[topic] for topic in CO_PARTITIONED}) > 1:
        listed = ", ".join(f"{names.full[topic]} has {counts[topic]}" for topic in CO_PARTITIONED)
        raise TopicsDiffer(f"these topics must have the same number of partitions: {listed}")
    differences = []
    for topic in old:
        name, wanted = names.full[topic], partitions_of(topic, settings.topics)
        if counts[topic] != wanted:
            differences.append(f"{name}: {counts[topic]} partitions, the settings say {wanted}")
        differences += [
            f"{name}: {key} is {configs[name].get(key)}, {value} is expected"
            for key, value in _config(topic, settings.topics).items()
            if configs[name].get(key) != value
        ]
    return Report(created, differences)


def _config(topic: Topic, settings: TopicSettings) -> dict[str, str]:
    return {**CONFIGS[topic], "max.message.bytes": str(settings.max_message_bytes + client.BATCH_OVERHEAD)}


def _new(topic: Topic, names: client.Names, settings: TopicSettings) -> NewTopic:
    return NewTopic(
        names.full[topic],
        num_partitions=partitions_of(topic, settings),
        replication_factor=settings.replication_factor,
        config=_config(topic, settings),
    )


def _create(admin: AdminClient, topics: list[NewTopic]) -> list[str]:
    created = []
    for name, done in (admin.create_topics(topics) if topics else {}).items():
        try:
            done.result(client.REQUEST_TIMEOUT)
        except KafkaException as failure:
            if client.error_of(failure).code() != KafkaError.TOPIC_ALREADY_EXISTS:  # by another process, just now
                raise
        else:
            created.append(name)
    return created


def _configs(admin: AdminClient, names: list[str]) -> dict[str, dict[str, str | None]]:
    asked = [ConfigResource(ResourceType.TOPIC, name) for name in names]
    return {
        resource.name: {key: entry.value for key, entry in done.result(client.REQUEST_TIMEOUT).items()}
        for resource, done in (admin.describe_configs(asked) if asked else {}).items()
    }
