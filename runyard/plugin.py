"""Plugin: what the author of a task type needs, in one place (see docs/plugins.md).

A package offers its types by an entry point of the group `runyard.tasks`: a callable that gives `Task` classes.
"""

from __future__ import annotations

from worker.catalog import GROUP, TaskCatalog
from worker.context import Context, Metrics, TaskRunInfo
from worker.key_values import KvStore
from worker.logger import Level, TaskLogger
from worker.processes import run_process
from worker.properties import PropertyError, Raw, Typed
from worker.storage import Files, StorageError
from worker.task import Result, State, Task, TaskError

__all__ = [
    "GROUP",
    "Context",
    "Files",
    "KvStore",
    "Level",
    "Metrics",
    "PropertyError",
    "Raw",
    "Result",
    "State",
    "StorageError",
    "Task",
    "TaskCatalog",
    "TaskError",
    "TaskLogger",
    "TaskRunInfo",
    "Typed",
    "run_process",
]
