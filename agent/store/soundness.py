"""Is the file as it was written? Looked at soon after each start and on request; what a damaged one held comes back.

The looking and the reading out are done by children (``check_file.py``, ``rebuild_entries.py``), at the lowest
priority; the file itself is exchanged by whoever writes (``writer_handle.py``). Meanwhile records are taken as always.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import structlog

from agent.contract.journal_views import Verification
from agent.errors import ChildFailed, StoreFull, StoreUnavailable
from agent.runtime.child_process import run_child, stream_child
from agent.runtime.clock import Clock, rfc3339
from agent.runtime.durable_files import write_durably
from agent.store import meta, rebuild
from agent.store.anchor import Anchor
from agent.store.database import Database, Worth
from agent.store.rebuild import Rebuild, Report

log = structlog.get_logger("store")

DAMAGED: Final = "TXN-JRN-002"
FIRST_LOOK_S: Final = 2.0
_CHECK_LIMIT_S: Final = 3600.0
LOOK_AGAIN_S: Final = 600.0
"""After a look that was not possible: a fault of before the start would stand until somebody asks."""
_AGAIN_S: Final = 5.0
_NOT_AGAIN_S: Final = 30.0


class _Finding(msgspec.Struct, frozen=True):
    """As ``check_file.Finding``: that file is for the child alone."""

    intact: bool
    upto_sequence: int
    missing: list[int]
    damage: str | None = None


class _Piece(msgspec.Struct, frozen=True, tag="piece"):
    below: int
    rows: list[list[int | str | None]]


class _Conclusion(msgspec.Struct, frozen=True, tag="end"):
    missing: tuple[rebuild.Span, ...]
    unproven: tuple[int, ...]
    left_out: tuple[int, ...]
    begins_at: tuple[int, str] | None


class Soundness:
    """A service; `verify` may be called by anyone, whether it runs or not."""

    name = "soundness"

    def __init__(
        self,
        database: Database,
        clock: Clock,
        report: Callable[[str, str, bool, str], None],
    ) -> None:
        """``report(code, device, active, detail)`` tells the health room."""
        self._database = database
        self._clock = clock
        self._report = report
        self._tell_journal: Callable[[str], None] = lambda _journal_id: None
        self._due = asyncio.Event()
        self._verifying: asyncio.Task[Verification] | None = None
        self._exchanged_at_s: float | None = None
        database.on_replaced(self._due.set)
        database.on_suspicion(self._due.set)

    def on_journal(self, tell: Callable[[str], None]) -> None:
        """Have ``tell`` called with the id of the journal that goes on in place of a damaged one."""
        self._tell_journal = tell

    async def run(self) -> None:
        """Bring back what is still to come, look at the file once, then wait for the next exchange or suspicion."""
        if await self._state() is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FIRST_LOOK_S):
                    await self._due.wait()
        while True:
            self._due.clear()
            await self._bring_back()
            again_s: float | None = None
            try:
                await self.verify()
            except (StoreFull, StoreUnavailable) as err:
                log.warning("journal.not_verified", reason=err.message)
                again_s = LOOK_AGAIN_S
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(again_s):
                    await self._due.wait()

    async def verify(self) -> Verification:
        """Look at everything now; whoever asks meanwhile gets the same answer. A damaged file is exchanged.

        Raises:
            StoreUnavailable: It cannot be looked at now.
        """
        if self._verifying is None or self._verifying.done():
            self._verifying = asyncio.get_running_loop().create_task(self._verify())
        return await asyncio.shield(self._verifying)

    async def _verify(self) -> Verification:
        found = await self._look()
        if found.damage is not None:
            found = await self._look()  # what is wrong with the file is so the second time, too
        if found.damage is not None:
            log.error("journal.damaged", damage=found.damage, upto_sequence=found.upto_sequence)
            self._report(DAMAGED, "journal", True, f"{found.damage}: set aside, with a report beside it")
            await self._exchange(found.damage)
        elif found.intact:
            self._report(DAMAGED, "journal", False, "everything is as it was stored")
        else:
            self._report(DAMAGED, "journal", True, _missing_words(found.missing))
        log.info("journal.verified", intact=found.intact, upto_sequence=found.upto_sequence, missing=len(found.missing))
        return Verification(found.intact, found.upto_sequence, found.missing)

    async def _look(self) -> _Finding:
        job = msgspec.json.encode({"path": str(self._database.path)})
        file, answer = -1, b""
        while file != self._database.exchanges:  # else it was looked at while another one took its place
            file = self._database.exchanges
            try:
                answer = await run_child("agent.store.check_file", job, deadline_s=_CHECK_LIMIT_S)
            except ChildFailed as err:
                if file == self._database.exchanges:
                    raise StoreUnavailable(f"the journal cannot be looked at: {err.message}", hint="try again") from err
        return msgspec.json.decode(answer, type=_Finding)

    async def _exchange(self, why: str) -> None:
        """Not again and again: on a medium that spoils whatever is written, one damaged file is as good as the next."""
        now_s = self._clock.monotonic()
        if self._exchanged_at_s is not None and now_s - self._exchanged_at_s < _NOT_AGAIN_S:
            return
        self._exchanged_at_s = now_s
        await self._database.replace(why)

    # ── what a damaged file held ───────────────────────────────────────────────────────────────────────────────
    async def _state(self) -> Rebuild | None:
        return await self._database.read(rebuild.under_way)

    async def _bring_back(self) -> None:
        """Until everything readable is back; a child that fails begins again where the last piece ended."""
        while (state := await self._state()) is not None:
            self._report(DAMAGED, "journal", True, f"{state.reason}: set aside, with a report beside it")
            self._tell_journal(await self._database.read(meta.journal_id))
            self._write_report(state, rebuild.report(state, missing=(), finished_at=None))
            try:
                await self._read_out(state)
            except (ChildFailed, StoreFull, StoreUnavailable) as err:
                log.warning("journal.rebuild_waits", reason=err.message)
                await self._clock.sleep(_AGAIN_S)

    async def _read_out(self, state: Rebuild) -> None:
        folder = str(self._database.path.parent)
        job = msgspec.json.encode(state)
        lines = stream_child("agent.store.rebuild_entries", job, arguments=(folder,))
        log.warning("journal.rebuild_began", files=list(state.files), base=state.base, journal_id=state.journal_id)
        async with contextlib.aclosing(lines):
            async for line in lines:
                began_s = self._clock.monotonic()
                said = msgspec.json.decode(line, type=_Piece | _Conclusion)
                if isinstance(said, _Conclusion):
                    await self._conclude(state, said)
                    return
                moved = msgspec.structs.replace(state, below=said.below)
                put = partial(rebuild.put_back_rows, rows=said.rows, state=moved)
                came_in = await self._database.write(put, worth=Worth.OUTBOX)
                state = msgspec.structs.replace(moved, recovered=moved.recovered + came_in)
                await self._clock.sleep(self._clock.monotonic() - began_s)  # at most half of the writer's time
        raise ChildFailed("the reading of a set-aside file ended without a conclusion", hint="see the log")

    async def _conclude(self, state: Rebuild, end: _Conclusion) -> None:
        now = rfc3339(self._clock.now())
        final = rebuild.report(
            state, missing=end.missing, unproven=end.unproven, left_out=end.left_out, finished_at=now
        )
        self._write_report(state, final)
        begins_at = Anchor(end.begins_at[0], bytes.fromhex(end.begins_at[1])) if end.begins_at is not None else None
        await self._database.write(lambda db: rebuild.finish(db, end.missing, begins_at), worth=Worth.RUN)
        log.warning(
            "journal.rebuilt",
            recovered=final.entries_recovered,
            missing=final.entries_missing,
            spans=[list(span) for span in final.missing[:100]],
            unproven=len(final.unproven),
            journal_id=final.new_journal_id,
            parent=final.old_journal_id,
        )

    def _write_report(self, state: Rebuild, what: Report) -> None:
        name = f"{state.files[0]}.report.json" if state.files else "agent.db.lost.report.json"
        path = Path(self._database.path.with_name(name))
        try:
            write_durably(path, msgspec.json.format(msgspec.json.encode(what), indent=2) + b"\n")
        except OSError as err:
            log.warning("journal.report_not_written", reason=err.strerror)


def _missing_words(missing: list[int]) -> str:
    first = ", ".join(str(sequence) for sequence in missing[:10])
    more = " and more" if len(missing) > 10 else ""  # as many as a detail has room for
    return f"entries are missing: {first}{more}; a copy fills them: pos-agent restore --fill"
