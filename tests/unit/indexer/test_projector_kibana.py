"""The saved objects for Kibana: valid lines, whose references and fields exist."""

from __future__ import annotations

from importlib import resources
from typing import Any

import orjson
import pytest

from shared.model.document import Kind
from shared.query.fields import STARTS, field_of
from shared.settings import ElasticsearchSettings

OBJECTS: list[dict[str, Any]] = [
    orjson.loads(line) for line in resources.files("indexer.kibana").joinpath("runyard.ndjson").read_text().splitlines()
]
KINDS = {f"{ElasticsearchSettings().prefix}{kind.value}": kind for kind in Kind}


def fields_of(saved: dict[str, Any]) -> set[str]:
    """Fields that a saved search or visualization names."""
    attributes = saved["attributes"]
    if saved["type"] == "search":
        return {*attributes["columns"], *(field for field, _ in attributes["sort"])}
    aggregations = orjson.loads(attributes["visState"])["aggs"]
    return {aggregation["params"]["field"] for aggregation in aggregations if "field" in aggregation["params"]}


def test_every_reference_leads_to_an_object_of_the_file() -> None:
    """The file imports without anything else, and no name is used twice."""
    names = [(saved["type"], saved["id"]) for saved in OBJECTS]
    assert len(names) == len(set(names))
    for saved in OBJECTS:
        for reference in saved["references"]:
            assert (reference["type"], reference["id"]) in names


def test_every_panel_of_the_dashboard_has_its_reference() -> None:
    """Panels name their objects by references."""
    (dashboard,) = (saved for saved in OBJECTS if saved["type"] == "dashboard")
    panels = orjson.loads(dashboard["attributes"]["panelsJSON"])
    wanted = {(f"{panel['panelIndex']}:{panel['panelRefName']}", panel["type"]) for panel in panels}
    assert wanted == {(reference["name"], reference["type"]) for reference in dashboard["references"]}


def test_data_views_lead_to_the_aliases() -> None:
    """A data view's title is the alias of a kind, its time field the kind's start."""
    views = [saved for saved in OBJECTS if saved["type"] == "index-pattern"]
    assert len(views) == 3
    for view in views:
        kind = KINDS[view["attributes"]["title"]]
        assert view["id"] == view["attributes"]["title"]
        assert view["attributes"]["timeFieldName"] == STARTS[kind]


@pytest.mark.parametrize(
    "saved", [saved for saved in OBJECTS if saved["type"] in ("search", "visualization")], ids=lambda saved: saved["id"]
)
def test_every_field_is_in_the_catalogue(saved: dict[str, Any]) -> None:
    """Searches and visualizations name only fields that the documents have."""
    kind = KINDS[saved["references"][0]["id"]]
    names = fields_of(saved)
    assert names
    assert [name for name in names if field_of(kind, name) is None] == []
