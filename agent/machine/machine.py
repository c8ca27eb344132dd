"""The adapter: what commands may do to units and to the machine, whoever carries it out. No I/O in this file.

Two makes: systemd through a small root helper, and the process supervisor of the demo. Each act belongs to an order and
is done once however often it is asked for with the same order id, so that a step that was interrupted may ask again.
"""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct


class UnitState(Struct, frozen=True, forbid_unknown_fields=True):
    """One unit as the machine's own keeper sees it. Words of systemd.

    Attributes:
        active: ``active``, ``activating``, ``inactive``, ``failed`` …; ``unknown`` when nobody can tell.
        invocation: Changes with every start of the unit (systemd's InvocationID); None while it does not run.
    """

    unit: str
    active: str
    main_pid: int | None = None
    invocation: str | None = None


class Machine(Protocol):
    """What commands are given.

    Every method raises `agent.errors.Refused` (with a ``reason`` of the command contract) when the act is not allowed,
    and `agent.errors.Unavailable` when whoever carries it out does not answer: then nothing is known.
    """

    @property
    def kind(self) -> str:
        """``systemd`` or ``supervisor``."""
        ...

    @property
    def units(self) -> frozenset[str]:
        """The units that may be touched; all others are refused."""
        ...

    @property
    def own_unit(self) -> str:
        """The agent's own unit; it may always be restarted."""
        ...

    def boot_id(self) -> str:
        """Changes with every boot of the machine. Source: ``sys/kernel/random/boot_id`` of procfs."""
        ...

    async def unit_state(self, unit: str) -> UnitState:
        """How ``unit`` is now."""
        ...

    async def restart(self, unit: str, order_id: str) -> UnitState:
        """Stop and start ``unit``, once per ``order_id``; returns when it is started again, with its new state.

        For the agent's own unit it does not return: the process is ended in the middle of the call.
        """
        ...

    async def reinitialise(self, unit: str, order_id: str) -> UnitState:
        """Stop ``unit``, clear its cache folders (never its state), start it; once per ``order_id``."""
        ...

    async def reboot(self, order_id: str) -> None:
        """Restart the machine in an orderly way, once per ``order_id``; refused within 10 minutes of the last one.

        Returns once it is under way; the process is ended soon after.
        """
        ...
