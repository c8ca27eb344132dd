"""What the agent measures of itself: the groups ``agent`` and ``store`` of the metrics. Read when they are asked for.

Source: the product's contract, "MQTT", ``agent/m/<group>``. Used by ``boot.py``; left out: figures of devices and of
the board, which the room ``health`` gives.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Mapping

from msgspec.structs import asdict

from agent.runtime.clock import Clock
from agent.store.database import DatabaseMetrics

Figures = Callable[[], Mapping[str, int | float]]


def own_figures(
    store: Callable[[], DatabaseMetrics],
    clock: Clock,
    *,
    starts: int,
    refused: Callable[[], Mapping[str, int]],
    copies: Figures,
) -> Mapping[str, Figures]:
    """Group → a function that reads it now; cheap, no file is read.

    Args:
        starts: Of the agent within this journal, this one included.
        refused: Counts since the start, by code of the security event.
        copies: How far the journal is protected.
    """
    began_s = clock.monotonic()

    def agent() -> Mapping[str, int | float]:
        counts = {f"refused_{code.lower().replace('-', '_')}": count for code, count in refused().items()}
        return {
            "uptime_s": round(clock.monotonic() - began_s, 1),
            "starts": starts,
            "processor_s": round(time.process_time(), 2),
            "resident_peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            **counts,
        }

    return {"agent": agent, "store": lambda: {**asdict(store()), **copies()}}
