"""A process that records transactions as fast as it can and says what was acknowledged; tests kill it.

``python -m tests.kit.store_child FOLDER CLIENTS`` writes to standard output ``R`` when ready, then one line
``<sequence> <transaction_id>`` for each acknowledgement, each written whole (a pipe takes short writes atomically).
"""

from __future__ import annotations

import asyncio
import os
import sys
from itertools import count
from pathlib import Path

from agent.contract.transaction import decode_record
from tests.kit.store_records import BINDINGS, open_journal, sale


async def record_for_ever(folder: Path, clients: int) -> None:
    """Until killed."""
    numbers = count()
    async with open_journal(folder) as opened:
        os.write(1, b"R\n")

        async def client() -> None:
            for number in numbers:
                params = sale(stan=f"{number % 1_000_000:06d}", memo="x" * (number % 200))
                stored = await opened.journal.submit(decode_record(params, BINDINGS))
                os.write(1, f"{stored.sequence} {params['transaction_id']}\n".encode())

        await asyncio.gather(*(client() for _ in range(clients)))


if __name__ == "__main__":
    asyncio.run(record_for_ever(Path(sys.argv[1]), int(sys.argv[2])))
