"""A machine on paper: keeps units and boots in memory, does each act once an order, and can be told to fail.

For what a real keeper of units cannot be made to do on demand. Walks and crash tests use the real supervisor.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from dataclasses import dataclass, field

from agent.errors import Refused
from agent.machine.machine import UnitState

OWN = "pos-agent.service"
PAYMENT = "payment.service"
PRINTD = "printd.service"


@dataclass
class PaperMachine:
    """A `agent.machine.machine.Machine`. What goes wrong is a field."""

    kind: str = "supervisor"
    units: frozenset[str] = frozenset({PAYMENT, PRINTD})
    own_unit: str = OWN
    acts: Counter[str] = field(default_factory=Counter)  # verb and unit → how often it took place
    comes_up: bool = True  # a unit that was restarted
    starts_afresh: bool = True  # a restart gives another invocation
    refusal: str | None = None  # of any act
    _boot: str = field(default_factory=lambda: str(uuid.uuid4()))
    _done: dict[str, str] = field(default_factory=dict)
    _invocations: dict[str, int] = field(default_factory=dict)

    def boot_id(self) -> str:
        return self._boot

    async def unit_state(self, unit: str) -> UnitState:
        if unit != self.own_unit and unit not in self.units:
            raise Refused("not listed", reason="INVALID_ARGUMENTS")
        active = "active" if self.comes_up or unit not in self._invocations else "failed"
        return UnitState(unit, active, 1, f"{unit} {self._invocations.get(unit, 0)}")

    async def restart(self, unit: str, order_id: str) -> UnitState:
        return await self._act("restart", unit, order_id)

    async def reinitialise(self, unit: str, order_id: str) -> UnitState:
        return await self._act("reinitialise", unit, order_id)

    async def reboot(self, order_id: str) -> None:
        await asyncio.sleep(0)
        if self.refusal is not None:
            raise Refused("not now", reason=self.refusal)
        if self._done.setdefault(order_id, "reboot") == "reboot" and f"booted {order_id}" not in self._done:
            self._done[f"booted {order_id}"] = ""
            self.acts["reboot"] += 1

    def boots(self) -> None:
        """The machine comes up again."""
        self._boot = str(uuid.uuid4())

    async def _act(self, verb: str, unit: str, order_id: str) -> UnitState:
        await asyncio.sleep(0)
        if self.refusal is not None:
            raise Refused("not now", reason=self.refusal)
        if order_id not in self._done:
            self._done[order_id] = verb
            self.acts[f"{verb} {unit}"] += 1
            if self.starts_afresh:
                self._invocations[unit] = self._invocations.get(unit, 0) + 1
        return await self.unit_state(unit)
