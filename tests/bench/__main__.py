"""``make bench``: every figure beside a peer or a raw limit from the same run; absolute times are this machine's.

``make bench ARGS="--gate"`` measures only what a busy machine does not move, and fails when a limit is missed.
"""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Callable
from functools import partial

from tests.bench import acks, collector, drain, flash, growth, health_round, idle_report, increment, ping, startup
from tests.bench.row import Row, print_rows

FIGURES: dict[str, Callable[[], list[Row]]] = {
    "acks": acks.report,
    "slow-acks": partial(acks.report, delay_ms=3.0),
    "slowest-acks": partial(acks.report, delay_ms=8.0),
    "growth": growth.report,
    "increment": increment.report,
    "flash": flash.report,
    "ping": ping.report,
    "drain": drain.report,
    "collector": collector.report,
    "startup": startup.report,
    "health": health_round.report,
    "idle": idle_report.report,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench", description="Figures of the agent beside peers.")
    parser.add_argument("figures", nargs="*", metavar="FIGURE", help=f"of {', '.join(FIGURES)}; all by default")
    parser.add_argument("--gate", action="store_true", help="only memory, wake-ups and flash writes; exit 1 if missed")
    options = parser.parse_args()
    if unknown := set(options.figures) - set(FIGURES):
        parser.error(f"no such figure: {', '.join(sorted(unknown))}")
    print(f"Python {platform.python_version()} on {platform.machine()}, {platform.system()} {platform.release()}")
    if options.gate:
        settle_s, measure_s = idle_report.GATE_SETTLE_S, idle_report.GATE_MEASURE_S
        rows = [row for row in idle_report.report(settle_s=settle_s, measure_s=measure_s) if row.steady]
        print_rows(rows)
        return 0 if all(row.is_met for row in rows) else 1
    rows = []
    for name in options.figures or FIGURES:
        rows += FIGURES[name]()
    print()
    print_rows(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
