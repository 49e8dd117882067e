"""Dead letters over HTTP: for whoever can't read the log, as while a standalone holds its file.

They belong to no tenant: what can't be read names none.
"""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Request, Response
from fastapi import Query as Parameter
from pydantic import BaseModel, ConfigDict, Field

from indexer.api.errors import ApiError, json_response, not_found, refused
from indexer.api.reading import blocking, now
from indexer.api.services import Services
from indexer.dead_letters import Selection
from indexer.letter_replay import Replayed
from shared.model.moment import parse_duration

router: Final = APIRouter(prefix="/api/v1/dead-letters", tags=["Operations"])


class ReplayLetters(BaseModel):
    """Which letters to replay: by their origins, or all that are open."""

    model_config = ConfigDict(populate_by_name=True, extra="forbid")

    origins: list[str] = Field(default_factory=list, max_length=10_000)
    all: bool = False
    dry_run: bool = Field(default=False, alias="dryRun")


@router.get("")
async def list_dead_letters(
    request: Request,
    service: Annotated[str | None, Parameter(description="executor, worker or indexer")] = None,
    since: Annotated[str | None, Parameter(description="ISO 8601 duration before now")] = None,
    reason: Annotated[str | None, Parameter(description="a part of the reason")] = None,
    settled: Annotated[bool, Parameter(description="also those that were replayed")] = False,
    limit: Annotated[int, Parameter(ge=1, le=10_000)] = 100,
) -> Response:
    """Open dead letters, newest first, without what they hold."""
    services: Services = request.app.state.services
    try:
        moment = None if since is None else now() - parse_duration(since)
    except ValueError as error:
        raise refused(f"since: {error}") from None
    found = await blocking(services.dead_letters.entries, Selection(service, moment, reason, settled))
    return json_response({"results": [entry.summary() for entry in found[:limit]], "total": len(found)})


@router.get("/letter")
async def show_dead_letter(request: Request, origin: str) -> Response:
    """One dead letter with what it holds, as JSON where it is JSON, as text where it is text, else in base64."""
    services: Services = request.app.state.services
    entry = await blocking(services.dead_letters.entry, origin)
    if entry is None:
        raise not_found(f"dead letter {origin}")
    return json_response(entry.whole())


@router.post("/replay")
async def replay_dead_letters(request: Request, asked: ReplayLetters) -> Response:
    """Send what dead letters hold again; the answer says of each what became of it."""
    services: Services = request.app.state.services
    if asked.all == bool(asked.origins):
        raise refused("either origins, or all: true")
    origins = None if asked.all else asked.origins

    def work() -> list[Replayed]:
        return list(services.letter_replay.replay(origins, dry_run=asked.dry_run))

    try:
        done = await blocking(work)
    except OSError as error:
        raise ApiError(503, str(error)) from error
    results = [{"origin": each.origin, "outcome": each.outcome.value, "detail": each.detail} for each in done]
    return json_response({"results": results, "dryRun": asked.dry_run})
