"""What an acknowledged record costs the flash: bytes the daemon made the kernel write, and what the file grew by.

Counted until the WAL is in the file, too: the daemon does that at most 5 s after the last record. The peer commits each
record by itself; for the file it is the record as the payment application sent it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from tests.bench.idle import written_bytes
from tests.bench.load import request_bytes
from tests.bench.row import Row
from tests.kit.agent_process import ROOT, AgentProcess

SECONDS, PREPARED = 2.0, 40_000
QUIET_S = 8.0
LIMITS = {1: 1.1, 64: 0.25}  # of one record a commit


def _state_bytes(agent: AgentProcess) -> int:
    return sum(path.stat().st_size for path in agent.state.glob("agent.db*") if not path.name.endswith("-shm"))


def _measure(clients: int, env: Mapping[str, str]) -> tuple[float, float]:
    """Bytes written, and bytes that the state folder grew by, for each acknowledged record."""
    with tempfile.TemporaryDirectory(prefix="pos-bench-") as folder:
        agent = AgentProcess(Path(folder), program=["-OO", "-m", "tests.bench.group_one"])
        try:
            agent.start(env=env)
            assert agent.process is not None
            time.sleep(QUIET_S)
            written, held = written_bytes(agent.process.pid), _state_bytes(agent)
            command = [sys.executable, "-m", "tests.bench.load", str(agent.run / "payment.sock")]
            done = subprocess.run(
                [*command, str(clients), str(SECONDS), str(PREPARED)], cwd=ROOT, capture_output=True, check=True
            )
            acks = json.loads(done.stdout)["acks"]
            time.sleep(QUIET_S)
            written = written_bytes(agent.process.pid) - written
            agent.stop()
            return written / acks, (_state_bytes(agent) - held) / acks
        finally:
            agent.close()


def report() -> list[Row]:
    """One pair of runs for each number of clients."""
    rows = []
    grown = 0.0
    for clients, limit in LIMITS.items():
        ours, grown = _measure(clients, {})
        theirs, _grown = _measure(clients, {"MAX_GROUP": "1"})
        what = f"flash a record, {clients} client{'s' if clients > 1 else ''}"
        rows.append(Row(what, ours / 1024, "KiB", limit, theirs / 1024, "one by one"))
    rows.append(Row("file growth a record", grown, "bytes", 4.0, request_bytes(), "the record as sent"))
    return rows
