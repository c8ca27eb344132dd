"""SIGKILL at every step of replacing a damaged file, and while entries come back: the end is always the same."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from agent.runtime.clock import SystemClock
from agent.store.soundness import Soundness
from tests.kit import damage
from tests.kit.damage import PAGE, Made
from tests.kit.store_records import open_journal, sale

ROOT = Path(__file__).parents[2]
COUNT, IN_WAL = 700, 60


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return damage.make(tmp_path_factory.mktemp("whole"), COUNT, in_wal=IN_WAL)


def _spoil(made: Made, folder: Path) -> None:
    path = made.put(folder)
    content = bytearray(made.files["agent.db"])
    content[40 * PAGE : 44 * PAGE] = bytes(4 * PAGE)
    path.write_bytes(b"\xff" * PAGE + content[PAGE:])
    log = folder / "agent.db-wal"
    log.write_bytes(b"\xff" * 32 + log.read_bytes()[32:])  # without its header SQLite sees nothing of the log


def _child(module: str, *arguments: str) -> int:
    command = [sys.executable, "-m", module, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=ROOT, env=environment, timeout=100, capture_output=True, check=False).returncode


async def _bring_back(folder: Path) -> int:
    """Open, record one more, and let everything come back; the sequence of the new one."""
    async with open_journal(folder) as opened:
        sequence = await opened.store(sale(stan="999999"))
        soundness = Soundness(opened.database, SystemClock(), lambda *_fault: None)
        service = asyncio.create_task(soundness.run())
        async with asyncio.timeout(60):
            while damage.is_rebuilding(folder / "agent.db"):
                await asyncio.sleep(0.02)
        service.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await service
        return sequence


def _check(made: Made, folder: Path, added: int) -> int:
    stored = damage.stored(folder / "agent.db")
    missing = damage.named_missing(folder / "agent.db")
    assert {one: stored[one] for one in made.entries if one in stored} == {
        one: content for one, content in made.entries.items() if one not in missing
    }
    assert set(made.entries) == (set(stored) & set(made.entries)) | missing
    assert max(stored) == added > COUNT
    assert not (folder / "agent.db.replacing").exists()
    assert not (folder / "agent.db.new").exists()
    return len(set(stored) & set(made.entries))


@pytest.mark.timeout(300)
def test_a_kill_at_any_step_of_replacing_a_file_changes_nothing_of_its_end(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ends = set()
    at = 0
    code = -signal.SIGKILL
    while code == -signal.SIGKILL:
        at += 1
        folder = tmp_path / f"killed at {at}"
        _spoil(made, folder)
        original = (folder / "agent.db").read_bytes()
        code = _child("tests.kit.replacing_child", str(folder), str(at))
        assert code in (0, -signal.SIGKILL)
        if at % 3 == 0:  # and once more, on the way of the next start
            _child("tests.kit.replacing_child", str(folder), "2")
        added = asyncio.run(_bring_back(folder))
        ends.add(_check(made, folder, added))
        kept = [one for one in damage.set_aside(folder) if one.read_bytes() == original]
        assert len(kept) == 1, "the damaged file is kept as it was"
    assert len(ends) == 1
    with capsys.disabled():
        print(f"\n{at - 1} kills while replacing: {COUNT} acknowledged, {ends} survived, the others named missing")
    assert at > 10


@pytest.mark.timeout(300)
def test_kills_while_entries_come_back_only_delay_them(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _spoil(made, tmp_path)
    chance = random.Random(5)
    kills = 0
    for _round in range(6):
        child = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.test_replacement_kill", str(tmp_path)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.DEVNULL,
        )
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(chance.uniform(0.4, 1.6))
        kills += child.poll() is None
        child.kill()
        child.wait()
    added = asyncio.run(_bring_back(tmp_path))
    survived = _check(made, tmp_path, added)
    with capsys.disabled():
        print(f"\n{kills} kills while entries come back: {COUNT} acknowledged, {survived} survived")


if __name__ == "__main__":
    asyncio.run(_bring_back(Path(sys.argv[1])))
