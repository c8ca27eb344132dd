"""A process that records transactions while old ones leave its journal, as fast as both can; tests kill it.

``python -m tests.kit.retention_child FOLDER`` writes to standard output ``R`` when ready, then one line
``<sequence>`` for each acknowledgement and ``left <sequence>`` for each piece that has left.
"""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import timedelta
from functools import partial
from pathlib import Path

from agent.contract.transaction import decode_record
from agent.store import marks
from agent.store.database import Worth
from agent.store.retention import remove
from tests.kit.manual_clock import ManualClock
from tests.kit.store_records import BINDINGS, open_journal, sale

DAY_S = 86_400.0
KEEP_MS = 30 * 86_400_000


async def keep_and_remove(folder: Path) -> None:
    """Until killed: each record is stored a day after the one before, and thirty days stay."""
    clock = ManualClock()
    async with open_journal(folder, clock=clock) as opened:
        _, last = await opened.journal.extent()
        clock.set_wall(clock.now() + timedelta(days=last))
        await opened.database.write(lambda db: marks.set_delivered(db, 10**9), worth=Worth.AUDIT)
        os.write(1, b"R\n")

        async def record() -> None:
            while True:
                stored = await opened.journal.submit(decode_record(sale(state="declined"), BINDINGS))
                clock.advance(DAY_S)
                os.write(1, f"{stored.sequence}\n".encode())

        async def leave() -> None:
            while True:
                found = await opened.database.write(partial(remove, keep_ms=KEEP_MS), worth=Worth.OUTBOX)
                if found.upto != found.before:
                    os.write(1, f"left {found.upto.sequence}\n".encode())
                await asyncio.sleep(0)

        await asyncio.gather(record(), leave())


if __name__ == "__main__":
    asyncio.run(keep_and_remove(Path(sys.argv[1])))
