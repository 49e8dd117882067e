"""The contract of `Inbox`."""

import pytest

from shared.messages import RunTaskRun, StopTaskRun, WorkerCommand
from shared.ports import Inbox, InboxAddress, Outbound, Topic, UnreadableCommand
from tests.contract.streams import Streams, numbered, until


def stop(session: str, number: int) -> StopTaskRun:
    return StopTaskRun(session, "e", f"t{number}", 0, 0, "kill")


def sent(address: InboxAddress, *commands: WorkerCommand) -> list[Outbound]:
    return [Outbound(Topic.TASK_RUN_COMMANDS, c.session, c.to_bytes(), address.partition) for c in commands]


def take(inbox: Inbox, count: int, limit: int = 100) -> list[WorkerCommand]:
    commands: list[WorkerCommand] = []
    until(lambda: len(commands.extend(inbox.take(limit, 0.2)) or commands) >= count)
    return commands


def test_commands_arrive_whole_and_in_order(streams: Streams) -> None:
    """A session takes its commands as they were sent."""
    inbox, log = streams.inbox(), streams.event_log()
    address = inbox.open("s")
    run = RunTaskRun("s", "e", "t", 1, 2, "main", "n", "f", 3, {"type": "x"}, {"a": [1]}, timeout="PT1S")
    log.publish(sent(address, run, stop("s", 0), stop("s", 1)))

    assert take(inbox, 3) == [run, stop("s", 0), stop("s", 1)]


def test_what_was_sent_before_is_not_seen(streams: Streams) -> None:
    """A session begins at the end of its partition, even under a name that was used before."""
    inbox, log = streams.inbox(), streams.event_log()
    address = inbox.open("s")
    log.publish(sent(address, stop("s", 0)))
    inbox.close()

    second = streams.inbox()
    again = second.open("s")
    log.publish(sent(again, stop("s", 1)))

    assert again.partition == address.partition
    assert take(second, 1) == [stop("s", 1)]


def test_what_is_for_others_is_not_seen(streams: Streams) -> None:
    """Sessions that share a partition take their own commands, and their positions move past the others'."""
    inbox, log = streams.inbox(), streams.event_log()
    address = inbox.open("s")
    log.publish(sent(address, stop("other", 0), stop("s", 1), stop("other", 2)))

    assert take(inbox, 1) == [stop("s", 1)]
    until(lambda: not inbox.take(1, 0.05) and inbox.position >= address.position + 3)


def test_position_is_behind_what_was_taken(streams: Streams) -> None:
    """The position is the address's at first, and passes a command only when it is taken."""
    inbox, log = streams.inbox(), streams.event_log()
    address = inbox.open("s")
    first = inbox.position
    log.publish(sent(address, stop("s", 0), stop("s", 1)))

    one = take(inbox, 1, limit=1)
    between = inbox.position
    other = take(inbox, 1, limit=1)

    assert first == address.position
    assert one + other == [stop("s", 0), stop("s", 1)]
    assert between == address.position + 1
    assert inbox.position >= address.position + 2


def test_next_session_of_the_same_inbox(streams: Streams) -> None:
    """A new session sees nothing of the one before, taken or not."""
    inbox, log = streams.inbox(), streams.event_log()
    first = inbox.open("one")
    log.publish(sent(first, stop("one", 0)))

    second = inbox.open("two")
    log.publish([*sent(first, stop("one", 1)), *sent(second, stop("two", 2))])

    assert take(inbox, 1) == [stop("two", 2)]


def test_unreadable_command_is_named_and_passed_over(streams: Streams) -> None:
    """What the session cannot read raises once, after what came before it; then the rest is taken."""
    inbox, log = streams.inbox(), streams.event_log()
    address = inbox.open("s")
    bad = [Outbound(Topic.TASK_RUN_COMMANDS, "s", b'{"v":1,"type":"DanceTaskRun"}', address.partition)]
    log.publish([*sent(address, stop("s", 0)), *bad, *sent(address, stop("s", 1))])

    before = take(inbox, 1)
    with pytest.raises(UnreadableCommand, match="DanceTaskRun") as raised:
        until(lambda: inbox.take(100, 0.2))
    after = take(inbox, 1)

    assert (before, after) == ([stop("s", 0)], [stop("s", 1)])
    record = raised.value.record
    assert (record.partition, record.offset, record.value) == (address.partition, address.position + 1, bad[0].value)


def test_garbage_for_others_is_nobodys_error(streams: Streams) -> None:
    """Another session's unreadable record is skipped unread."""
    inbox, log = streams.inbox(), streams.event_log()
    address = inbox.open("s")
    garbage = [Outbound(r.topic, "other", r.value, address.partition) for r in numbered(Topic.TASK_RUN_COMMANDS, "", 3)]
    log.publish([*garbage, *sent(address, stop("s", 0))])

    assert take(inbox, 1) == [stop("s", 0)]
