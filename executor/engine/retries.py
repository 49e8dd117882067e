"""Retries: whether a failed attempt is repeated, and when. The rules are Kestra's (AbstractRetry)."""

from __future__ import annotations

import hashlib

from shared.model.flow import Retry, RetryType
from shared.model.moment import Millis
from shared.model.state import StateType
from shared.model.task_run import Attempt, TaskRun


def counted(task_run: TaskRun) -> tuple[Attempt, ...]:
    """The attempts that a policy counts: since the last restart, without those lost with their worker."""
    attempts = task_run.attempts[task_run.retries_since :]
    return tuple(attempt for attempt in attempts if attempt.state.current is not StateType.RESUBMITTED)


def next_date(retry: Retry, made: int, first_start: Millis, last_end: Millis, salt: str) -> Millis | None:
    """When the attempt after `made` ones begins; None when the policy is used up.

    `maxAttempt` is the total number of attempts; `maxDuration` counts from the first attempt's start. `salt`
    makes a random interval the same for the same attempt, so that deciding twice is deciding once.
    """
    if retry.max_attempt is not None and made >= retry.max_attempt:
        return None
    due = last_end + wait(retry, made, salt)
    if retry.max_duration is not None and due > first_start + retry.max_duration:
        return None
    return due


def wait(retry: Retry, made: int, salt: str) -> Millis:
    """Milliseconds between the end of attempt number `made` (from 1) and the next one's start.

    Exponential grows as documented, interval x factor^(made - 1); Kestra 0.21 multiplies instead and does not wait
    at all before the first retry, which is declined in docs/differences.md.
    """
    if retry.type is RetryType.RANDOM:
        low = retry.min_interval or 0
        high = max(low, retry.max_interval if retry.max_interval is not None else low)
        share = int.from_bytes(hashlib.blake2b(f"{salt}/{made}".encode(), digest_size=6).digest(), "big") / (1 << 48)
        return low + int(share * (high - low))
    if retry.type is RetryType.EXPONENTIAL:
        grown = retry.interval * retry.delay_factor ** max(0, made - 1)
        return int(min(grown, retry.max_interval)) if retry.max_interval is not None else int(min(grown, 1 << 53))
    return retry.interval
