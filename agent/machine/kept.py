"""What both makes of a `Machine` have in common: which units may be touched, and one act for each order. No I/O but the
boot id. How an act is handed over, and how a unit is looked at, is each make's own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

from agent.contract.command import ReasonCode
from agent.errors import Refused
from agent.machine.acts import Act, Outcome, done_or_raise, state_or_raise
from agent.machine.machine import UnitState
from agent.runtime.boot_identity import read_boot_id


class KeptMachine(ABC):
    """Most of a `Machine`.

    Args:
        units: What may be touched besides ``own_unit``.
        procfs: Where the boot id stands, ``sys/kernel/random/boot_id`` below it.
        listed_where: Where a person adds a unit that is refused.
    """

    def __init__(self, *, units: frozenset[str], own_unit: str, procfs: Path, listed_where: str) -> None:
        self._units = units
        self._own_unit = own_unit
        self._procfs = procfs
        self._listed_where = listed_where

    @property
    def units(self) -> frozenset[str]:
        return self._units

    @property
    def own_unit(self) -> str:
        return self._own_unit

    def boot_id(self) -> str:
        """Changes with every boot."""
        return read_boot_id(self._procfs)

    async def restart(self, unit: str, order_id: str) -> UnitState:
        """Stopped and started again. Asked by the agent of itself it does not return."""
        self._listed(unit)
        return state_or_raise(await self._perform(Act(order_id, "restart", unit)))

    async def reinitialise(self, unit: str, order_id: str) -> UnitState:
        """Stopped, its cache folders emptied, started again."""
        self._listed(unit)
        return state_or_raise(await self._perform(Act(order_id, "reinitialise", unit)))

    async def reboot(self, order_id: str) -> None:
        """Returns once it is under way."""
        done_or_raise(await self._perform(Act(order_id, "reboot")))

    def _listed(self, unit: str) -> None:
        if unit != self._own_unit and unit not in self._units:
            raise Refused(
                "the unit is not one that may be touched",
                reason=ReasonCode.INVALID_ARGUMENTS,
                hint=f"list it {self._listed_where}",
            )

    @abstractmethod
    async def _perform(self, act: Act) -> Outcome:
        """Have it done, once an order; raises `agent.errors.Unavailable` when nobody says what became of it."""
