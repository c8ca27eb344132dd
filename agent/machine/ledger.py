"""What was done under which order, on disk before it happens: an act that was begun is never begun again.

Kept by whoever carries acts out (root helper, supervisor), not by the agent. Each change replaces one small file
durably, so that after a power cut the file says what was begun. What was begun and not ended is *interrupted*, except
a reboot: another boot id is the proof that it took place.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from agent.contract.command import ReasonCode
from agent.errors import NeedsPerson
from agent.machine.acts import Act, Outcome
from agent.runtime.clock import rfc3339
from agent.runtime.durable_files import write_durably

MOST_ENTRIES: Final = 500
"""Orders expire within 30 days; a terminal is given a handful a day at the very most."""


class Entry(Struct, frozen=True, forbid_unknown_fields=True):
    """One act that was begun. ``outcome`` is None until it ended. ``boot_id``: of the boot in which it was begun."""

    act: Act
    boot_id: str
    begun_at: str
    outcome: Outcome | None = None


class Book(Struct, frozen=True, forbid_unknown_fields=True):
    """The file's content, oldest entry first."""

    entries: tuple[Entry, ...] = ()
    rebooted_at: datetime | None = None


class Ledger:
    """Opened once by one keeper; knows what an earlier keeper left behind.

    Args:
        boot_id: Of this boot of the machine.
        now: Wall time.
    """

    def __init__(self, file: Path, *, boot_id: str, now: Callable[[], datetime]) -> None:
        self._file = file
        self._boot_id = boot_id
        self._now = now
        self._book = Book()

    def open(self) -> None:
        """Read the file.

        Raises:
            NeedsPerson: It is there and cannot be read: nobody knows what was done, so nothing may be done.
        """
        try:
            self._book = msgspec.json.decode(self._file.read_bytes(), type=Book)
        except FileNotFoundError:
            return
        except (OSError, msgspec.MsgspecError) as err:
            raise NeedsPerson(
                f"{self._file} cannot be read: what was already done is not known, so nothing is done",
                hint="look at it; remove it once no order is open",
            ) from err

    def outcome(self, act: Act) -> Outcome | None:
        """What became of ``act``; None when it was never begun. Not asked about an act that is under way just now."""
        entry = next((one for one in reversed(self._book.entries) if one.act.order_id == act.order_id), None)
        if entry is None:
            return None
        if entry.act != act:
            text = "this order id was used for another act"
            return Outcome(act, "refused", ReasonCode.INVALID_ARGUMENTS, text)
        if entry.outcome is not None:
            return entry.outcome
        if act.verb == "reboot" and entry.boot_id != self._boot_id:
            return Outcome(act, "done", text="the machine has booted since")
        return Outcome(
            act, "interrupted", ReasonCode.INTERRUPTED, f"begun at {entry.begun_at} and interrupted; not repeated"
        )

    def begin(self, act: Act) -> None:
        """On disk before anything happens.

        Raises:
            OSError: It could not be written: nothing may be done.
        """
        entry = Entry(act, self._boot_id, rfc3339(self._now()))
        rebooted_at = self._now() if act.verb == "reboot" else self._book.rebooted_at
        self._write(Book((*self._book.entries, entry)[-MOST_ENTRIES:], rebooted_at))

    def finish(self, outcome: Outcome) -> None:
        """On disk before anybody is told.

        Raises:
            OSError: It could not be written: the act counts as interrupted.
        """
        act = outcome.act
        self._write(
            msgspec.structs.replace(
                self._book,
                entries=tuple(
                    msgspec.structs.replace(one, outcome=outcome) if one.act == act else one
                    for one in self._book.entries
                ),
            )
        )

    def reboot_wait_s(self, interval_s: float, uptime_s: float) -> float:
        """For how long no reboot is allowed yet; 0 when it is. See `reboot_wait_s`."""
        return reboot_wait_s(self._book.rebooted_at, self._now(), interval_s, uptime_s)

    def times_begun(self) -> dict[str, int]:
        """Order id → how often its act was begun; for tests and evidence."""
        counts: dict[str, int] = {}
        for entry in self._book.entries:
            counts[entry.act.order_id] = counts.get(entry.act.order_id, 0) + 1
        return counts

    def new_boot(self, boot_id: str) -> None:
        """The machine was booted under this keeper (the supervisor's reboot)."""
        self._boot_id = boot_id

    def _write(self, book: Book) -> None:
        write_durably(self._file, msgspec.json.encode(book))
        self._book = book


def reboot_wait_s(rebooted_at: datetime | None, now: datetime, interval_s: float, uptime_s: float) -> float:
    """Seconds until the next reboot is allowed, 0 when it is now.

    A clock that stands before the last reboot was set back, or lost its battery: then the time since the boot counts,
    which is never longer than the time since the last reboot.
    """
    if rebooted_at is None:
        return 0.0
    passed = now - rebooted_at
    passed_s = uptime_s if passed < timedelta() else passed.total_seconds()
    return max(0.0, interval_s - passed_s)
