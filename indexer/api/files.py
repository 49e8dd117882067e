"""Files of executions: outputs and inputs in the blob store, by the URI that an output or input shows."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from typing import Annotated, BinaryIO, Final
from urllib.parse import quote

from fastapi import APIRouter, Response
from fastapi import Query as Parameter
from fastapi.responses import StreamingResponse

from indexer.api.errors import json_response
from indexer.api.execution_actions import document_of
from indexer.api.reading import blocking
from indexer.api.tenancy import OfTenant

router: Final = APIRouter(prefix="/executions", tags=["Files"])

_CHUNK: Final = 256 * 1024
NAMESPACE_FILES: Final = "_files"
"""Folder of a namespace's files, below its root, as the workers have it."""

PREVIEW: Final = 256 * 1024
"""Bytes of a file that a preview reads."""

Uri = Annotated[str, Parameter(alias="path", description="the file's URI, kestra:///…")]


@router.get("/{execution_id}/file")
async def download(execution_id: str, tenant: OfTenant, uri: Uri) -> StreamingResponse:
    """A file of the tenant's storage."""
    await document_of(tenant, execution_id)
    size = await blocking(tenant.file_size, uri)
    file = await blocking(tenant.open_file, uri)
    name = posixpath.basename(uri)
    headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(name)}", "Content-Length": str(size)}
    return StreamingResponse(chunks(file), media_type="application/octet-stream", headers=headers)


def chunks(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while chunk := file.read(_CHUNK):
            yield chunk


@router.get("/{execution_id}/file/metas")
async def metas(execution_id: str, tenant: OfTenant, uri: Uri) -> Response:
    """A file's size in bytes."""
    await document_of(tenant, execution_id)
    return json_response({"size": await blocking(tenant.file_size, uri)})


@router.get("/{execution_id}/file/preview")
async def preview(
    execution_id: str,
    tenant: OfTenant,
    uri: Uri,
    max_rows: Annotated[int, Parameter(alias="maxRows", ge=1, le=10_000)] = 100,
    encoding: str = "utf-8",
) -> Response:
    """The first lines of a file as text."""
    await document_of(tenant, execution_id)

    def read() -> bytes:
        with tenant.open_file(uri) as file:
            return file.read(PREVIEW + 1)

    content = await blocking(read)
    try:
        lines = content[:PREVIEW].decode(encoding, errors="replace").splitlines()
    except LookupError:
        lines = content[:PREVIEW].decode(errors="replace").splitlines()
    extension = posixpath.splitext(uri)[1].lstrip(".")
    truncated = len(content) > PREVIEW or len(lines) > max_rows
    return json_response(
        {"extension": extension, "type": "TEXT", "content": "\n".join(lines[:max_rows]), "truncated": truncated}
    )
