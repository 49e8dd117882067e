"""The pages: the ten columns, everything in the URL, everything escaped."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

import pytest

from indexer.api import reading
from indexer.pages import pages
from indexer.pages.format import bytes_text, date, duration, seconds, short
from indexer.pages.histogram import HEIGHT, WIDTH, histogram
from shared.model.document import Kind
from shared.model.query import Bucket
from shared.ports import Versioned
from tests.unit.api.conftest import FLOW, Api

EVIL = '<script>alert("x")</script>'


def task_run(number: int, **more: object) -> Versioned:
    """A stored task run."""
    at = f"2026-11-23T10:00:{number:02}.000Z"
    document = {
        "id": f"taskrun-number-{number:04}",
        "tenantId": "main",
        "namespace": "company.team",
        "flowId": "hello",
        "executionId": "execution-number-1",
        "taskId": f"t{number}",
        "taskType": "x",
        "attemptsCount": number,
        "labels": {"team": "blue"},
        "state": {
            "current": "SUCCESS",
            "startDate": at,
            "endDate": at,
            "duration": 1.5,
            "histories": [{"state": "CREATED", "date": at}, {"state": "SUCCESS", "date": at}],
        },
        "seq": number,
        **more,
    }
    return Versioned(Kind.TASK_RUN, str(document["id"]), number, document, "execution-number-1")


def links(text: str, name: str) -> dict[str, list[str]]:
    """The parameters of the link with a text."""
    found = re.search(rf'<a[^>]*href="([^"]+)"[^>]*>{re.escape(name)}(?: <span|</a>)', text)
    assert found is not None, name
    return parse_qs(urlsplit(found.group(1).replace("&amp;", "&")).query)


def test_the_root_leads_to_the_task_runs(api: Api) -> None:
    """`/` is a redirect."""
    answer = api.get("/")
    assert answer.status_code == 307
    assert answer.headers["location"] == "/ui/main/taskruns"
    assert api.get("/ui/style.css").headers["content-type"].startswith("text/css")


def test_the_page_has_ten_columns_with_each_run_s_values(api: Api) -> None:
    """Execution, task, id, start, end, duration, namespace, flow, attempts, state."""
    api.store.write([task_run(3)])
    text = api.get("/ui/main/taskruns").text

    heads = re.findall(r'<th scope="col"[^>]*><a href="[^"]*">([A-Z][A-Za-z]*)', text)
    assert heads == [
        "Execution", "Task", "ID", "Start", "End", "Duration", "Namespace", "Flow", "Attempts", "State",
    ]  # fmt: skip
    row = re.search(r"<tbody>(.*)</tbody>", text, re.DOTALL)
    assert row is not None
    cells = [
        re.sub(r"<[^>]+>", "", cell).strip() for cell in re.findall(r"<td[^>]*>(.*?)</td>", row.group(1), re.DOTALL)
    ]
    assert cells == [
        "…number-1", "t3", "…ber-0003", "2026-11-23 10:00:03.000", "2026-11-23 10:00:03.000", "1.5 s", "company.team", "hello",
        "3", "SUCCESS",
    ]  # fmt: skip
    assert "/ui/main/executions/execution-number-1" in row.group(1)


def test_filters_sorting_and_paging_are_in_the_url(api: Api) -> None:
    """Links keep the filters; a column's link turns its direction; the form shows what was asked for."""
    api.store.write([task_run(number) for number in range(30)])
    params = [
        ("namespace", "company"),
        ("state", "SUCCESS"),
        ("state", "FAILED"),
        ("labels", "team:blue"),
        ("size", "10"),
    ]
    text = api.get("/ui/main/taskruns", params=[*params, ("page", "2")]).text

    following = links(text, "Next →")
    assert following["page"] == ["3"]
    assert following["state"] == ["SUCCESS", "FAILED"]
    assert (following["namespace"], following["labels"]) == (["company"], ["team:blue"])
    assert links(text, "Start")["sort"] == ["state.startDate:asc"]
    assert links(text, "Task")["sort"] == ["taskId:desc"]
    assert 'name="namespace" value="company"' in text
    assert len(re.findall(r'name="state" value="\w+" checked', text)) == 2
    assert "Page 2 of 3" in text
    ascending = api.get("/ui/main/taskruns", params={"sort": "state.startDate:asc", "size": "10"}).text
    assert ascending.index("t0") < ascending.index(">t9")


def test_labels_with_spaces_and_states_in_one_text(api: Api) -> None:
    """Quotes keep a label's value together, in the form and in links; several states may be one text."""
    api.store.write([task_run(number, labels={"team": "my team", "a": "b"}) for number in range(12)])
    text = api.get(
        "/ui/main/taskruns", params={"labels": '"team:my team" a:b', "state": "SUCCESS,FAILED", "size": "10"}
    ).text

    assert "<small>12</small>" in text
    assert 'name="labels" value="&#34;team:my team&#34; a:b"' in text
    assert len(re.findall(r'name="state" value="\w+" checked', text)) == 2
    following = links(text, "Next →")
    assert (following["labels"], following["state"]) == (['"team:my team"', "a:b"], ["SUCCESS", "FAILED"])
    assert "<small>12</small>" in api.get("/ui/main/taskruns", params=following).text


def test_filters_that_find_nothing_or_cannot_be_understood_are_told(api: Api) -> None:
    """An empty result says so; a bad query is 422 with the message on the page."""
    api.store.write([task_run(1)])
    assert "No task runs found" in api.get("/ui/main/taskruns", params={"flowId": "none"}).text
    bad = api.get("/ui/main/taskruns", params={"q": "["})
    assert bad.status_code == 422
    assert "no closing bracket" in bad.text
    assert api.get("/ui/main/taskruns", params={"labels": "novalue"}).status_code == 422


@pytest.mark.parametrize("name", ["q", "namespace", "flowId", "labels", "startDate", "sort", "state"])
def test_parameters_are_escaped(api: Api, name: str) -> None:
    """No parameter's text becomes markup."""
    text = api.get("/ui/main/taskruns", params={name: f'"{EVIL}'}).text
    assert "<script>" not in text


def test_values_are_escaped_on_both_pages(api: Api) -> None:
    """Task ids, values, outputs, errors, labels and log lines stay text; a policy forbids scripts besides."""
    api.save()
    body = api.run(params=[("wait", "true"), ("labels", f"evil:{EVIL}")], files={"name": (None, EVIL)})
    run = task_run(1, value=EVIL, taskId=EVIL, error=EVIL, executionId=body["id"])
    line = {
        "id": "l1", "tenantId": "main", "namespace": "company.team", "flowId": "hello", "executionId": body["id"],
        "level": "INFO", "message": EVIL, "timestamp": "2026-11-23T10:00:00.000Z", "index": 0,
    }  # fmt: skip
    api.store.write([run, Versioned(Kind.LOG, "l1", 1, line, body["id"])])
    api.recent._kept._entries.clear()

    for path in ("/ui/main/taskruns", f"/ui/main/executions/{body['id']}"):
        answer = api.get(path)
        assert answer.status_code == 200
        assert "<script>" not in answer.text
        assert "&lt;script&gt;" in answer.text
        assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_the_execution_page_shows_runs_attempts_outputs_and_logs(api: Api) -> None:
    """Facts, labels and inputs; the task run with its attempt's worker and its outputs; the lines of the chosen level."""
    api.save()
    body = api.run(params={"wait": "true"}, files={"name": (None, "Ada")})
    lines = [
        {
            "id": level, "tenantId": "main", "namespace": "company.team", "flowId": "hello", "executionId": body["id"],
            "level": level, "message": f"line at {level}", "timestamp": "2026-11-23T10:00:00.000Z", "index": 0,
        }
        for level in ("DEBUG", "ERROR")
    ]  # fmt: skip
    api.store.write([Versioned(Kind.LOG, line["level"], 1, line, body["id"]) for line in lines])

    text = api.get(f"/ui/main/executions/{body['id']}").text
    assert body["id"] in text
    assert "team: blue" in text
    assert "Ada" in text
    assert f'id="{body["taskRunList"][0]["id"]}"' in text
    assert "w1" in text
    assert "&lt;b&gt;1&lt;/b&gt;" in text
    assert "line at ERROR" in text
    assert "line at DEBUG" not in text
    assert "http-equiv" not in text
    debug = api.get(f"/ui/main/executions/{body['id']}", params={"level": "DEBUG"}).text
    assert "line at DEBUG" in debug


def test_a_running_execution_s_page_reloads_and_an_unknown_one_is_404(api: Api) -> None:
    """Another tenant's execution is unknown too."""
    api.executor.hold = True
    api.save()
    execution_id = api.run()["id"]
    assert 'http-equiv="refresh"' in api.get(f"/ui/main/executions/{execution_id}").text
    assert api.get("/ui/main/executions/none").status_code == 404
    api.executor.succeed(execution_id)
    assert api.ended(execution_id)["state"]["current"] == "SUCCESS"
    assert api.get("/ui/main/executions/none", params={"level": "LOUD"}).status_code == 422


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/ui/main/taskruns?page=0", 422, "query.page: Input should be greater than or equal to 1"),
        ("/ui/main/taskruns?size=many", 422, "query.size: Input should be a valid integer"),
        ("/ui/main/nothing", 404, "page /ui/main/nothing"),
        ("/ui/a/b/c", 404, "page /ui/a/b/c"),
        ("/ui/%3Cscript%3E/taskruns", 404, "tenant &lt;script&gt;"),
        ("/ui/other/executions/none", 404, "execution none"),
        ("/ui/main/executions/none?level=LOUD", 422, "Invalid minLevel: LOUD"),
    ],
)
def test_errors_of_pages_are_pages(
    api: Api, monkeypatch: pytest.MonkeyPatch, path: str, status: int, words: str
) -> None:
    """A browser is shown what is wrong, with a way back; no JSON, and no markup out of the address."""
    monkeypatch.setattr(reading, "AWAITED", 0.01)
    answer = api.get(path)
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("text/html")
    assert f'role="alert">{words}' in answer.text.replace("Not Found: ", "")
    assert f'href="/ui/{"other" if "other" in path else "main"}/taskruns">All task runs' in answer.text


def test_a_search_store_that_is_away_is_told_on_a_page(api: Api) -> None:
    """503 with what the store says."""
    api.store.missing = "Elasticsearch: connection refused"
    answer = api.get("/ui/main/taskruns")
    assert answer.status_code == 503
    assert "Not possible now: Elasticsearch: connection refused" in answer.text


def test_a_task_run_that_is_not_listed_is_shown_where_it_is_asked_for(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list of a large execution is cut; a link to any task run shows it with those above it, and its log lines."""
    monkeypatch.setattr(reading, "LISTED", 2)
    api.save()
    execution_id = api.run(params={"wait": "true"})["id"]
    api.recent._kept._entries.clear()
    runs = [
        task_run(number, executionId=execution_id, createdSeq=number, **({} if parent is None else {"parentTaskRunId": parent}))
        for number, parent in ((1, None), (2, None), (3, "taskrun-number-0001"), (4, "taskrun-number-0003"))
    ]  # fmt: skip
    lines = [
        {
            "id": f"l{number}", "tenantId": "main", "namespace": "company.team", "flowId": "hello", "level": "INFO",
            "executionId": execution_id, "taskRunId": f"taskrun-number-{number:04}", "taskId": f"t{number}",
            "message": f"line of {number}", "timestamp": "2026-11-23T10:00:00.000Z", "index": 0,
        }
        for number in (1, 4)
    ]  # fmt: skip
    api.store.write([*runs, *(Versioned(Kind.LOG, line["id"], 1, line, execution_id) for line in lines)])
    href = links(api.get("/ui/main/taskruns").text, "…ber-0004")

    every = api.get(f"/ui/main/executions/{execution_id}").text
    one = api.get(f"/ui/main/executions/{execution_id}", params=href).text

    assert href == {"taskRunId": ["taskrun-number-0004"]}
    assert re.findall(r'<tr id="taskrun-number-(\d+)">', every) == ["0001", "0002"]
    assert re.findall(r'<tr id="taskrun-number-(\d+)">', one) == ["0001", "0003", "0004", "0002"]
    assert ("line of 1" in every, "line of 4" in every) == (True, True)
    assert ("line of 1" in one, "line of 4" in one) == (False, True)
    unknown = api.get(f"/ui/main/executions/{execution_id}", params={"taskRunId": "taskrun-number-0009"})
    assert unknown.status_code == 404


def test_another_tenant_sees_nothing_on_the_pages(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither rows nor the execution."""
    monkeypatch.setattr(reading, "AWAITED", 0.01)
    api.store.write([task_run(1)])
    assert "No task runs yet" in api.get("/ui/other/taskruns").text
    assert "runyard run FLOW.yaml --server http://test --tenant other" in api.get("/ui/other/taskruns").text
    api.save(FLOW)
    body = api.run(params={"wait": "true"})
    api.recent._kept._entries.clear()
    assert api.get(f"/ui/other/executions/{body['id']}").status_code == 404


def test_pages_that_no_number_reaches_follow_each_other_by_cursor(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the first 10,000, an order that cannot be counted goes on by the cursor; one by date by numbers both ways."""
    monkeypatch.setattr(pages, "WINDOW", 4)
    api.store.write([task_run(number) for number in range(9)])
    first = api.get("/ui/main/taskruns", params={"sort": "taskId:asc", "size": "2"}).text
    second = api.get("/ui/main/taskruns", params=links(first, "Next →")).text
    third = api.get("/ui/main/taskruns", params=links(second, "Next →")).text
    fourth = api.get("/ui/main/taskruns", params=links(third, "Next →")).text
    by_date = api.get("/ui/main/taskruns", params={"size": "2", "page": "4"}).text

    assert "cursor" not in links(first, "Next →")
    assert links(second, "Next →")["cursor"] == ["4"]
    assert [re.findall(r"<td>(t\d)", page) for page in (first, second, third, fourth)] == [
        ["t0", "t1"], ["t2", "t3"], ["t4", "t5"], ["t6", "t7"],
    ]  # fmt: skip
    assert "cursor" not in links(third, "← Previous")
    assert "<span>← Previous</span>" in fourth
    assert (links(by_date, "← Previous")["page"], links(by_date, "Next →")["page"]) == (["3"], ["5"])


def test_the_histogram_stacks_states_within_its_frame() -> None:
    """Bars lie in the drawing; the highest bucket fills it; the counts are summed by state."""
    buckets = [Bucket(0, {"FAILED": 1, "SUCCESS": 3}), Bucket(1000, {}), Bucket(2000, {"SUCCESS": 2})]
    drawn = histogram(buckets)
    assert drawn is not None
    assert drawn.counts == {"SUCCESS": 5, "FAILED": 1}
    assert (drawn.start, drawn.end, drawn.highest) == (0, 3000, 4)
    assert [(bar.state, bar.count) for bar in drawn.bars] == [("SUCCESS", 3), ("FAILED", 1), ("SUCCESS", 2)]
    for bar in drawn.bars:
        assert 0 <= bar.x <= bar.x + bar.width <= WIDTH
        assert 0 <= bar.y <= bar.y + bar.height <= HEIGHT + 0.01
    low, high = drawn.bars[0], drawn.bars[1]
    assert high.y + high.height == pytest.approx(low.y, abs=0.05)
    assert histogram([]) is None
    assert histogram([Bucket(0, {})]) is None


def test_the_page_draws_the_histogram(api: Api) -> None:
    """A rectangle with a title for each state."""
    api.store.write([task_run(1), task_run(2)])
    text = api.get("/ui/main/taskruns").text
    assert re.search(r'<rect class="SUCCESS"[^>]*><title>[^<]*2 SUCCESS</title></rect>', text)


@pytest.mark.parametrize(
    ("length", "text"),
    [(0.012, "12 ms"), (1.0, "1 s"), (3.25, "3.2 s"), (245, "4 min 5 s"), (3600, "1 h"), (183_600, "2 d 3 h")],
)
def test_lengths_of_time_are_short(length: float, text: str) -> None:
    """Two units at most."""
    assert seconds(length) == text


def test_other_values_are_shown_as_people_read_them() -> None:
    """Dates without T and Z, the ends of ids, bytes in binary units; what runs has an ellipsis."""
    assert date("2026-11-23T17:53:49.383Z") == "2026-11-23 17:53:49.383"
    assert date(None) == ""
    assert (short("0352lxLMZIZig5DGPOwP21"), short("brief")) == ("…DGPOwP21", "brief")
    assert [bytes_text(n) for n in (5, 1536, 3 * 1024 * 1024)] == ["5 B", "1.5 KiB", "3.0 MiB"]
    assert duration({"startDate": "1970-01-01T00:00:01.000Z"}, 3_000) == "2 s …"
