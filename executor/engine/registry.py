"""Registry: which flowable or executable a task type is. Every other type runs on a worker."""

from __future__ import annotations

from typing import Final

from executor.engine.executable import Executable
from executor.engine.flowable import Flowable
from executor.engine.flowables.allow_failure import AllowFailure
from executor.engine.flowables.conditional import If
from executor.engine.flowables.dag import Dag
from executor.engine.flowables.loop import EachParallel, EachSequential, ForEach
from executor.engine.flowables.loop_until import LoopUntil
from executor.engine.flowables.parallel import Parallel
from executor.engine.flowables.pause import Pause
from executor.engine.flowables.switch import Switch
from executor.engine.for_each_item import ForEachItem, Items
from executor.engine.item_tasks import FOR_EACH_ITEM, ITEMS
from executor.engine.subflow import Subflow

_FLOW: Final = "io.kestra.plugin.core.flow."

ROOT: Final = Flowable()
"""The execution's own tasks are a sequence."""

FLOWABLES: Final[dict[str, Flowable]] = {
    f"{_FLOW}Sequential": Flowable(),
    f"{_FLOW}WorkingDirectory": Flowable(),
    f"{_FLOW}Parallel": Parallel(),
    f"{_FLOW}If": If(),
    f"{_FLOW}Switch": Switch(),
    f"{_FLOW}ForEach": ForEach(),
    f"{_FLOW}EachSequential": EachSequential(),
    f"{_FLOW}EachParallel": EachParallel(),
    FOR_EACH_ITEM: ForEachItem(),
    f"{_FLOW}Dag": Dag(),
    f"{_FLOW}AllowFailure": AllowFailure(),
    f"{_FLOW}Pause": Pause(),
    f"{_FLOW}WaitFor": LoopUntil(),
    f"{_FLOW}LoopUntil": LoopUntil(),
}

EXECUTABLES: Final[dict[str, Executable]] = {
    f"{_FLOW}Subflow": Subflow(),
    ITEMS: Items(),
}
