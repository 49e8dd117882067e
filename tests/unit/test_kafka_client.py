"""Kafka's client: what it logs."""

from __future__ import annotations

import logging

from shared.adapters.kafka.client import QUIET, Repeats


def line(text: str) -> logging.LogRecord:
    return logging.LogRecord("runyard.kafka", logging.ERROR, "", 0, text, None, None)


def test_a_line_that_repeats_is_logged_once_in_a_while() -> None:
    """Without a broker the same line comes many times a second: it is told once, and again when it lasts."""
    # Given a broker that refuses connections, as two clients see it
    moment = 0.0
    repeats = Repeats(lambda: moment)
    refused = [
        line(f"FAIL [rdkafka#{client}-{number}] broker:9092: refused (after {number}ms in state CONNECT)")
        for number in range(3)
        for client in ("consumer", "producer")
    ]

    # When they say so, and again later
    first = [each for each in refused if repeats.filter(each)]
    moment = QUIET + 1
    later = [each for each in refused if repeats.filter(each)]

    # Then each time one line is left
    assert first == later == refused[:1]


def test_lines_that_differ_are_all_logged() -> None:
    """Two brokers that fail are two lines."""
    repeats = Repeats(lambda: 0.0)

    assert repeats.filter(line("FAIL [rdkafka#consumer-1] one:9092: refused (after 0ms in state CONNECT)"))
    assert repeats.filter(line("FAIL [rdkafka#consumer-1] two:9092: refused (after 0ms in state CONNECT)"))
