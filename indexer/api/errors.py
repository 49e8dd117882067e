"""Errors of the API: each is answered with its status and `{"message": …}`, as Kestra does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from shared.flows.problem import FlowError
from shared.model.document import JSON_OPTIONS
from shared.model.query import QueryError
from shared.ports import JournalError, RecordTooLarge


class ApiError(Exception):
    """An answer that is not what was asked for. `details` are single problems, `extra` further fields of the body."""

    def __init__(self, status: int, message: str, details: Sequence[str] = (), **extra: Any) -> None:
        """`status`: of HTTP."""
        super().__init__(message)
        self.status, self.message, self.details, self.extra = status, message, tuple(details), extra


def not_found(what: str) -> ApiError:
    """404: it isn't there, or belongs to another tenant, which looks the same."""
    return ApiError(404, f"Not Found: {what}")


def refused(message: str, details: Sequence[str] = (), **extra: Any) -> ApiError:
    """422: it was understood and can't be done."""
    return ApiError(422, message, details, **extra)


def json_response(value: Any, status: int = 200) -> Response:
    """A JSON answer, past FastAPI's own encoder: the values here are JSON already."""
    return Response(orjson.dumps(value, option=JSON_OPTIONS, default=str), status, media_type="application/json")


def _answer(status: int, message: str, details: Sequence[str] = (), extra: dict[str, Any] | None = None) -> Response:
    body: dict[str, Any] = {"message": message, **(extra or {})}
    if details:
        body["_embedded"] = {"errors": [{"message": detail} for detail in details]}
    return json_response(body, status)


def invalid_flow(error: FlowError) -> ApiError:
    """422 with every problem of a flow's source, each with its line."""
    problems = [f"{each.constraint.removeprefix(': ')} (line {each.line})" for each in error.problems]
    return refused("Invalid entity: " + "\n".join(problems), problems)


def invalid(error: RequestValidationError) -> list[str]:
    """What is wrong with each parameter or field of a request."""
    return [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]


def unavailable(error: Exception) -> str:
    """What to say where the log or the search store cannot be reached, or not read or written."""
    return f"Not possible now: {error}"


def install(app: FastAPI) -> None:
    """Answer each kind of error with its status."""

    @app.exception_handler(ApiError)
    async def _api_error(_: Request, error: Exception) -> Response:
        assert isinstance(error, ApiError)
        return _answer(error.status, error.message, error.details, error.extra)

    @app.exception_handler(FlowError)
    async def _flow_error(_: Request, error: Exception) -> Response:
        assert isinstance(error, FlowError)
        found = invalid_flow(error)
        return _answer(found.status, found.message, found.details)

    @app.exception_handler(QueryError)
    async def _query_error(_: Request, error: Exception) -> Response:
        return _answer(422, f"Illegal query: {error}")

    @app.exception_handler(RecordTooLarge)
    async def _too_large(_: Request, error: Exception) -> Response:
        return _answer(413, str(error))

    @app.exception_handler(JournalError)
    @app.exception_handler(ConnectionError)
    async def _unavailable(_: Request, error: Exception) -> Response:
        return _answer(503, unavailable(error))

    @app.exception_handler(RequestValidationError)
    async def _request_error(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        details = invalid(error)
        return _answer(422, "Invalid request: " + "; ".join(details), details)

    @app.exception_handler(HTTPException)
    async def _http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        message = f"Page Not Found: {request.url.path}" if error.status_code == 404 else str(error.detail)
        answer = _answer(error.status_code, message)
        answer.headers.update(error.headers or {})
        return answer
