"""The machine kept by systemd: acts go to a small root helper as files, states are read where anybody may read them.

The agent has no right over units and asks for none: it writes a request below its own run folder, a path unit of
root's starts ``agent/machine/root_helper.py``, and that answers in a folder of root's. No D-Bus, no sudo, no polkit.
Nothing is watched while nothing is asked: only during an act the answer is looked for, a few times a second.

Source of states: ``/run/systemd/units/invocation:<unit>`` (there while a unit runs) and the unit's control group. They
do not tell a unit that still gets ready from one that is ready, nor a failed one from a stopped one; an act's own
answer does, for it comes from ``systemctl show``.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from agent.errors import Unavailable
from agent.machine.acts import Act, Answered, Asked, Outcome
from agent.machine.kept import KeptMachine
from agent.machine.machine import UnitState
from agent.runtime.clock import Clock

ACT_TIMEOUT_S: Final = 180.0
"""Longer than the helper's own limits: it may first have to finish another act."""
_FIRST_LOOK_S: Final = 0.05
_LONGEST_LOOK_S: Final = 0.5
_MAX_ANSWER_BYTES: Final = 16 * 1024


class SystemdMachine(KeptMachine):
    """A `Machine` behind request files.

    Args:
        run: The agent's run folder (``paths.run``); requests are put into ``machine/requests`` below it.
        units: What may be touched besides ``own_unit``; the helper's own list has the last word.
        answers: Of the root helper.
    """

    kind = "systemd"

    def __init__(
        self,
        run: Path,
        clock: Clock,
        *,
        units: frozenset[str],
        own_unit: str,
        procfs: Path = Path("/proc"),
        cgroups: Path = Path("/sys/fs/cgroup"),
        systemd_run: Path = Path("/run/systemd"),
        answers: Path = Path("/run/pos-agent-machine"),
    ) -> None:
        where = "under [machine] units, and in root's own /etc/pos-agent/machine.toml"
        super().__init__(units=units, own_unit=own_unit, procfs=procfs, listed_where=where)
        self._outgoing = run / "machine"
        self._requests = self._outgoing / "requests"
        self._answers = answers
        self._clock = clock
        self._cgroups = cgroups
        self._invocations = systemd_run / "units"

    async def unit_state(self, unit: str) -> UnitState:
        """``active`` with processes, ``activating`` between two of them, else ``inactive``; a few small reads."""
        self._listed(unit)
        try:
            invocation = os.readlink(self._invocations / f"invocation:{unit}")
        except FileNotFoundError:
            return UnitState(unit, "inactive")
        except OSError:
            return UnitState(unit, "unknown")
        processes = self._processes(unit)
        if not processes:
            return UnitState(unit, "activating", None, invocation)
        main = [pid for pid in processes if self._parent(pid) == 1]
        return UnitState(unit, "active", main[0] if len(main) == 1 else None, invocation)

    # ── acts ───────────────────────────────────────────────────────────────────────────────────────────────────
    async def _perform(self, act: Act) -> Outcome:
        if not self._answers.is_dir():
            raise Unavailable(
                "the root helper is not installed on this machine",
                hint="install pos-agent-machine.{path,service} and pos-agent.tmpfiles.conf, and enable the path unit",
            )
        ask = uuid.uuid4().hex
        request = self._requests / f"{act.order_id}.json"
        try:
            self._ask(request, Asked(ask, act))
        except OSError as err:
            raise Unavailable(f"the request cannot be written to {self._requests}: {err.strerror}") from err
        try:
            return await self._answer(act, ask)
        finally:
            # Whoever removes the file has it: taken back here, the helper will not act on it any more.
            request.unlink(missing_ok=True)

    def _ask(self, request: Path, asked: Asked) -> None:
        """Whole or not at all: only a finished file ever stands in the watched folder."""
        for folder in (self._outgoing, self._requests):
            folder.mkdir(mode=0o770, exist_ok=True)
            folder.chmod(0o770)  # the helper comes in as a member of our group, whatever our umask
        draft = self._outgoing / f"{asked.ask}.new"
        draft.write_bytes(msgspec.json.encode(asked))
        draft.chmod(0o640)
        draft.replace(request)

    async def _answer(self, act: Act, ask: str) -> Outcome:
        file = self._answers / f"{act.order_id}.json"
        deadline = self._clock.monotonic() + ACT_TIMEOUT_S
        look_s = _FIRST_LOOK_S
        while self._clock.monotonic() < deadline:
            await self._clock.sleep(look_s)
            look_s = min(_LONGEST_LOOK_S, look_s * 1.5)
            answered = _read_answer(file)
            if answered is not None and answered.ask == ask and answered.outcome.act == act:
                return answered.outcome
        raise Unavailable(
            f"the root helper did not answer within {ACT_TIMEOUT_S:g} s",
            hint="systemctl status pos-agent-machine.path pos-agent-machine.service",
        )

    # ── states ─────────────────────────────────────────────────────────────────────────────────────────────────
    def _processes(self, unit: str) -> list[int]:
        """Process ids in the unit's control group: version 2, version 1, or both side by side."""
        for hierarchy in (self._cgroups, self._cgroups / "systemd", self._cgroups / "unified"):
            for group in _groups(hierarchy, unit):
                try:
                    return [int(line) for line in (group / "cgroup.procs").read_text().split()]
                except (OSError, ValueError):
                    continue
        return []

    def _parent(self, pid: int) -> int | None:
        try:
            return int((self._procfs / f"{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            return None


def _groups(hierarchy: Path, unit: str) -> Iterator[Path]:
    """Where the unit's control group may be: ``Slice=`` may give it another slice than the system's, or one inside."""
    yield hierarchy / "system.slice" / unit
    for above in ("*.slice", "*.slice/*.slice"):
        yield from hierarchy.glob(f"{above}/{unit}")


def _read_answer(file: Path) -> Answered | None:
    """None until it is there and whole."""
    try:
        with file.open("rb") as opened:
            return msgspec.json.decode(opened.read(_MAX_ANSWER_BYTES), type=Answered)
    except (OSError, msgspec.MsgspecError):
        return None
