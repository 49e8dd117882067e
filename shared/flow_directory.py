"""Flow directory: every revision of every flow, as the `flows` topic tells it, parsed when first asked for."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from shared.flows.catalog import Catalog
from shared.flows.stored import from_stored
from shared.messages import FlowRejected, FlowStored, TriggerToggled, UnknownMessage, decode
from shared.model.flow import Flow
from shared.ports import Inbound, Tail

FlowAnswer = FlowStored | FlowRejected
"""What a record of the topic may say."""

_BATCH: Final = 500
_TOGGLED: Final = "toggled/"
_TOGGLED_DEPTH: Final = 4
"""Slashes in the key of a TriggerToggled: `toggled/tenant/namespace/flow/trigger`."""

logger = logging.getLogger(__name__)


class FlowDirectory:
    """All revisions of all flows. Thread-safe; `poll` and `catch_up` may be called by different threads."""

    def __init__(self, tail: Tail, catalog: Catalog | None = None) -> None:
        """`tail`: of the `flows` topic, from its very first record. `catalog`: all installed types by default."""
        self._tail = tail
        self._catalog = catalog
        self._lock = threading.Lock()  #: over the dictionaries below
        self._revisions: dict[str, dict[int, FlowStored]] = {}
        self._off: dict[str, frozenset[str]] = {}  #: of each flow, the triggers that are switched off
        self._listeners: list[Callable[[FlowAnswer], None]] = []
        self._reading = threading.Lock()  #: one reader of the tail at a time
        self._turn = threading.Condition()
        self._catching = 0  #: callers of `catch_up`, before whom `poll` stands back

    def listen(self, listener: Callable[[FlowAnswer], None]) -> None:
        """Call `listener` with each record that is read from now on, on the reading thread; it must not raise."""
        self._listeners.append(listener)

    # ------------------------------------------------------------------ reading the topic

    def poll(self, timeout: float = 0.0) -> int:
        """Take in what is there, waiting at most `timeout` seconds for the first record; returns how many records."""
        with self._turn:
            self._turn.wait_for(lambda: self._catching == 0, timeout)
        with self._reading:
            return self._read(timeout)

    def catch_up(self, timeout: float) -> bool:
        """Take in everything that was written before this call; False when that takes longer than `timeout` seconds."""
        deadline = time.monotonic() + timeout
        with self._turn:
            self._catching += 1
        try:
            while True:
                with self._reading:
                    if self._tail.caught_up():
                        return True
                    self._read(min(0.02, max(0.0, deadline - time.monotonic())))
                if time.monotonic() >= deadline:
                    return False
        finally:
            with self._turn:
                self._catching -= 1
                self._turn.notify_all()

    def _read(self, timeout: float) -> int:
        records = self._tail.poll(_BATCH, timeout)
        for record in records:
            self._take(record)
        return len(records)

    def _take(self, record: Inbound) -> None:
        if record.value is None:
            self._forget(record.key)
            return
        try:
            message = decode(record.value)
        except UnknownMessage as error:  # a newer version's record: it says nothing about flows that this one knows
            logger.warning("The record %s of the flows can't be read: %s", record.key, error)
            return
        if isinstance(message, FlowStored):
            uid = f"{message.tenant}/{message.namespace}/{message.flow_id}"
            with self._lock:
                revisions = self._revisions.setdefault(uid, {})
                known = revisions.get(message.revision)
                if known is None or known.source != message.source or known.deleted != message.deleted:
                    revisions[message.revision] = message
        elif isinstance(message, TriggerToggled):
            self._toggle(
                f"{message.tenant}/{message.namespace}/{message.flow_id}", message.trigger_id, message.disabled
            )
            return
        elif not isinstance(message, FlowRejected):
            return
        for listener in self._listeners:
            listener(message)

    def _toggle(self, uid: str, trigger_id: str, disabled: bool) -> None:
        with self._lock:
            off = self._off.get(uid, frozenset())
            off = off | {trigger_id} if disabled else off - {trigger_id}
            self._off[uid] = off
            if not off:
                del self._off[uid]

    def _forget(self, key: str) -> None:
        """A tombstone takes one revision away, or the whole flow, or that a trigger is switched off."""
        if key.startswith(_TOGGLED) and key.count("/") == _TOGGLED_DEPTH:
            flow, _, trigger_id = key.removeprefix(_TOGGLED).rpartition("/")
            self._toggle(flow, trigger_id, disabled=False)
            return
        uid, at, revision = key.rpartition("@")
        with self._lock:
            if not at:
                self._revisions.pop(key, None)
            elif revision.isdigit() and uid in self._revisions:
                self._revisions[uid].pop(int(revision), None)
                if not self._revisions[uid]:
                    del self._revisions[uid]

    # ------------------------------------------------------------------ asking

    def stored(self, tenant: str, namespace: str, flow_id: str, revision: int | None = None) -> FlowStored | None:
        """A revision as it was stored; without a number the latest one, also where that says "deleted"."""
        with self._lock:
            revisions = self._revisions.get(f"{tenant}/{namespace}/{flow_id}")
            if not revisions:
                return None
            return revisions.get(max(revisions) if revision is None else revision)

    def get(self, tenant: str, namespace: str, flow_id: str, revision: int | None = None) -> Flow | None:
        """A revision of a flow; without a number the latest one, None where that is deleted.

        Raises FlowError when the source can't be read (its types were known when it was stored, and no longer are).
        """
        stored = self.stored(tenant, namespace, flow_id, revision)
        if stored is None or (revision is None and stored.deleted):
            return None
        return self.parsed(stored)

    def parsed(self, stored: FlowStored) -> Flow:
        """The flow of a stored revision; of a deletion, which has no text, as it last was. Raises FlowError."""
        if stored.deleted and not stored.source:
            for earlier in reversed(self.revisions(stored.tenant, stored.namespace, stored.flow_id)):
                if earlier.source and earlier.revision < stored.revision:
                    stored = replace(stored, source=earlier.source)
                    break
        return from_stored(stored, self._catalog)

    def switched_off(self, tenant: str, namespace: str, flow_id: str) -> frozenset[str]:
        """The ids of the flow's triggers that are switched off, whether or not the flow disables them by itself."""
        with self._lock:
            return self._off.get(f"{tenant}/{namespace}/{flow_id}", frozenset())

    def revisions(self, tenant: str, namespace: str, flow_id: str) -> tuple[FlowStored, ...]:
        """Every revision, oldest first."""
        with self._lock:
            revisions = self._revisions.get(f"{tenant}/{namespace}/{flow_id}", {})
            return tuple(revisions[number] for number in sorted(revisions))

    def tenants(self) -> list[str]:
        """Every tenant that has, or had, a flow."""
        with self._lock:
            return sorted({uid.partition("/")[0] for uid in self._revisions})

    def latest(self, tenant: str, namespace: str | None = None) -> Iterator[FlowStored]:
        """The latest revision of each flow that isn't deleted, of the namespace and those below it, in order."""
        with self._lock:
            found = [
                revisions[max(revisions)]
                for uid, revisions in self._revisions.items()
                if revisions and uid.startswith(f"{tenant}/")
            ]
        found.sort(key=lambda stored: (stored.namespace, stored.flow_id))
        for stored in found:
            if not stored.deleted and within(stored.namespace, namespace):
                yield stored

    def close(self) -> None:
        """Stop reading."""
        with self._reading:
            self._tail.close()


def within(namespace: str, prefix: str | None) -> bool:
    """Whether a namespace is the given one or lies below it; None is above all."""
    return not prefix or namespace == prefix or namespace.startswith(f"{prefix}.")
