"""Client: the REST API as the command line uses it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Self

import httpx
import yaml


class ApiError(Exception):
    """The server refused a request, or could not be reached; the text is for the user."""


class Refused(ApiError):
    """The server understood what was sent, and found something wrong with it."""


class NotFound(ApiError):
    """The server has no such thing."""


_ERRORS: Final[dict[int, type[ApiError]]] = {404: NotFound, 409: Refused, 422: Refused}


class FlowRefused(Refused):
    """Something is wrong with a flow; the text names its lines."""


class Client:
    """Talks to one server, for one tenant."""

    def __init__(self, server: str, tenant: str = "main", timeout: float = 30.0) -> None:
        """`timeout`: seconds of one request. Raises ApiError when `server` is no address."""
        try:
            self._http = httpx.Client(base_url=server.rstrip("/"), timeout=timeout)
        except httpx.InvalidURL as error:
            msg = f"{server} is no address of a server: {error}"
            raise ApiError(msg) from error
        self._root = f"/api/v1/{tenant}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def _request(self, method: str, path: str, **more: Any) -> httpx.Response:
        return self._send(method, self._root + path, **more)

    def _send(self, method: str, path: str, **more: Any) -> httpx.Response:
        try:
            response = self._http.request(method, path, **more)
        except httpx.TransportError as error:
            msg = f"{self._http.base_url} does not answer: {error}"
            raise ApiError(msg) from error
        if response.is_error:
            raise _ERRORS.get(response.status_code, ApiError)(_message(response))
        return response

    def put_flow(self, source: str) -> dict[str, Any]:
        """Create a flow, or store its next revision."""
        try:
            head = yaml.safe_load(source)
            name = f"/flows/{head['namespace']}/{head['id']}"
        except (yaml.YAMLError, KeyError, TypeError):
            name = ""  # the server says what is wrong, with its line
        known = bool(name) and self._exists(name)
        try:
            response = self._request(
                "PUT" if known else "POST",
                name if known else "/flows",
                content=source.encode(),
                headers={"Content-Type": "application/x-yaml"},
            )
        except Refused as error:
            raise FlowRefused(str(error)) from None
        flow: dict[str, Any] = response.json()
        return flow

    def _exists(self, path: str) -> bool:
        try:
            return self._http.get(self._root + path).is_success
        except httpx.TransportError as error:
            msg = f"{self._http.base_url} does not answer: {error}"
            raise ApiError(msg) from error

    def create_execution(
        self, namespace: str, flow_id: str, inputs: Mapping[str, str], labels: list[str]
    ) -> dict[str, Any]:
        """Start an execution. An input that begins with `@` is the file of that name."""
        response = self._request(
            "POST",
            f"/executions/{namespace}/{flow_id}",
            files=_form(inputs),
            params=[("labels", label) for label in labels],
        )
        execution: dict[str, Any] = response.json()
        return execution

    def execution(self, execution_id: str) -> dict[str, Any]:
        execution: dict[str, Any] = self._request("GET", f"/executions/{execution_id}").json()
        return execution

    def find_execution(self, execution_id: str) -> dict[str, Any] | None:
        """The execution; None where there is none."""
        try:
            return self.execution(execution_id)
        except NotFound:
            return None

    def act(
        self,
        execution_id: str,
        action: str,
        *,
        params: Mapping[str, Any] | None = None,
        form: Mapping[str, str] | None = None,
        json: Any = None,
    ) -> dict[str, Any] | None:
        """Ask for an action on an execution: the execution as it left it, or what is known of it, if anything is.

        Raises Refused or NotFound with the reason. `form`: inputs as in `create_execution`.
        """
        files = None if form is None else _form(form)
        path = f"/executions/{execution_id}/actions/{action}"
        response = self._request("POST", path, params=params, files=files, json=json)
        answer: dict[str, Any] | None = response.json() if response.content else None
        return answer

    def delete_execution(self, execution_id: str, params: Mapping[str, Any]) -> dict[str, Any] | None:
        """Delete an execution, as `act`."""
        response = self._request("DELETE", f"/executions/{execution_id}", params=params)
        answer: dict[str, Any] | None = response.json() if response.content else None
        return answer

    def logs(self, execution_id: str) -> list[dict[str, Any]]:
        lines: list[dict[str, Any]] = self._request("GET", f"/logs/{execution_id}").json()
        return lines

    def task_runs(self, **filters: Any) -> dict[str, Any]:
        """One page of `taskruns/search`."""
        given = {name: value for name, value in filters.items() if value not in (None, [], "")}
        found: dict[str, Any] = self._request("GET", "/taskruns/search", params=given).json()
        return found

    def dead_letters(self, **filters: Any) -> dict[str, Any]:
        """Dead letters, which are of no tenant."""
        given = {name: value for name, value in filters.items() if value is not None}
        found: dict[str, Any] = self._send("GET", "/api/v1/dead-letters", params=given).json()
        return found

    def dead_letter(self, origin: str) -> dict[str, Any] | None:
        """One with all that it holds; None where there is none."""
        try:
            response = self._send("GET", "/api/v1/dead-letters/letter", params={"origin": origin})
        except NotFound:
            return None
        found: dict[str, Any] = response.json()
        return found

    def replay_dead_letters(self, origins: list[str] | None, *, dry_run: bool) -> list[dict[str, Any]]:
        """Replay some, or all that are open; what became of each."""
        asked: dict[str, Any] = {"all": True} if origins is None else {"origins": origins}
        response = self._send("POST", "/api/v1/dead-letters/replay", json={**asked, "dryRun": dry_run})
        results: list[dict[str, Any]] = response.json()["results"]
        return results

    def start_bulk_action(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Start a job, or with `dryRun` count what it would be about."""
        job: dict[str, Any] = self._request("POST", "/bulk-actions", json=asked).json()
        return job

    def bulk_actions(self) -> list[dict[str, Any]]:
        jobs: list[dict[str, Any]] = self._request("GET", "/bulk-actions").json()["results"]
        return jobs

    def bulk_action(self, job_id: str) -> dict[str, Any]:
        job: dict[str, Any] = self._request("GET", f"/bulk-actions/{job_id}").json()
        return job

    def bulk_items(self, job_id: str, results: list[str], size: int) -> dict[str, Any]:
        """The first items with one of these results, and how many there are."""
        params = {"result": results, "size": size}
        items: dict[str, Any] = self._request("GET", f"/bulk-actions/{job_id}/items", params=params).json()
        return items

    def abort_bulk_action(self, job_id: str) -> dict[str, Any]:
        job: dict[str, Any] = self._request("POST", f"/bulk-actions/{job_id}/abort").json()
        return job

    def follow(self, execution_id: str) -> Iterator[dict[str, Any]]:
        """The execution after each of its changes, until it has ended."""
        import json  # noqa: PLC0415 -- only here

        path = f"{self._root}/executions/{execution_id}/follow"
        try:
            with self._http.stream("GET", path, timeout=httpx.Timeout(30.0, read=None)) as response:
                if response.is_error:
                    response.read()
                    raise ApiError(_message(response))
                for line in response.iter_lines():
                    if line.startswith("data:"):
                        data = json.loads(line[5:])
                        if isinstance(data, dict) and "state" in data:
                            yield data
        except httpx.TransportError as error:
            msg = f"{self._http.base_url} does not answer: {error}"
            raise ApiError(msg) from error


def _form(inputs: Mapping[str, str]) -> list[tuple[str, tuple[str | None, bytes]]]:
    """Inputs as parts of a form; a server takes no form without any part."""
    parts: list[tuple[str, tuple[str | None, bytes]]] = []
    for name, value in inputs.items():
        if value.startswith("@"):
            parts.append(("files", (name, Path(value[1:]).read_bytes())))
        else:
            parts.append((name, (None, value.encode())))
    return parts or [("", (None, b""))]


def _message(response: httpx.Response) -> str:
    try:
        body = response.json()
    except ValueError:
        return f"{response.status_code}: {response.text[:500]}"
    return str(body.get("message", body)) if isinstance(body, dict) else str(body)
