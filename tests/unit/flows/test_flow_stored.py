"""A flow as the topic keeps it and as the API answers it."""

from __future__ import annotations

from dataclasses import replace

from shared.flows.parser import parse_flow
from shared.flows.stored import flow_json, from_stored
from shared.messages import FlowStored

SOURCE = """\
id: shop
namespace: acme
revision: 77
labels: {team: sales}
inputs:
  - {name: who, type: string}
  - {id: n, type: INT, required: false, defaults: 3}
pluginDefaults: [{type: io.kestra.plugin.core.log, values: {message: hello}}]
tasks: [{id: one, type: io.kestra.core.tasks.log.Log, description: ~}]
"""


def test_a_stored_flow_comes_back_equal():
    """Tenant, revision, deletion and text are kept; the rest is read again, once."""
    flow = replace(parse_flow(SOURCE, tenant="east", revision=3), deleted=True)

    stored = FlowStored("east", flow.namespace, flow.id, 3, SOURCE, deleted=True)

    assert from_stored(stored) == flow
    assert from_stored(stored) is from_stored(stored)


def test_ids_in_json_are_texts():
    """An id that looks like a number is a text, a user's value stays a number."""
    source = (
        "id: 1\nnamespace: acme\nvariables: {id: 5}\ntasks: [{id: 017, type: io.kestra.plugin.core.debug.Return}]\n"
    )

    answer = flow_json(parse_flow(source))

    assert (answer["id"], answer["variables"], answer["tasks"][0]["id"]) == ("1", {"id": 5}, "017")


def test_json_of_a_flow():
    """The API's form: what was written, labels as a list, inputs with id, type and required, the server's revision."""
    answer = flow_json(parse_flow(SOURCE, revision=3))

    assert answer == {
        "tenantId": "main",
        "id": "shop",
        "namespace": "acme",
        "revision": 3,
        "labels": [{"key": "team", "value": "sales"}],
        "inputs": [
            {"required": True, "name": "who", "id": "who", "type": "STRING"},
            {"required": False, "id": "n", "type": "INT", "defaults": 3},
        ],
        "pluginDefaults": [{"type": "io.kestra.plugin.core.log", "values": {"message": "hello"}}],
        "tasks": [{"id": "one", "type": "io.kestra.core.tasks.log.Log", "description": None}],
        "disabled": False,
        "deleted": False,
    }
    assert flow_json(parse_flow(SOURCE), source=True)["source"] == SOURCE
