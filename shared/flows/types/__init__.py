"""The product's own types: tasks, triggers and conditions of `io.kestra.plugin.core`, with their properties.

Names, defaults and aliases are those of Kestra 0.21; LoopUntil, Exit, Assert, SetVariables, UnsetVariables and the
properties marked "later" came after it and follow today's documentation.
"""

from __future__ import annotations

from typing import Final

from shared.flows.types.conditions import CONDITIONS
from shared.flows.types.flowables import FLOWABLES
from shared.flows.types.triggers import TRIGGERS
from shared.flows.types.worker_tasks import WORKER_TASKS

CORE_TYPES: Final = (*FLOWABLES, *WORKER_TASKS, *TRIGGERS, *CONDITIONS)
"""Every type of the product."""
