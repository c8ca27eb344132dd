"""Durable acknowledgements at 1, 8, 64 clients, against the same server, wire and schema with one record a commit."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.bench.row import Row
from tests.kit.agent_process import ROOT, AgentProcess

CLIENTS = (1, 8, 64)
ROUNDS = 3
SECONDS = 2.0
PREPARED = 60_000
LIMITS = {(1, False): (0.9, None), (64, False): (4.0, 0.5), (64, True): (25.0, 0.1)}  # at least the rate, at most p99


def _measure(clients: int, env: Mapping[str, str]) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="pos-bench-") as folder:
        agent = AgentProcess(Path(folder), program=["-OO", "-m", "tests.bench.group_one"])
        try:
            agent.start(env=env)
            command = [sys.executable, "-m", "tests.bench.load", str(agent.run / "payment.sock")]
            prepared = str(PREPARED if clients > 1 else PREPARED // 3)
            done = subprocess.run(
                [*command, str(clients), str(SECONDS), prepared], cwd=ROOT, capture_output=True, check=True
            )
        finally:
            agent.close()
    result: dict[str, float] = json.loads(done.stdout)
    result["acks_per_s"] = result["acks"] / result["seconds"]
    return result


def report(delay_ms: float = 0.0) -> list[Row]:
    """Print one line a number of clients: medians over interleaved rounds, and their ratio."""
    rows = []
    print(f"durable acks, {delay_ms:g} ms added to each commit, median of {ROUNDS} interleaved rounds of {SECONDS:g} s")
    print(f"{'clients':>8} {'agent/s':>9} {'one by one/s':>13} {'ratio':>7}   {'p99 ms':>8} {'p99 ms':>8} {'ratio':>7}")
    for clients in CLIENTS:
        grouped, single = [], []
        for _ in range(ROUNDS):
            delay = {"COMMIT_DELAY_MS": str(delay_ms)}
            grouped.append(_measure(clients, delay))
            single.append(_measure(clients, {**delay, "MAX_GROUP": "1"}))
        ours, theirs = (_median(rounds, "acks_per_s") for rounds in (grouped, single))
        p99, their_p99 = (_median(rounds, "p99_ms") for rounds in (grouped, single))
        line = f"{clients:8} {ours:9.0f} {theirs:13.0f} {ours / theirs:6.2f}×"
        print(f"{line}   {p99:8.2f} {their_p99:8.2f} {p99 / their_p99:6.2f}×", flush=True)
        least, most = LIMITS.get((clients, delay_ms > 0), (None, None))
        what = f"acks, {clients} client{'s' if clients > 1 else ''}" + (
            f", +{delay_ms:g} ms a flush" if delay_ms else ""
        )
        if least is not None:
            rows.append(Row(what, ours, "1/s", least, theirs, "one by one", at_least=True))
        if most is not None:
            rows.append(Row(f"{what}, p99", p99, "ms", most, their_p99, "one by one"))
    return rows


def _median(rounds: list[dict[str, float]], key: str) -> float:
    return statistics.median(one[key] for one in rounds)
