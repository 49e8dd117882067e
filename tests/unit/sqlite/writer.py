"""A process that commits numbered steps until it is killed, naming each on its output once it is acknowledged."""

import itertools
import sys
from pathlib import Path

from shared.adapters.sqlite import SqliteDatabase, SqliteDocumentStore, SqliteEventLog, SqliteJournal
from shared.ports import Outbound, Step, Topic
from tests.contract.documents import task_run
from tests.contract.streams import Owner

EVENTS, OUT, LOGS = Topic.TASK_RUN_EVENTS, Topic.EXECUTION_EVENTS, Topic.LOGS


def run(path: Path, synchronous: str) -> None:
    """Each step reads one event, counts it in the state and writes two outputs; then a log line and a document."""
    database = SqliteDatabase(path, synchronous)
    journal, log, store, owner = (
        SqliteJournal(database),
        SqliteEventLog(database),
        SqliteDocumentStore(database),
        Owner(),
    )
    journal.poll(owner, 0, 0)
    first = int(owner.states[0].get("count") or b"0") + 1
    for number in itertools.count(first):
        text = b"%d" % number
        journal.commit(
            Step(
                {(EVENTS, 0): number},
                {0: {"count": text, f"entry/{number:08}": b"x" * (number * 37 % 3000)}},
                [Outbound(OUT, "e", text, 0), Outbound(OUT, "e", text, 1)],
            )
        )
        log.publish([Outbound(LOGS, "e", text, 2), Outbound(LOGS, "e", text, 3)])
        store.write([task_run(f"{number:08}", "x", outputs="word " * (number % 50))])
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    run(Path(sys.argv[1]), sys.argv[2])
