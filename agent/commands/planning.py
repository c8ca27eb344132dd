"""Between the engine, which knows no command, and the catalog: a run's plan, and whether it may begin now."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from agent.commands.catalog import Commands
from agent.commands.command import Prepared
from agent.commands.interlocks import Cell, Wish, is_inside, may_begin
from agent.commands.operation import Touch
from agent.commands.survey import NO_PAST, Past, Survey
from agent.contract.command import CommandRequest, Reason, ReasonCode
from agent.workflow.gate import Gate, Hold
from agent.workflow.plan import Plan
from agent.workflow.transition import Closed, Phase, Run


class Planner:
    """``plan_for`` and ``gate_for`` are what the engine asks; ``prepare`` and ``gate`` are what admission asks."""

    def __init__(self, commands: Commands, survey: Survey) -> None:
        self._commands = commands
        self._survey = survey

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

    def touch_of(self, run: Run) -> Touch | None:
        """What a stored run does to the terminal; None when this release cannot tell."""
        prepared = self._prepared(run)
        return prepared[1].touch if prepared else None

    async def gate_for(self, run: Run) -> Gate:
        """What the engine asks before the first step, and again for as long as something holds the run.

        Raises:
            StoreUnavailable: What the journals know of the past cannot be read now.
        """
        prepared = self._prepared(run)
        past = NO_PAST
        if prepared is not None and self.gate(run, 0.0) is None:  # else the journals do not matter yet
            past = await self._survey.past(run.command_id, run.name, prepared[1].touch, Cell.BLOCK, Cell.DEFER)
        return lambda waited_s: self.gate(run, waited_s, past)

    def gate(self, run: Run, waited_s: float, past: Past = NO_PAST) -> Hold | Closed | None:
        """May it begin now?"""
        prepared = self._prepared(run)
        if prepared is None:
            return Closed(Phase.REJECTED, Reason(ReasonCode.UNKNOWN_COMMAND, "this release cannot carry it out"))
        request, command = prepared
        conditions = self._survey.now(past)
        return may_begin(
            Wish(request.issued_at, request.expires_at, command.touch),
            replace(
                conditions,
                inside_window=request.window is None or is_inside(request.window, self._survey.local_time()),
                clock_fits=conditions.clock_trusted or not command.needs_trusted_clock,
                waited_s=waited_s,
            ),
        )

    def _prepared(self, run: Run) -> tuple[CommandRequest, Prepared] | None:
        try:
            request = msgspec.json.decode(run.request, type=CommandRequest)
        except msgspec.MsgspecError:  # stored by another release
            return None
        prepared = self.prepare(request.name, bytes(request.arguments))
        return (request, prepared) if isinstance(prepared, Prepared) else None
