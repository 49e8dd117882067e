"""Pages: Task Runs and one execution, rendered on the server. Everything that a view is made of is in its URL."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlencode

import orjson
from fastapi import APIRouter, Request, Response
from fastapi import Query as Parameter
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse, RedirectResponse

from indexer.api import reading
from indexer.api.errors import ApiError, invalid, not_found, unavailable
from indexer.api.filters import LEVELS, Filters, parse_level, parse_sort
from indexer.api.reading import blocking, now
from indexer.api.tenancy import DEFAULT_TENANT, OfTenant, Tenant, is_tenant
from indexer.pages.format import bytes_text, date, duration, moment, seconds, short
from indexer.pages.histogram import Histogram, histogram
from shared.model.document import TERMINATED_NAMES, Kind
from shared.model.query import Found, Page, Query, QueryError
from shared.model.state import StateType
from shared.ports import JournalError
from shared.query.fields import WINDOW, countable


class PageRoute(APIRoute):
    """A route whose errors are pages, too."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, with every error that has a text for people shown on a page."""
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                return await handler(request)
            except ApiError as error:
                return _problem(request, error.status, error.message)
            except RequestValidationError as error:
                return _problem(request, 422, "; ".join(invalid(error)))
            except (JournalError, ConnectionError) as error:
                return _problem(request, 503, unavailable(error))

        return handle


router: Final = APIRouter(include_in_schema=False, route_class=PageRoute)

BARS: Final = 60
"""Bars of the histogram: as many as can be told apart on a page."""

SIZES: Final = (10, 25, 50, 100)
"""Rows of one page that can be chosen."""

LOG_LINES: Final = 500
"""Log lines shown on an execution's page; the download has all of them."""

_FOLDER: Final = Path(__file__).parent
_SECURITY: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Nothing is loaded from elsewhere and no script runs, even if a value should slip through unescaped."""

COLUMNS: Final = (
    ("Execution", "executionId"),
    ("Task", "taskId"),
    ("ID", "id"),
    ("Start", "state.startDate"),
    ("End", "state.endDate"),
    ("Duration", "state.duration"),
    ("Namespace", "namespace"),
    ("Flow", "flowId"),
    ("Attempts", "attemptsCount"),
    ("State", "state.current"),
)
"""The ten columns of the Task Runs page, with the field that each is sorted by."""

_LABEL: Final = re.compile(r'(?:[^\s"]|"[^"]*"?)+')
"""One label among several: spaces end it, but within quotes."""

_STATES: Final = tuple(state.value for state in StateType if state is not StateType.RESUBMITTED)

_environment: Final = Environment(
    loader=FileSystemLoader(_FOLDER / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
)
_environment.filters.update(date=date, duration=duration, seconds=seconds, short=short, bytes=bytes_text, moment=moment)


def _page(template: str, status: int = 200, **values: Any) -> HTMLResponse:
    return HTMLResponse(_environment.get_template(template).render(**values), status, headers=_SECURITY)


_TITLES: Final = {404: "That isn't here", 422: "That can't be shown", 503: "Not now"}


def _problem(request: Request, status: int, text: str) -> HTMLResponse:
    asked = request.path_params.get("tenant", "")
    tenant, title = asked if is_tenant(asked) else DEFAULT_TENANT, _TITLES.get(status, "Something is wrong")
    return _page("problem.html", status, tenant=tenant, title=title, problem=text)


@router.get("/")
@router.get("/ui")
@router.get("/ui/")
def home() -> Response:
    """The Task Runs page of the default tenant."""
    return RedirectResponse(f"/ui/{DEFAULT_TENANT}/taskruns")


@router.get("/ui/style.css")
def style() -> Response:
    """The pages' style sheet."""
    headers = {"Cache-Control": "max-age=300", "X-Content-Type-Options": "nosniff"}
    return Response((_FOLDER / "templates" / "style.css").read_text(), media_type="text/css", headers=headers)


@router.get("/ui/{tenant}")
def tenant_home(tenant: OfTenant) -> Response:
    """The Task Runs page of a tenant."""
    return RedirectResponse(f"/ui/{tenant.name}/taskruns")


# ------------------------------------------------------------------ Task Runs


@router.get("/ui/{tenant}/taskruns")
async def task_runs_page(
    request: Request,
    tenant: OfTenant,
    q: str = "",
    namespace: str = "",
    flow_id: Annotated[str, Parameter(alias="flowId")] = "",
    state: Annotated[list[str] | None, Parameter()] = None,
    labels: Annotated[list[str] | None, Parameter()] = None,
    start_date: Annotated[str, Parameter(alias="startDate")] = "",
    end_date: Annotated[str, Parameter(alias="endDate")] = "",
    sort: str = "state.startDate:desc",
    page: Annotated[int, Parameter(ge=1)] = 1,
    size: Annotated[int, Parameter(ge=1, le=1_000)] = 25,
    cursor: str = "",
) -> Response:
    """Every task run of every execution: filtered, sorted, paged, counted over time.

    `cursor`: where `page` begins, beyond what page numbers reach; the link to the next page has it.
    """
    texts = [text.replace('"', "") for label in labels or () for text in _LABEL.findall(label)]
    form: dict[str, Any] = {
        "q": q.strip(),
        "namespace": namespace.strip(),
        "flowId": flow_id.strip(),
        "state": [name for names in state or () for name in names.split(",") if name],
        "labels": [f'"{text}"' if " " in text else text for text in texts],
        "startDate": start_date.strip(),
        "endDate": end_date.strip(),
        "sort": sort,
        "size": size,
    }
    problem = None
    found, bars = Found((), 0), None
    order: tuple[tuple[str, bool], ...] = ()
    try:
        filters = Filters(
            q=form["q"],
            namespace=form["namespace"],
            flow_id=form["flowId"],
            start_date=form["startDate"],
            end_date=form["endDate"],
            state=form["state"],
            labels=texts,
        )
        order = parse_sort([sort])
        wanted = Page(page, size, order, cursor or None)
        found, bars = await blocking(_task_runs, tenant, filters.query(tenant, Kind.TASK_RUN), wanted)
    except ApiError as error:
        problem = error.message
    except QueryError as error:
        problem = str(error)
    links = Links(request.url.path, form)
    counted = not order or countable(Kind.TASK_RUN, order[0][0])
    pages = max(1, -(-found.total // size))
    return _page(
        "task_runs.html",
        200 if problem is None else 422,
        tenant=tenant.name,
        form=form,
        states=_STATES,
        sizes=SIZES,
        columns=[(title, field, links.sorted_by(field), links.direction(field)) for title, field in COLUMNS],
        rows=found.documents,
        total=found.total,
        page=page,
        pages=pages,
        previous=links.to_page(page - 1) if page > 1 and (counted or (page - 1) * size <= WINDOW) else "",
        following=links.to_page(page + 1, _cursor(found, page * size, counted=counted)) if page < pages else "",
        links=links,
        filtered=any(form[name] for name in ("q", "namespace", "flowId", "state", "labels", "startDate", "endDate")),
        client=f"--server {str(request.base_url).rstrip('/')}"
        + (f" --tenant {tenant.name}" if tenant.name != DEFAULT_TENANT else ""),
        histogram=bars,
        problem=problem,
        now=now(),
    )


def _task_runs(tenant: Tenant, query: Query, page: Page) -> tuple[Found, Histogram | None]:
    return tenant.search(query, page), histogram(tenant.histogram(query, BARS))


def _cursor(found: Found, shown: int, *, counted: bool) -> str:
    """The cursor of the next page, where its number does not reach it."""
    return "" if counted or shown < WINDOW else found.cursor or ""


class Links:
    """URLs of the same page with something changed."""

    def __init__(self, path: str, form: Mapping[str, Any]) -> None:
        """`form`: the parameters as they are."""
        self._path, self._form = path, form

    def _url(self, **changes: Any) -> str:
        pairs = [
            (name, item)
            for name, value in {**self._form, **changes}.items()
            for item in (value if isinstance(value, list) else [value])
            if item not in ("", None)
        ]
        return f"{self._path}?{urlencode(pairs)}"

    def to_page(self, number: int, cursor: str = "") -> str:
        """Another page of the same rows."""
        return self._url(page=number, cursor=cursor)

    def sorted_by(self, field: str) -> str:
        """The first page in the order of a column; the other direction where it is that already."""
        direction = "asc" if self.direction(field) == "desc" else "desc"
        return self._url(sort=f"{field}:{direction}")

    def direction(self, field: str) -> str:
        """`asc` or `desc` for the column that is sorted by, else empty."""
        name, _, direction = str(self._form["sort"]).partition(":")
        return "" if name != field else direction or "asc"

    def with_state(self, state: str) -> str:
        """Only this state."""
        return self._url(state=[state])

    def cleared(self) -> str:
        """Without filters."""
        return self._path


# ------------------------------------------------------------------ one execution


@router.get("/ui/{tenant}/executions/{execution_id}")
async def execution_page(
    execution_id: str,
    tenant: OfTenant,
    level: str = "INFO",
    task_run_id: Annotated[str, Parameter(alias="taskRunId")] = "",
) -> Response:
    """An execution with its task runs, their attempts and outputs, and its logs; those of one task run, where asked."""
    wanted = parse_level(level)
    found = await reading.execution_document(tenant, execution_id)
    if found is None:
        raise not_found(f"execution {execution_id}")
    snapshot, document = found
    listed, total = await blocking(reading.task_run_documents, tenant, snapshot, document)
    runs = [*listed, *await _ancestry(tenant, execution_id, task_run_id, {run["id"] for run in listed})]
    lines, line_total = await blocking(_log_lines, tenant, execution_id, task_run_id, wanted)
    return _page(
        "execution.html",
        tenant=tenant.name,
        execution=document,
        ended=document["state"]["current"] in TERMINATED_NAMES,
        inputs=_pretty(document.get("inputs")),
        outputs=_pretty(document.get("outputs")),
        variables=_pretty(document.get("trigger", {}).get("variables")),
        runs=[(run, depth, _pretty(run.get("outputs"))) for run, depth in _nested(runs)],
        total=total,
        chosen=next((run for run in runs if run["id"] == task_run_id), None),
        lines=lines,
        line_total=line_total,
        names={run["id"]: run["taskId"] for run in runs},
        level=level,
        levels=LEVELS,
        now=now(),
    )


async def _ancestry(
    tenant: Tenant, execution_id: str, task_run_id: str, listed: Collection[str]
) -> list[Mapping[str, Any]]:
    """The task run of that id and the ones above it, up to one that is listed. Raises 404."""
    found: list[Mapping[str, Any]] = []
    wanted: str | None = task_run_id or None
    while wanted is not None and wanted not in listed:
        run = await reading.task_run(tenant, wanted)
        if run is None or run["executionId"] != execution_id:
            raise not_found(f"task run {wanted} of execution {execution_id}")
        found.append(run)
        wanted = run.get("parentTaskRunId")
    return found


def _log_lines(
    tenant: Tenant, execution_id: str, task_run_id: str, level: str | None
) -> tuple[Sequence[Mapping[str, Any]], int]:
    query = tenant.query(Kind.LOG, execution_ids=(execution_id,), task_run_id=task_run_id or None, min_level=level)
    found = tenant.search(query, Page(1, LOG_LINES, (("timestamp", True), ("index", True))))
    return found.documents, found.total


def _nested(runs: Sequence[Mapping[str, Any]]) -> list[tuple[Mapping[str, Any], int]]:
    """Task runs as a tree, each followed by its children, with their depth."""
    ids = {run["id"] for run in runs}
    children: dict[str | None, list[Mapping[str, Any]]] = {}
    for run in runs:
        parent = run.get("parentTaskRunId")
        children.setdefault(parent if parent in ids else None, []).append(run)
    found: list[tuple[Mapping[str, Any], int]] = []
    stack = [(run, 0) for run in reversed(children.get(None, []))]
    while stack:
        run, depth = stack.pop()
        found.append((run, depth))
        stack.extend((child, depth + 1) for child in reversed(children.get(run["id"], [])))
    return found


def _pretty(text: str | None) -> str:
    """A JSON text with line breaks; nothing for an empty object."""
    if text in (None, "{}", "null"):
        return ""
    return orjson.dumps(orjson.loads(str(text)), option=orjson.OPT_INDENT_2).decode()


@router.get("/ui/{path:path}")
def nowhere(path: str) -> Response:
    """A page that isn't there."""
    raise not_found(f"page /ui/{path}")
