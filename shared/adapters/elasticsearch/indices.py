"""Indices: templates, indices and aliases, and how one generation follows another.

The mappings are the indexer's data (indexer/mappings/*.json); they are read as files, for operators apply them too.
Nothing here lets Elasticsearch guess a type: without its template no index is made, and without an index nothing
is written (`require_alias`).
"""

from __future__ import annotations

import json
import threading
import time
from importlib import resources
from typing import Any, Final

from shared.adapters.elasticsearch.connection import Connection, RequestRefused, StoreUnavailable
from shared.adapters.elasticsearch.names import Names, period_at
from shared.model.document import Kind
from shared.settings import ElasticsearchSettings

PRIORITY: Final = 500
"""Of our templates: above those that Elasticsearch brings (100), so that `logs-*-*` never meets one of our names."""


def body_of(kind: Kind) -> dict[str, Any]:
    """The template body of a kind as its file has it: settings, mappings, `_meta`."""
    text = resources.files("indexer.mappings").joinpath(f"{kind.value}.json").read_text()
    return json.loads(text)  # type: ignore[no-any-return]


class Indices:
    """The indices of one deployment. Thread-safe."""

    def __init__(self, connection: Connection, settings: ElasticsearchSettings, names: Names) -> None:
        """Knows nothing yet of what is there."""
        self._connection = connection
        self._settings = settings
        self.names = names
        self._known: set[str] = set()
        self._lock = threading.Lock()

    # ------------------------------------------------------------------ templates

    def prepare(self) -> None:
        """Put the templates, bring new fields and settings to the indices that are there, make this period's indices.

        `gc_deletes` is how long a deletion's version is remembered: until then an older write can't bring the document
        back. It is some times what a stalled indexer may hold a batch (`indexer.projector.STALE`).
        """
        for kind in Kind:
            body = body_of(kind)
            self._connection.request("PUT", f"/_index_template/{self.names.template(kind)}", self._template(kind, body))
            if self._connection.find("GET", f"/_alias/{self.names.all(kind)}") is not None:
                self._connection.request("PUT", f"/{self.names.all(kind)}/_mapping", body["mappings"])
                remembered = {"index": {"gc_deletes": body["settings"]["index"]["gc_deletes"]}}
                self._connection.request("PUT", f"/{self.names.all(kind)}/_settings", remembered)
            self.ensure(kind, period_at(time.time_ns() // 1_000_000, self._settings.period))

    def _template(self, kind: Kind, body: dict[str, Any]) -> dict[str, Any]:
        index = {
            **body["settings"]["index"],
            "number_of_shards": self._settings.shards,
            "number_of_replicas": self._settings.replicas,
            # Named, it also holds for indices that nobody has searched for a while.
            "refresh_interval": self._settings.refresh_interval,
        }
        return {
            "index_patterns": [self.names.pattern(kind)],
            "priority": PRIORITY,
            "template": {"settings": {"index": index}, "mappings": body["mappings"]},
            "_meta": body["_meta"],
        }

    def ready(self) -> str | None:
        """What is missing, as a sentence; None when nothing is."""
        try:
            return self._missing_template() or self._missing_alias()
        except (StoreUnavailable, RequestRefused) as error:
            return str(error)

    def _missing_template(self) -> str | None:
        path = f"/_index_template/{self.names.prefix}*"
        params = {"filter_path": "index_templates.name,index_templates.index_template._meta.version"}
        found = (self._connection.find("GET", path, params) or {}).get("index_templates", [])
        versions = {t["name"]: t.get("index_template", {}).get("_meta", {}).get("version") for t in found}
        for kind in Kind:
            name = self.names.template(kind)
            wanted = body_of(kind)["_meta"]["version"]
            if name not in versions:
                return f"index template {name} is missing; `runyard topics` makes it"
            if versions[name] != wanted:
                return f"index template {name} has version {versions[name]}, not {wanted}; `runyard topics` renews it"
        return None

    def _missing_alias(self) -> str | None:
        for kind in Kind:
            if not self.indices(kind):
                return f"alias {self.names.all(kind)} is missing; `runyard topics` makes it"
        return None

    # ------------------------------------------------------------------ indices

    def indices(self, kind: Kind) -> list[str]:
        """The indices behind a kind's alias."""
        return sorted(self._connection.find("GET", f"/_alias/{self.names.all(kind)}") or ())

    def ensure(self, kind: Kind, period: str) -> None:
        """Make a period's index with its aliases, where there is none. Raises StoreUnavailable without the template."""
        alias = self.names.alias(kind, period)
        if alias in self._known:
            return
        with self._lock:
            if self._connection.find("GET", f"/_alias/{alias}") is None:
                self._create(kind, period, self._generation(kind))
            self._known.add(alias)

    def forget(self, alias: str) -> None:
        """The alias turned out to be gone: look again next time."""
        self._known.discard(alias)

    def _create(self, kind: Kind, period: str, generation: int) -> None:
        if self._connection.find("GET", f"/_index_template/{self.names.template(kind)}") is None:
            raise StoreUnavailable(f"index template {self.names.template(kind)} is missing; `runyard topics` makes it")
        aliases: dict[str, Any] = {self.names.alias(kind, period): {}, self.names.all(kind): {}}
        try:
            self._connection.request("PUT", f"/{self.names.index(kind, period, generation)}", {"aliases": aliases})
        except RequestRefused as error:
            if error.kind != "resource_already_exists_exception":  # another process was first
                raise

    def _generation(self, kind: Kind) -> int:
        """The current generation; for one in the making, the one that its first index has or gets."""
        current = [parsed[1] for name in self.indices(kind) if (parsed := self.names.parse(kind, name))]
        if current:
            return max(current)
        return max(self._generations(kind), default=0) + 1

    def _generations(self, kind: Kind) -> set[int]:
        return {parsed[1] for name in self._every(kind) if (parsed := self.names.parse(kind, name))}

    def _every(self, kind: Kind) -> dict[str, bool]:
        """Every index of a kind, and whether an alias leads to it."""
        found = self._connection.request("GET", f"/{self.names.pattern(kind)}/_alias")
        return {name: bool(of["aliases"]) for name, of in found.items() if self.names.parse(kind, name)}

    # ------------------------------------------------------------------ generations

    def begin(self, kinds: tuple[Kind, ...]) -> Indices:
        """The indices of the next generation, empty; what an earlier attempt left behind is removed."""
        following = Indices(self._connection, self._settings, self.names.next())
        for kind in kinds:
            following.discard(kind)
            # Left behind by a switch that was interrupted.
            self.remove([name for name, led_to in self._every(kind).items() if not led_to])
            following.ensure(kind, period_at(time.time_ns() // 1_000_000, self._settings.period))
        return following

    def adopt(self, following: Indices, kind: Kind) -> list[str]:
        """Switch a kind's aliases to the next generation at one moment; returns the indices that are now unused."""
        old, new = self.indices(kind), following.indices(kind)
        actions = [{"remove": {"index": i, "aliases": self._aliases(kind, i, self.names)}} for i in old]
        for index in new:
            actions.append({"remove": {"index": index, "aliases": self._aliases(kind, index, following.names)}})
            actions.append({"add": {"index": index, "aliases": self._aliases(kind, index, self.names)}})
        self._connection.request("POST", "/_aliases", {"actions": actions})
        self._known.clear()
        following._known.clear()
        return old

    def _aliases(self, kind: Kind, index: str, names: Names) -> list[str]:
        parsed = self.names.parse(kind, index)
        if parsed is None:
            raise RequestRefused(
                409, "foreign_index", f"{index} is behind {names.all(kind)}, but not one of its indices"
            )
        return [names.all(kind), names.alias(kind, parsed[0])]

    def remove(self, names: list[str]) -> None:
        """Delete indices by their names."""
        for name in names:
            self._connection.find("DELETE", f"/{name}")

    def discard(self, kind: Kind) -> None:
        """Delete what lies behind the kind's alias."""
        self.remove(self.indices(kind))
        self._known.clear()
