"""``make bench``: every figure beside a peer or a raw limit from the same run; absolute times are this machine's."""

from __future__ import annotations

import argparse
import platform
import sys

from tests.bench import acks, idle_report, ping

FIGURES = ("acks", "slow-acks", "ping", "idle")


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench", description="Figures of the agent beside peers.")
    parser.add_argument("figures", nargs="*", metavar="FIGURE", help=f"of {', '.join(FIGURES)}; all by default")
    wanted = parser.parse_args().figures or list(FIGURES)
    if unknown := set(wanted) - set(FIGURES):
        parser.error(f"no such figure: {', '.join(sorted(unknown))}")
    print(f"Python {platform.python_version()} on {platform.machine()}, {platform.system()} {platform.release()}")
    if "acks" in wanted:
        acks.report()
    if "slow-acks" in wanted:
        acks.report(delay_ms=3.0)
    if "ping" in wanted:
        ping.report()
    if "idle" in wanted:
        idle_report.report()
    return 0


if __name__ == "__main__":
    sys.exit(main())
