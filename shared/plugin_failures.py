"""Plugin failures: packages whose types a service does not know are dead letters of it, written when it starts."""

from __future__ import annotations

import logging
import time

from shared.dead_letters import buried
from shared.flows.plugins import installed_failures
from shared.ports import EventLog, JournalError

_log = logging.getLogger(__name__)


def tell_failures(log: EventLog, service: str) -> int:
    """Write a dead letter for each package that could not be loaded here; how many there are.

    A log that is away is no reason to wait.
    """
    at = time.time_ns() // 1_000_000
    letters = [failure.letter(service, at) for failure in installed_failures()]
    try:
        log.publish([buried(letter) for letter in letters])
    except JournalError as error:
        _log.warning("%d dead letters about packages were not written: %s", len(letters), error)
    return len(letters)
