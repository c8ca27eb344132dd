"""The unattended tour is part of the tests: broker, printer, agent and shop as real processes, proved by witnesses."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from agent.demo.script import STEPS

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(900)
def test_the_tour_ends_by_itself_with_exit_0() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "agent", "demo", "--script"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=880,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(re.findall(r"(?m)^ *\d+/\d+ ok ", done.stdout)) == len(STEPS)


def test_the_tour_refuses_a_folder_in_use_and_one_too_long_for_sockets(tmp_path: Path) -> None:
    (tmp_path / "there").touch()
    for folder, why in ((tmp_path, "not empty"), (Path("/tmp") / ("x" * 90), "too long")):
        done = subprocess.run(
            [sys.executable, "-m", "agent", "demo", "--script", "--folder", str(folder)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 2
        assert why in done.stderr
