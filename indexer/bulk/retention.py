"""Retention: purges what has ended long ago, as bulk actions that every indexer would ask for alike.

Time is cut into slots of `retention.every`. A slot's job has an id that follows from the slot, the tenant and the rule,
so that several indexers, or one that was restarted, make it once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from indexer.api.reading import now
from indexer.api.services import Services
from indexer.bulk import work
from shared.bulk_actions import RETENTION, BulkActionRequested, query_data
from shared.model.document import Kind
from shared.model.identifier import derive_id
from shared.model.moment import Millis, iso, parse_age
from shared.model.query import Page, Query
from shared.settings import FOREVER, RetentionSettings

ACTION: Final = "delete"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Rule:
    """How long a namespace and those below it are kept; all namespaces where it is None."""

    namespace: str | None
    age: Millis
    except_: tuple[str, ...] = ()  #: namespaces below it that have rules of their own

    def query(self, tenant: str, at: Millis) -> Query:
        """What has ended longer ago."""
        excluded = " ".join(f"AND NOT namespace:({each} OR {each}.*)" for each in map(_escaped, self.except_))
        q = f"* {excluded}" if excluded else None
        return Query(tenant, Kind.EXECUTION, q=q, namespace=self.namespace, ended_to=at - self.age)


def rules(settings: RetentionSettings) -> Iterator[Rule]:
    """The rules, the nearest of which holds for a namespace."""
    named = settings.namespaces
    if settings.executions is not None:
        yield Rule(None, parse_age(settings.executions), tuple(sorted(named)))
    for namespace, age in sorted(named.items()):
        if age != FOREVER:
            below = tuple(other for other in sorted(named) if other.startswith(f"{namespace}."))
            yield Rule(namespace, parse_age(age), below)


def _escaped(namespace: str) -> str:
    return "".join(
        character if character.isalnum() or character in "._" else f"\\{character}" for character in namespace
    )


class Retention:
    """Used by one thread."""

    def __init__(self, services: Services, clock: Callable[[], Millis] = now) -> None:
        """`clock`: epoch milliseconds."""
        self._services, self._clock = services, clock
        self._rules = tuple(rules(services.settings.retention))
        self._every = round(services.settings.retention.every * 1000)
        self._due = 0

    def step(self) -> None:
        """Ask for this slot's purges, where that has not been done. Raises JournalError, and what the store raises."""
        at = self._clock()
        if not self._rules or at < self._due:
            return
        slot = at - at % self._every
        jobs = self._services.jobs
        jobs.catch_up()
        for tenant in self._services.flows.tenants():
            asked = [job.request for job in jobs.of_tenant(tenant) if not job.state.ended]
            at_work = {each.filters.get("namespace") for each in asked if each.origin == RETENTION}
            for rule in self._rules:
                request = self._request(tenant, rule, slot)
                if (
                    rule.namespace not in at_work
                    and jobs.get(request.id) is None
                    and self._finds_something(rule.query(tenant, slot))
                ):
                    _log.info("purging what the retention of tenant %s no longer keeps: %s", tenant, request.filters)
                    jobs.publish(request)
        self._due = slot + self._every

    def _finds_something(self, query: Query) -> bool:
        return self._services.store.search(query, Page(1, 1)).total > 0

    def _request(self, tenant: str, rule: Rule, slot: Millis) -> BulkActionRequested:
        query = rule.query(tenant, slot)
        filters = {"endedBefore": iso(slot - rule.age), "namespace": rule.namespace, "q": query.q}
        return BulkActionRequested(
            derive_id(slot, RETENTION, tenant, rule.namespace or ""),
            tenant,
            ACTION,
            slot,
            query_data(query),
            filters={name: value for name, value in filters.items() if value is not None},
            options=work.checked(ACTION, Kind.EXECUTION, {}),
            origin=RETENTION,
        )
