"""`trigger`: switching triggers of flows off and on."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

from shared.messages import FlowRejected, ToggleTrigger, TriggerToggled, UnknownMessage, decode
from shared.ports import Outbound, Tail, Topic
from worker.context import Context
from worker.task import Task, TaskError

ANSWERED_WITHIN: Final = 60.0
"""Seconds to wait for the executor's answer: far more than it takes, so that a restart of it is survived."""

SKEW: Final = 60_000
"""Milliseconds by which hosts' clocks may differ: how far back the answer is looked for."""


@dataclass(frozen=True)
class Toggle(Task):
    """Switches a trigger of a flow on or off; it stays so when the flow is stored again, and after a restart."""

    type = "io.kestra.plugin.core.trigger.Toggle"
    aliases = ("io.kestra.core.tasks.trigger.Toggle",)

    trigger: str
    namespace: str | None = None
    flow_id: str | None = None
    enabled: bool = False

    def run(self, context: Context) -> None:
        info, services = context.info, context.services
        command = ToggleTrigger(
            tenant=info.tenant,
            namespace=self.namespace or info.namespace,
            flow_id=self.flow_id or info.flow_id,
            command_id=f"toggle-{info.task_run_id}-{info.attempt}-{info.dispatch}",
            at=services.clock(),
            trigger_id=self.trigger,
            disabled=not self.enabled,
        )
        tail = services.events.tail([Topic.FLOWS], services.clock() - SKEW)
        try:
            key = f"{command.tenant}/{command.namespace}/{command.flow_id}"
            services.events.publish([Outbound(Topic.EXECUTION_COMMANDS, key, command.to_bytes())])
            answer = _answer(context, tail, command.command_id)
        finally:
            tail.close()
        if isinstance(answer, FlowRejected):
            raise TaskError(answer.reason)


def _answer(context: Context, tail: Tail, command_id: str) -> TriggerToggled | FlowRejected:
    latest = time.monotonic() + ANSWERED_WITHIN
    while time.monotonic() < latest and not context.cancelled.is_set():
        for record in tail.poll(500, 0.1):
            try:
                message = decode(record.value) if record.value is not None else None
            except UnknownMessage:
                continue  # of a newer version: it is no answer to this command
            if isinstance(message, (TriggerToggled, FlowRejected)) and message.command_id == command_id:
                return message
    raise TaskError(f"The executor did not answer within {ANSWERED_WITHIN:.0f} s: the trigger may yet be switched")


TASKS: Final = (Toggle,)
