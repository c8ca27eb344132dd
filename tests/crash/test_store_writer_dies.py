"""A writer thread that dies of something unforeseen ends the process, instead of leaving an agent that hangs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCRIPT = """
import asyncio, sys
from pathlib import Path
from agent.runtime.clock import SystemClock
from agent.store import database
from agent.store.database import Database, Worth

async def main():
    store = Database(Path(sys.argv[1]) / "agent.db", SystemClock())
    store.open()
    await store.write(lambda db: db.execute("CREATE TABLE told (n)"), worth=Worth.RUN)
    await store.write(lambda db: db.execute("INSERT INTO told VALUES (1)"), worth=Worth.RUN)
    print("acknowledged", flush=True)
    database.WriterHandle.abandon = lambda self: 1 / 0
    await store.write(lambda db: 1 / 0, worth=Worth.RUN)

asyncio.run(main())
"""


def test_the_process_ends_and_what_was_acknowledged_is_there(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "store.writer_died" in done.stdout + done.stderr
    assert done.stdout.startswith("acknowledged")
    look = (
        "import asyncio, sys; from pathlib import Path; from agent.runtime.clock import SystemClock\n"
        "from agent.store.database import Database\n"
        "async def main():\n    store = Database(Path(sys.argv[1]) / 'agent.db', SystemClock()); store.open()\n"
        "    print(await store.read(lambda db: db.execute('SELECT n FROM told').fetchall())); await store.close()\n"
        "asyncio.run(main())"
    )
    again = subprocess.run(
        [sys.executable, "-c", look, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert "[(1,)]" in again.stdout
