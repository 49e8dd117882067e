"""`http`: calling other services."""

from __future__ import annotations

from collections.abc import Mapping
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
class Request(Task):
    """Sends a request: outputs `code`, `body`, `headers`, `uri`. A status from 400 on fails unless `allowFailed`."""

    type = "io.kestra.plugin.core.http.Request"
    aliases = ("io.kestra.plugin.fs.http.Request",)

    uri: str
    method: str = "GET"
    body: str | None = None
    form_data: dict[str, Any] | None = None
    content_type: str | None = None
    headers: dict[str, str] | None = None
    params: dict[str, Any] | None = None
    options: dict[str, Any] | None = None
    allow_failed: bool = False
    encrypt_body: bool = False

    def run(self, context: Context) -> Mapping[str, Any]:
        headers = {name: value for name, value in (self.headers or {}).items() if value is not None}
        if self.content_type is not None:
            headers["content-type"] = self.content_type
        elif self.body is not None and "content-type" not in {name.lower() for name in headers}:
            headers["content-type"] = "application/json"  # Kestra's default for a body
        try:
            with httpx.Client(timeout=_timeout(self.options or {}), follow_redirects=self._follows()) as client:
                context.on_cancel(client.close)
                answer = client.request(
                    self.method.upper(),
                    self.uri,
                    content=self.body,
                    data=self.form_data,
                    params=self.params,
                    headers=headers,
                    auth=_auth(self.options or {}),
                )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise TaskError(f"{self.method} {self.uri}: {error or type(error).__name__}") from error
        outputs = {
            "uri": str(answer.url),
            "code": answer.status_code,
            "headers": {name: answer.headers.get_list(name) for name in answer.headers},
            "body": None if self.encrypt_body else _body(answer),
            **({"encryptedBody": context.encrypted(answer.text)} if self.encrypt_body else {}),
        }
        if answer.is_error and not self.allow_failed:
            text = answer.text[:1000]
            raise TaskError(f"Failed http request with response code '{answer.status_code}' and body '{text}'", outputs)
        return outputs

    def _follows(self) -> bool:
        return (self.options or {}).get("followRedirects", True) in (True, "true")


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


TASKS: Final = (Request,)
