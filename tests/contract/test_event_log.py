"""The contract of `EventLog`, `Subscription` and `Tail`."""

import threading
import time

import pytest

from shared.ports import Outbound, RecordTooLarge, Topic
from tests.contract.streams import LIMIT, Streams, after, all_of, numbered, read, until, values

OUT, LOGS = Topic.EXECUTION_EVENTS, Topic.LOGS


def test_published_records_are_read_by_a_tail(streams: Streams) -> None:
    """A tail without a moment reads everything, with key, value, partition and time."""
    log = streams.event_log()
    began = int(time.time() * 1000)
    log.publish([Outbound(OUT, "a", b"1", 3), Outbound(LOGS, "b", b"2"), Outbound(OUT, "c", None, 0)])

    records = all_of(log, OUT, LOGS)

    assert {(r.topic, r.key, r.value) for r in records} == {(OUT, "a", b"1"), (LOGS, "b", b"2"), (OUT, "c", None)}
    assert {r.key: r.partition for r in records if r.topic is OUT} == {"a": 3, "c": 0}
    assert all(began <= r.at <= time.time() * 1000 for r in records)


def test_tail_goes_on_with_what_comes(streams: Streams) -> None:
    """A tail is caught up after the last record, behind after the next, and caught up again."""
    log = streams.event_log()
    log.publish(numbered(OUT, "a", 3))
    tail = log.tail([OUT])
    first = read(tail, 3)
    until(lambda: not tail.poll(10, 0.05) and tail.caught_up())
    log.publish([Outbound(OUT, "a", b"more")])

    behind = tail.caught_up()
    second = read(tail, 1)
    until(lambda: not tail.poll(10, 0.05) and tail.caught_up())
    tail.close()

    assert values(first) == [b"0", b"1", b"2"]
    assert not behind
    assert values(second) == [b"more"]


def test_tail_of_nothing_is_caught_up(streams: Streams) -> None:
    """A tail of empty topics is caught up without having read a record."""
    tail = streams.event_log().tail([OUT, LOGS])

    until(lambda: not tail.poll(10, 0.05) and tail.caught_up())
    tail.close()


def test_tail_since_a_moment(streams: Streams) -> None:
    """A tail with a moment begins with the first record of that moment or later; a future one with what comes."""
    log = streams.event_log()
    log.publish(numbered(OUT, "a", 2))
    time.sleep(0.05)  # the times of the records are milliseconds
    log.publish([Outbound(OUT, "a", b"later")])
    moment = all_of(log, OUT)[2].at

    late, never = log.tail([OUT], moment), log.tail([OUT], moment + 3_600_000)
    until(lambda: not never.poll(10, 0.05) and never.caught_up())
    log.publish([Outbound(OUT, "a", b"last")])

    assert values(read(late, 2)) == [b"later", b"last"]
    assert values(read(never, 1)) == [b"last"]
    late.close()
    never.close()


def test_record_above_the_limit_is_refused_before_anything_is_written(streams: Streams) -> None:
    """A batch with a too large record is not published at all."""
    log = streams.event_log()

    with pytest.raises(RecordTooLarge) as refused:
        log.publish([Outbound(OUT, "small", b""), Outbound(OUT, "large", b"x" * (LIMIT + 1))])

    assert refused.value.record.key == "large"
    assert all_of(log, OUT) == []


def test_threads_publish_at_the_same_time(streams: Streams) -> None:
    """Each of several threads has its records durable when its call returns, and in its order."""
    log = streams.event_log()
    seen_after_return: dict[str, int] = {}

    def publish(key: str) -> None:
        for number in range(20):
            log.publish([Outbound(OUT, key, b"%d" % number)])
        seen_after_return[key] = sum(r.key == key for r in all_of(streams.event_log(), OUT))

    threads = [threading.Thread(target=publish, args=(f"k{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    records = all_of(log, OUT)
    assert seen_after_return == {f"k{number}": 20 for number in range(4)}
    assert {key: [r.value for r in records if r.key == key] for key in seen_after_return} == {
        key: [b"%d" % number for number in range(20)] for key in seen_after_return
    }


def test_publishing_nothing(streams: Streams) -> None:
    """An empty batch is published at once."""
    log = streams.event_log()

    log.publish([])

    assert all_of(log, OUT) == []


def test_subscription_reads_from_the_first_record(streams: Streams) -> None:
    """A new group begins at the beginning, and sees nothing twice."""
    log = streams.event_log()
    log.publish([Outbound(topic, f"k{n}", b"%d" % n) for n in range(20) for topic in (OUT, LOGS)])
    subscription = log.subscribe([OUT, LOGS], "g")

    records = read(subscription, 40)
    more = subscription.poll(10, 0.2)
    subscription.close()

    assert len({(r.topic, r.key) for r in records}) == len(records) == 40
    assert more == []


def test_subscription_goes_on_after_its_committed_positions(streams: Streams) -> None:
    """The next member of a group begins behind what was committed; what was only read comes again."""
    log = streams.event_log()
    log.publish(numbered(OUT, "a", 6))
    first = log.subscribe([OUT], "g")
    records = read(first, 6)
    first.commit(after(records[:4]))
    first.close()

    second = log.subscribe([OUT], "g")
    again = read(second, 2)
    second.close()

    assert values(again) == [b"4", b"5"]


def test_groups_do_not_disturb_each_other(streams: Streams) -> None:
    """Each group reads every record."""
    log = streams.event_log()
    log.publish(numbered(OUT, "a", 3))
    one, other = log.subscribe([OUT], "one"), log.subscribe([OUT], "other")

    one_read = read(one, 3)
    one.commit(after(one_read))
    other_read = read(other, 3)
    one.close()
    other.close()

    assert one_read == other_read


def test_commit_of_a_partition_that_is_not_owned_is_passed_over(streams: Streams) -> None:
    """Positions of partitions that the member does not have are not an error."""
    log = streams.event_log()
    log.publish(numbered(OUT, "a", 2))
    subscription = log.subscribe([OUT], "g")
    records = read(subscription, 2)

    subscription.commit({(OUT, 99): 5, **after(records)})
    subscription.close()

    again = log.subscribe([OUT], "g")
    log.publish([Outbound(OUT, "a", b"new")])
    assert values(read(again, 1)) == [b"new"]
    again.close()


def test_lag_counts_what_is_not_committed(streams: Streams) -> None:
    """`lag` is the number of records that the group has not committed of each owned partition, 0 when all are."""
    log = streams.event_log()
    log.publish(numbered(OUT, "a", 5))
    subscription = log.subscribe([OUT], "g")
    records = read(subscription, 5)
    partition = records[0].partition
    before = subscription.lag()

    subscription.commit(after(records[:3]))
    between = subscription.lag()
    subscription.commit(after(records))
    end = subscription.lag()
    subscription.close()

    assert [lag[OUT, partition] for lag in (before, between, end)] == [5, 2, 0]
    assert all(lag == 0 for (_, number), lag in before.items() if number != partition)
