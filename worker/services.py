"""Services: what all attempts of a worker share."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from shared.expressions.limits import Limits
from shared.model.moment import Millis
from shared.ports import BlobStore, EventLog
from shared.settings import Settings
from worker.key_values import BlobKvStore, KvStore
from worker.large_values import Resolver
from worker.search import Search

ENV_PREFIX: Final = "KESTRA_"
"""Environment variables that templates see as `envs`, without the prefix and in lower case (Kestra's rule)."""


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """The `envs` variable."""
    return {name[len(ENV_PREFIX) :].lower(): value for name, value in variables.items() if name.startswith(ENV_PREFIX)}


def now() -> Millis:
    """Epoch milliseconds."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True)
class Services:
    """Ports and settings, and what is made of them once."""

    settings: Settings
    events: EventLog
    blobs: BlobStore
    clock: Callable[[], Millis] = now
    limits: Limits = field(default_factory=Limits)
    envs: Mapping[str, str] = field(default_factory=lambda: environment(os.environ))
    search: Search = field(default_factory=lambda: Search(None))

    def __post_init__(self) -> None:
        secrets = {name.lower(): value for name, value in self.settings.secrets.items()}
        set_ = object.__setattr__
        set_(self, "secrets", secrets)
        set_(self, "resolver", Resolver(self.blobs, self.settings.encryption_key))
        set_(self, "kv", BlobKvStore(self.blobs, clock=self.clock))
        set_(self, "states", BlobKvStore(self.blobs, folder="_states", pattern=re.compile(".+"), clock=self.clock))

    secrets: Mapping[str, str] = field(init=False, repr=False)  #: by lower-case name
    resolver: Resolver = field(init=False, repr=False)
    kv: KvStore = field(init=False, repr=False)
    states: KvStore = field(init=False, repr=False)  #: of the `state` tasks

    def around(self) -> dict[str, Any]:
        """Variables that come from the worker and not with the command."""
        return {"envs": self.envs, "globals": self.settings.globals}
