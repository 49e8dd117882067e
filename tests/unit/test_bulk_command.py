"""The command line's view of a bulk action while the server comes and goes."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from runyard import bulk
from runyard.client import ApiError

JOB = {"id": "j", "state": "RUNNING", "total": 2, "done": 1}


class Flickering:
    """A client whose server is away for some looks."""

    def __init__(self, away: int) -> None:
        self.away = away

    def bulk_action(self, job_id: str) -> dict[str, Any]:
        if self.away:
            self.away -= 1
            raise ApiError("http://server does not answer")
        return {**JOB, "id": job_id, "state": "SUCCESS", "done": 2, "endedAt": "2026-11-25T20:00:00.000Z"}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "LOOK", 0.0)


def test_a_server_that_starts_again_is_waited_for() -> None:
    """The job goes on meanwhile, and is shown to its end."""
    job = bulk._follow(Flickering(3), JOB, Console(file=io.StringIO()))  # type: ignore[arg-type]
    assert job["state"] == "SUCCESS"


def test_a_server_that_stays_away_is_told_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the command that shows the job later."""
    monkeypatch.setattr(bulk, "PATIENCE", -1.0)
    with pytest.raises(ApiError, match="does not answer; `runyard bulk show j`"):
        bulk._follow(Flickering(1), JOB, Console(file=io.StringIO()))  # type: ignore[arg-type]
