"""Between the engine, which knows no command, and the catalog: a run's plan, and whether it may begin now."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, time

import msgspec

from agent.commands.catalog import Commands
from agent.commands.command import Prepared
from agent.commands.interlocks import Conditions, Wish, may_begin
from agent.contract.command import CommandRequest, Reason, ReasonCode
from agent.runtime.clock import Clock
from agent.workflow.engine import Gate, Hold
from agent.workflow.plan import Plan
from agent.workflow.transition import Closed, Phase, Run


def system_local_time(now: datetime) -> time:
    """Time of day in the machine's own time zone."""
    return now.astimezone().time()


class Planner:
    """``plan_for`` and ``gate`` are what the engine asks; ``prepare`` is what admission asks."""

    def __init__(
        self,
        commands: Commands,
        clock: Clock,
        clock_trusted: Callable[[], bool],
        local_time: Callable[[datetime], time] = system_local_time,
    ) -> None:
        self._commands = commands
        self._clock = clock
        self._clock_trusted = clock_trusted
        self._local_time = local_time

    @property
    def names(self) -> tuple[str, ...]:
        """Every command of this release, for the birth message."""
        return tuple(sorted(self._commands))

    def prepare(self, name: str, arguments: bytes) -> Prepared | Reason:
        """A command with its arguments, or why there is none such."""
        command = self._commands.get(name)
        if command is None:
            return Reason(ReasonCode.UNKNOWN_COMMAND, "this terminal has no command of that name")
        return command.prepare(arguments)

    def plan_for(self, run: Run) -> Plan | None:
        """The plan of a stored run; None when this release cannot carry it out."""
        prepared = self._prepared(run)
        return prepared[1].plan if prepared else None

    async def gate_for(self, run: Run) -> Gate:
        """What the engine asks before the first step, and again for as long as something holds the run."""
        return lambda waited_s: self.gate(run, waited_s)

    def gate(self, run: Run, waited_s: float) -> Hold | Closed | None:
        """May it begin now?"""
        prepared = self._prepared(run)
        if prepared is None:
            return Closed(Phase.REJECTED, Reason(ReasonCode.UNKNOWN_COMMAND, "this release cannot carry it out"))
        request, command = prepared
        now = self._clock.now()
        wish = Wish(request.issued_at, request.expires_at, request.window, command.needs_trusted_clock)
        trusted = self._clock_trusted()
        return may_begin(wish, Conditions(now, self._local_time(now), trusted, waited_s))

    def _prepared(self, run: Run) -> tuple[CommandRequest, Prepared] | None:
        try:
            request = msgspec.json.decode(run.request, type=CommandRequest)
        except msgspec.MsgspecError:  # stored by another release
            return None
        prepared = self.prepare(request.name, bytes(request.arguments))
        return (request, prepared) if isinstance(prepared, Prepared) else None
