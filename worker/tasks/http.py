"""`http`: calling other services."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, Final

import httpx
import orjson

from shared.model.moment import parse_duration
from worker.context import Context
from worker.task import Task, TaskError

PATIENCE: Final = 30.0
"""Seconds for connecting and for each read, unless `options` say otherwise."""


@dataclass(frozen=True)
class _Call(Task):
    """What the tasks that send a request have in common."""

    uri: str
    method: str = "GET"
    body: str | None = None
    form_data: dict[str, Any] | None = None
    content_type: str | None = None
    headers: dict[str, str] | None = None
    params: dict[str, Any] | None = None
    options: dict[str, Any] | None = None
    allow_failed: bool = False

    @contextmanager
    def _answer(self, context: Context) -> Iterator[httpx.Response]:
        """The answer with its body not yet read. Raises TaskError when there is none."""
        headers = {name: value for name, value in (self.headers or {}).items() if value is not None}
        if self.content_type is not None:
            headers["content-type"] = self.content_type
        elif self.body is not None and "content-type" not in {name.lower() for name in headers}:
            headers["content-type"] = "application/json"  # Kestra's default for a body
        options = self.options or {}
        follows = options.get("followRedirects", True) in (True, "true")
        try:
            with httpx.Client(timeout=_timeout(options), follow_redirects=follows) as client:
                context.on_cancel(client.close)
                request = client.build_request(
                    self.method.upper(),
                    self.uri,
                    content=self.body,
                    data=self.form_data,
                    params=self.params,
                    headers=headers,
                )
                answer = client.send(request, auth=_auth(options), stream=True)
                with closing(answer):
                    yield answer
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise TaskError(f"{self.method} {self.uri}: {error or type(error).__name__}") from error

    def _check(self, answer: httpx.Response, outputs: Mapping[str, Any]) -> None:
        """Raises TaskError for a status from 400 on, unless that is allowed."""
        if answer.is_error and not self.allow_failed:
            text = answer.text[:1000]
            raise TaskError(f"Failed http request with response code '{answer.status_code}' and body '{text}'", outputs)


@dataclass(frozen=True)
class Request(_Call):
    """Sends a request: outputs `code`, `body`, `headers`, `uri`. A status from 400 on fails unless `allowFailed`."""

    type = "io.kestra.plugin.core.http.Request"
    aliases = ("io.kestra.plugin.fs.http.Request",)

    encrypt_body: bool = False

    def run(self, context: Context) -> Mapping[str, Any]:
        with self._answer(context) as answer:
            answer.read()
        outputs: dict[str, Any] = {"uri": str(answer.url), "code": answer.status_code, "headers": _headers(answer)}
        if self.encrypt_body:
            outputs["encryptedBody"] = context.encrypted(answer.text)
        else:
            outputs["body"] = _body(answer)
        self._check(answer, outputs)
        return outputs


@dataclass(frozen=True)
class Download(_Call):
    """Stores the answer's body as a file: outputs `uri`, `code`, `length`, `headers`."""

    type = "io.kestra.plugin.core.http.Download"
    aliases = ("io.kestra.plugin.fs.http.Download",)

    fail_on_empty_response: bool = True
    save_as: str | None = None

    def run(self, context: Context) -> Mapping[str, Any]:
        target = context.scratch / "download"
        length = 0
        with self._answer(context) as answer:
            if answer.is_error and not self.allow_failed:
                answer.read()
                self._check(answer, {"code": answer.status_code})
            with target.open("wb") as file:
                for block in answer.iter_bytes():
                    length += file.write(block)
        if length == 0 and self.fail_on_empty_response:
            raise TaskError("No response from server")
        if length == 0:
            context.logger.warning("File '%s' is empty", self.uri)
        context.metrics.counter("response.length", length)
        name = self.save_as or posixpath.basename(answer.url.path) or "download"
        outputs = {"uri": context.files.put(target, name), "code": answer.status_code, "length": length}
        return {**outputs, "headers": _headers(answer)}


def _headers(answer: httpx.Response) -> dict[str, list[str]]:
    return {name: answer.headers.get_list(name) for name in answer.headers}


def _body(answer: httpx.Response) -> Any:
    if "json" in answer.headers.get("content-type", ""):
        try:
            return orjson.loads(answer.content)
        except orjson.JSONDecodeError:
            return answer.text  # the header lies; what came is shown as it is
    return answer.text


def _timeout(options: Mapping[str, Any]) -> httpx.Timeout:
    connect, read = options.get("connectTimeout"), options.get("readTimeout")
    return httpx.Timeout(
        PATIENCE,
        connect=PATIENCE if connect is None else parse_duration(str(connect)) / 1000,
        read=PATIENCE if read is None else parse_duration(str(read)) / 1000,
    )


def _auth(options: Mapping[str, Any]) -> tuple[str, str] | None:
    auth = options.get("auth") or {}
    user = auth.get("username") or options.get("basicAuthUser")
    password = auth.get("password") or options.get("basicAuthPassword")
    return None if user is None else (str(user), str(password or ""))


TASKS: Final = (Request, Download)
