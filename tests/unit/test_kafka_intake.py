"""The queue of fetched records between Kafka and the executor."""

from shared.adapters.kafka.intake import COMMANDS, EVENTS, Intake
from shared.ports import Inbound, Topic


def record(topic: Topic, partition: int, offset: int) -> Inbound:
    return Inbound(topic, partition, offset, "k", b"", 0)


def intake(partitions: int = 1) -> Intake:
    made = Intake()
    for partition in range(partitions):
        made.own(partition, 0, 0)
    return made


def offsets(records: list[Inbound]) -> list[tuple[Topic, int]]:
    return [(r.topic, r.offset) for r in records]


def test_commands_first() -> None:
    """Commands that wait are taken before events that were added earlier."""
    subject = intake()
    subject.add([record(EVENTS, 0, 0), record(COMMANDS, 0, 0), record(EVENTS, 0, 1), record(COMMANDS, 0, 1)])

    assert offsets(subject.take(10)) == [(COMMANDS, 0), (COMMANDS, 1), (EVENTS, 0), (EVENTS, 1)]


def test_a_flood_of_commands_leaves_events_a_share() -> None:
    """A quarter of a batch is kept for events that wait."""
    subject = intake()
    subject.add([record(topic, 0, offset) for topic in (COMMANDS, EVENTS) for offset in range(100)])

    batch = subject.take(8)

    assert offsets(batch) == [(COMMANDS, n) for n in range(6)] + [(EVENTS, 0), (EVENTS, 1)]


def test_partitions_take_turns() -> None:
    """A batch is filled from one partition where that has enough; the next batch begins with the next partition."""
    subject = intake(3)
    subject.add([record(EVENTS, partition, offset) for offset in range(10) for partition in range(3)])

    partitions = [{r.partition for r in subject.take(5)} for _ in range(6)]

    assert partitions == [{0}, {1}, {2}, {0}, {1}, {2}]
    assert subject.size == 0


def test_what_is_given_back_comes_again_in_order() -> None:
    """After an abort, what was taken and not settled is taken again, before what waited."""
    subject = intake()
    subject.add([record(EVENTS, 0, offset) for offset in range(6)])
    subject.take(4)
    subject.settle({(EVENTS, 0): 1})

    subject.give_back()

    assert subject.size == 5
    assert offsets(subject.take(10)) == [(EVENTS, offset) for offset in range(1, 6)]


def test_what_is_settled_is_gone() -> None:
    """What was committed is not given back."""
    subject = intake()
    subject.add([record(EVENTS, 0, offset) for offset in range(3)])
    subject.take(3)
    subject.settle({(EVENTS, 0): 3})

    subject.give_back()

    assert subject.take(10) == []


def test_records_of_other_partitions_and_repeated_ones_are_passed_over() -> None:
    """What is not owned, or lies before the next offset, is not queued."""
    subject = intake()
    subject.clear()
    subject.own(1, 5, 0)

    subject.add([record(COMMANDS, 0, 9), record(COMMANDS, 1, 4), record(COMMANDS, 1, 5), record(COMMANDS, 1, 5)])

    assert offsets(subject.take(10)) == [(COMMANDS, 5)]
    assert dict(subject.expected) == {(COMMANDS, 1): 6, (EVENTS, 1): 0}
