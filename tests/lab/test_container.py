"""The lab itself: a container that is up, and nothing of it once the run that made it is gone, however it went."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.lab.holder import cgroups, remove_cgroups

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
RUN = """
import sys, time
from pathlib import Path
from tests.lab.terminal import Terminal
with Terminal(Path(sys.argv[1]), [Path(layer) for layer in sys.argv[2:]]) as terminal:
    print(terminal.name, flush=True)
    time.sleep(600)
"""


def _processes(name: str) -> set[int]:
    found: set[int] = set()
    for group in cgroups(name):
        for file in group.rglob("cgroup.procs"):
            found.update(map(int, file.read_text().split()))
    return found


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_when_a_run_is_ended_nothing_of_its_container_is_left(
    layers: list[Path], tmp_path: Path, number: signal.Signals
) -> None:
    program = [sys.executable, "-c", RUN, str(tmp_path), *map(str, layers)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        program, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    ) as run:
        assert run.stdout is not None
        name = run.stdout.readline().strip()
        if not Path("/run/systemd/system").is_dir():  # else it is in the host's own control groups
            assert len(_processes(name)) > 3
        mounted = Path("/proc/self/mountinfo").read_text().count(str(tmp_path))
        run.send_signal(number)
        run.wait(30)
    assert mounted == 0  # it has mounts of its own
    deadline = time.monotonic() + 30
    while _processes(name):
        assert time.monotonic() < deadline, f"still there: {_processes(name)}"
        time.sleep(0.05)
    assert remove_cgroups(name, within_s=10.0) == []
