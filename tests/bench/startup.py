"""From exec to READY=1 with bytecode present, beside a bare interpreter that imports asyncio, ssl and sqlite3."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.bench.row import Row
from tests.kit.agent_process import AgentProcess

ROUNDS = 9
_BARE = "import asyncio, ssl, sqlite3; print('ready', flush=True); import time; time.sleep(60)"


def _agent_ms(agent: AgentProcess) -> float:
    began = time.perf_counter()
    agent.start()
    took_ms = (time.perf_counter() - began) * 1000
    agent.stop()
    return took_ms


def _bare_ms() -> float:
    began = time.perf_counter()
    with subprocess.Popen([sys.executable, "-OO", "-c", _BARE], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        took_ms = (time.perf_counter() - began) * 1000
        process.kill()
    return took_ms


def report() -> list[Row]:
    """Interleaved rounds; medians."""
    with tempfile.TemporaryDirectory(prefix="pos-bench-") as name:
        agent = AgentProcess(Path(name), program=["-OO", "-m", "agent", "run"])
        try:
            _agent_ms(agent)  # writes the bytecode
            rounds = [(_agent_ms(agent), _bare_ms()) for _ in range(ROUNDS)]
        finally:
            agent.close()
    ours, bare = (statistics.median(one) for one in zip(*rounds, strict=True))
    return [Row("start to READY", ours, "ms", 250.0, bare, "bare imports", absolute=True)]
