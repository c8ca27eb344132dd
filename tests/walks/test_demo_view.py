"""The live view in a real terminal: the state is seen, what to try is named and works, and q ends everything."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WAIT_S = 60.0


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short, for unix sockets."""
    made = Path(tempfile.mkdtemp(prefix="demo-"))
    yield made / "d"
    shutil.rmtree(made)


class Tmux:
    """One window of a tmux server of its own."""

    def __init__(self, folder: Path, command: str) -> None:
        self._server = ["tmux", "-S", str(folder.parent / "tmux")]
        self._do("-f", "/dev/null", "new-session", "-d", "-x", "100", "-y", "30", command)

    def _do(self, *arguments: str) -> str:
        return subprocess.run([*self._server, *arguments], capture_output=True, text=True, check=True).stdout

    def await_screen(self, what: str, seen: Callable[[str], bool]) -> str:
        deadline = time.monotonic() + WAIT_S
        while not seen(screen := self._do("capture-pane", "-p")):
            assert time.monotonic() < deadline, f"{what} was not seen:\n{screen}"
            time.sleep(0.1)
        return screen

    def press(self, keys: str) -> None:
        self._do("send-keys", keys)

    def is_over(self) -> bool:
        return subprocess.run([*self._server, "has-session"], capture_output=True, check=False).returncode != 0

    def close(self) -> None:
        subprocess.run([*self._server, "kill-server"], capture_output=True, check=False)


@pytest.mark.timeout(240)
def test_the_live_view_shows_the_terminal_and_what_it_names_to_try_works(folder: Path) -> None:
    tmux = Tmux(folder, f"cd {ROOT} && {sys.executable} -m agent demo --folder {folder}")
    try:
        screen = tmux.await_screen("ready", lambda text: "READY to sell" in text and "printer-0" in text)
        assert "q quit" in screen
        tries = (folder / "try").read_text()
        paper_end = re.search(r"^echo .*paper_end\": true.*$", tries, re.MULTILINE)
        assert paper_end is not None, tries
        done = subprocess.run(["bash", "-c", paper_end[0]], capture_output=True, text=True, check=True)
        assert json.loads(done.stdout)["ok"]
        tmux.await_screen("not ready", lambda text: "NOT READY" in text and "HW-PRN-002" in text)
        order = re.search(r"^.*fleet send.*level=app$", tries, re.MULTILINE)
        assert order is not None, tries
        done = subprocess.run(["bash", "-c", order[0]], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        tmux.press("q")
        deadline = time.monotonic() + WAIT_S
        while not tmux.is_over():
            assert time.monotonic() < deadline, "the demo did not end with its screen"
            time.sleep(0.1)
    finally:
        tmux.close()


@pytest.mark.timeout(240)
def test_without_a_terminal_it_prints_lines_and_ends_in_order_when_told(folder: Path) -> None:
    log = folder.parent / "out"
    with log.open("wb") as out:
        demo = subprocess.Popen(
            [sys.executable, "-m", "agent", "demo", "--folder", str(folder)],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
    try:
        deadline = time.monotonic() + WAIT_S
        while not re.search(r"shop: [1-9]\d* sales acknowledged", log.read_text()):
            assert demo.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        demo.terminate()
        assert demo.wait(60) == 0, log.read_text()
    finally:
        if demo.poll() is None:
            demo.kill()
            demo.wait()
    assert "Traceback" not in log.read_text()
