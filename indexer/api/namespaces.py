"""Namespaces: their key values and files."""

from __future__ import annotations

import io
import re
from datetime import datetime
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Request, Response
from fastapi import Query as Parameter
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from starlette.datastructures import UploadFile

from indexer.api.errors import json_response, not_found, refused
from indexer.api.files import NAMESPACE_FILES, chunks
from indexer.api.reading import blocking, now
from indexer.api.tenancy import OfTenant, Tenant
from shared.key_values import KeyValue, is_key
from shared.model.moment import iso, parse_duration

router: Final = APIRouter(prefix="/namespaces", tags=["Namespaces"])

_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}\Z")
_NAMESPACE: Final = re.compile(r"[a-z0-9][a-z0-9._-]*\Z")


class Keys(BaseModel):
    """Keys to delete."""

    keys: list[str]


def _namespace(namespace: str) -> str:
    if not _NAMESPACE.match(namespace) or ".." in namespace:
        raise refused(f"Invalid namespace: {namespace}")
    return namespace


# ------------------------------------------------------------------ key values


@router.get("/{namespace}/kv")
async def list_keys(namespace: str, tenant: OfTenant) -> Response:
    """All keys of a namespace."""
    values = tenant.key_values(_namespace(namespace))
    return json_response(await blocking(lambda: [_entry(value) for value in values.entries(now())]))


def _entry(value: KeyValue) -> dict[str, Any]:
    shown = {"key": value.key, "creationDate": iso(value.created), "updateDate": iso(value.updated)}
    return shown if value.expires is None else {**shown, "expirationDate": iso(value.expires)}


@router.delete("/{namespace}/kv")
async def delete_keys(namespace: str, tenant: OfTenant, body: Keys) -> Response:
    """Delete several keys; the answer names those that were there."""
    values = tenant.key_values(_namespace(namespace))
    deleted = [key for key in body.keys if is_key(key) and await blocking(values.delete, key, now())]
    return json_response({"keys": deleted})


@router.get("/{namespace}/kv/{key}")
async def get_value(namespace: str, key: str, tenant: OfTenant) -> Response:
    """A value with its type."""
    found = await blocking(tenant.key_values(_namespace(namespace)).get, key, now()) if is_key(key) else None
    if found is None:
        raise not_found(f"key {key} in namespace {namespace}")
    return json_response(
        {"type": value_type(found.value), "value": found.value, "revision": 1, "updated": iso(found.updated)}
    )


def value_type(value: Any) -> str:
    """Kestra's name of a value's type."""
    if isinstance(value, bool):
        return "BOOLEAN"
    if isinstance(value, int | float):
        return "NUMBER"
    if not isinstance(value, str):
        return "JSON"
    if _DATE.match(value):
        return "DATE"
    try:
        if value.startswith("P"):
            parse_duration(value)
            return "DURATION"
        if "T" in value:
            datetime.fromisoformat(value)
            return "DATETIME"
    except ValueError:
        return "STRING"
    return "STRING"


@router.put("/{namespace}/kv/{key}")
async def put_value(request: Request, namespace: str, key: str, tenant: OfTenant) -> Response:
    """Set a value: JSON, or text that isn't JSON as it is. Header `ttl`: an ISO 8601 duration."""
    if not is_key(key):
        raise refused(f"Invalid key: {key}; letters, digits, `.`, `_` and `-` are allowed, the first a letter or digit")
    text = (await request.body()).decode(errors="replace")
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        value = text
    ttl = request.headers.get("ttl")
    try:
        lifetime = None if ttl is None else parse_duration(ttl)
    except ValueError as error:
        raise refused(f"Invalid ttl: {error}") from error
    await blocking(tenant.key_values(_namespace(namespace)).put, key, value, now(), lifetime)
    return Response(status_code=200)


@router.delete("/{namespace}/kv/{key}")
async def delete_value(namespace: str, key: str, tenant: OfTenant) -> Response:
    """Delete a key; `false` when it wasn't there."""
    values = tenant.key_values(_namespace(namespace))
    return json_response(is_key(key) and await blocking(values.delete, key, now()))


# ------------------------------------------------------------------ files

FilePath = Annotated[str, Parameter(alias="path")]


def _file(namespace: str, path: str) -> str:
    return f"{_namespace(namespace).replace('.', '/')}/{NAMESPACE_FILES}/{path.strip('/')}"


@router.post("/{namespace}/files")
async def put_file(request: Request, namespace: str, tenant: OfTenant, path: FilePath) -> Response:
    """Store a namespace file: the part `fileContent` of a form."""
    form = await request.form()
    content = form.get("fileContent")
    if isinstance(content, UploadFile):
        await blocking(tenant.put_file, _file(namespace, path), content.file)
    elif isinstance(content, str):
        await blocking(tenant.put_file, _file(namespace, path), io.BytesIO(content.encode()))
    else:
        raise refused("A part named fileContent is needed")
    return Response(status_code=200)


@router.get("/{namespace}/files")
async def get_file(namespace: str, tenant: OfTenant, path: FilePath) -> StreamingResponse:
    """The content of a namespace file."""
    file = await blocking(tenant.open_file, f"kestra:///{tenant.name}/{_file(namespace, path)}")
    return StreamingResponse(chunks(file), media_type="application/octet-stream")


@router.delete("/{namespace}/files")
async def delete_file(namespace: str, tenant: OfTenant, path: FilePath) -> Response:
    """Delete a namespace file, or everything below a folder."""
    if not path.strip("/"):
        raise refused("A path is needed")
    await blocking(tenant.delete_files, _file(namespace, path))
    return Response(status_code=200)


@router.get("/{namespace}/files/search")
async def search_files(namespace: str, tenant: OfTenant, q: str = "") -> Response:
    """Paths of namespace files that hold the text."""
    return json_response([path for path in await blocking(_files, tenant, namespace) if q in path])


@router.get("/{namespace}/files/directory")
async def list_files(namespace: str, tenant: OfTenant, path: Annotated[str, Parameter()] = "") -> Response:
    """Files and folders directly below a folder."""
    start = "/" + path.strip("/") + "/" if path.strip("/") else "/"
    below: dict[str, str] = {}
    for file in await blocking(_files, tenant, namespace):
        if file.startswith(start):
            name, slash, _ = file[len(start) :].partition("/")
            below[name] = "Directory" if slash else "File"
    return json_response([{"fileName": name, "type": kind} for name, kind in sorted(below.items())])


def _files(tenant: Tenant, namespace: str) -> list[str]:
    root = _file(namespace, "")
    return [f"/{uri.partition(f'/{NAMESPACE_FILES}/')[2]}" for uri in tenant.list_files(root)]
