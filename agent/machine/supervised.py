"""The machine kept by the supervisor (``python -m agent.supervisor``): one connection to its socket a question."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from agent.errors import Unavailable
from agent.machine.acts import Act, Outcome
from agent.machine.kept import KeptMachine
from agent.machine.machine import UnitState
from agent.machine.supervisor_wire import Answer, Request, decode_answer, encode_line

ASK_TIMEOUT_S: Final = 5.0
ACT_TIMEOUT_S: Final = 150.0
"""A unit may take long to stop and to be ready again."""
_MAX_ANSWER_BYTES: Final = 1024 * 1024


class SupervisedMachine(KeptMachine):
    """A `Machine` behind a unix socket.

    Args:
        units: What may be touched besides ``own_unit``.
    """

    kind = "supervisor"

    def __init__(self, socket: Path, *, units: frozenset[str], own_unit: str, procfs: Path) -> None:
        super().__init__(units=units, own_unit=own_unit, procfs=procfs, listed_where="under [machine] units")
        self._socket = socket

    async def unit_state(self, unit: str) -> UnitState:
        """How the supervisor sees it."""
        self._listed(unit)
        answer = await self._ask(Request("state", unit), ASK_TIMEOUT_S)
        if answer.state is None:
            raise Unavailable("the supervisor did not say how the unit is", hint=answer.problem)
        return answer.state

    async def _perform(self, act: Act) -> Outcome:
        answer = await self._ask(Request(act.verb, act.unit, act.order_id), ACT_TIMEOUT_S)
        if answer.outcome is None or answer.outcome.act != act:
            raise Unavailable("the supervisor did not say what became of the act", hint=answer.problem)
        return answer.outcome

    async def _ask(self, request: Request, timeout_s: float) -> Answer:
        try:
            async with asyncio.timeout(timeout_s):
                reader, writer = await asyncio.open_unix_connection(self._socket, limit=_MAX_ANSWER_BYTES)
                try:
                    writer.write(encode_line(request))
                    await writer.drain()
                    line = await reader.readline()
                finally:
                    writer.close()
        except (OSError, TimeoutError, ValueError) as err:  # ValueError: a line without end
            raise Unavailable(
                f"the supervisor at {self._socket} does not answer: {type(err).__name__}",
                hint="is `python -m agent.supervisor` running, and is it the one of [machine] socket?",
            ) from err
        answer = decode_answer(line)
        if answer is None:
            raise Unavailable("the supervisor closed the connection without an answer")
        return answer
