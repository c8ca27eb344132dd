"""A piece of work in a process of its own: what it gives back, and that neither it nor its pipes outlive anybody."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from agent.errors import ChildFailed
from agent.runtime import child_process
from agent.runtime.child_process import run_child

_PREAMBLE = "from agent.runtime.parent import end_with_parent, read_job\nimport os, sys, time\njob = read_job()\n"


@pytest.fixture(name="module")
def _module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    def write(text: str) -> str:
        (tmp_path / "piece_of_work.py").write_text(_PREAMBLE + text)
        return "piece_of_work"

    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{Path(__file__).parents[3]}")
    return write


def _descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


async def test_a_job_goes_in_and_its_last_line_comes_out(module: object) -> None:
    before = _descriptors()
    told: list[bytes] = []
    name = module("print('half'); print(job.decode().upper())")  # type: ignore[operator]
    assert await run_child(name, b"x" * 300_000, deadline_s=60, on_progress=told.append) == b"X" * 300_000
    assert told == [b"half"]
    assert _descriptors() == before


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("sys.exit(3)", "exit code 3"),
        ("os.kill(os.getpid(), 9)", "signal 9"),
        ("pass", "no result"),
        ("print('x' * 2_000_000)", "more than 1 MiB"),
        ("raise RuntimeError", "exit code 1"),
    ],
)
async def test_one_that_fails_says_how(module: object, text: str, why: str) -> None:
    before = _descriptors()
    with pytest.raises(ChildFailed, match=why):
        await run_child(module(text), b"{}", deadline_s=60)  # type: ignore[operator]
    assert _descriptors() == before


async def test_one_that_takes_too_long_is_ended(module: object) -> None:
    name = module("print(os.getpid(), flush=True); print('', flush=True); time.sleep(600)")  # type: ignore[operator]
    pids: list[int] = []
    with pytest.raises(ChildFailed, match="took longer"):
        await run_child(name, b"{}", deadline_s=5, on_progress=lambda line: pids.append(int(line or 0)))
    assert pids
    assert not _runs(str(pids[0]))


async def test_children_stuck_in_the_kernel_hold_nobody_up_and_do_not_grow_without_end(
    module: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a dead disk does to a process: SIGKILL is sent, and it ends only when the disk answers."""
    before = _descriptors()
    name = module("time.sleep(600)")  # type: ignore[operator]
    stuck: list[int] = []
    monkeypatch.setattr(child_process, "_KILLED_WITHIN_S", 0.01)
    with monkeypatch.context() as dead:
        dead.setattr(signal, "pidfd_send_signal", lambda pidfd, _signal: stuck.append(os.dup(pidfd)))
        for _ in range(4):
            with pytest.raises(ChildFailed, match="took longer"):
                await run_child(name, b"{}", deadline_s=0.01)
        with pytest.raises(ChildFailed, match="disk that does not answer"):
            await run_child(name, b"{}", deadline_s=0.01)
    assert len(stuck) == 4
    for pidfd in stuck:  # the disk answers
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        os.close(pidfd)
    async with asyncio.timeout(60):
        while _descriptors() != before:
            await asyncio.sleep(0.01)
    with pytest.raises(ChildFailed, match="took longer"):
        await run_child(name, b"{}", deadline_s=0.01)


async def test_one_ends_when_its_parent_is_gone(tmp_path: Path, module: object) -> None:
    pid_file = tmp_path / "pid"
    name = module(  # type: ignore[operator]
        f"open({str(pid_file)!r}, 'w').write(str(os.getpid()))\nend_with_parent()\ntime.sleep(600)"
    )
    program = (
        "import asyncio; from agent.runtime.child_process import run_child;"
        f"asyncio.run(run_child({name!r}, b'', deadline_s=600))"
    )
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", program)
    async with asyncio.timeout(60):
        while not (pid := _content(pid_file)):
            await asyncio.sleep(0.01)
        assert _runs(pid)
        parent.kill()
        await parent.wait()
        while _runs(pid):
            await asyncio.sleep(0.01)


def _content(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def _runs(pid: str) -> bool:
    status = _content(Path(f"/proc/{pid}/status"))
    return bool(status) and "\nState:\tZ" not in status


async def test_a_child_uses_the_bytecode_of_its_parents_release_and_writes_none_elsewhere(
    tmp_path: Path, module: object
) -> None:
    name = module("print(sys.pycache_prefix, sys.flags.optimize, sys.flags.isolated)")  # type: ignore[operator]
    program = (
        "import asyncio; from agent.runtime.child_process import run_child;"
        f"print(asyncio.run(run_child({name!r}, b'', deadline_s=60)).decode())"
    )
    flags = ["-OO", "-X", f"pycache_prefix={tmp_path}"]
    parent = await asyncio.create_subprocess_exec(sys.executable, *flags, "-c", program, stdout=asyncio.subprocess.PIPE)
    said, _nothing = await parent.communicate()
    assert said.decode() == f"{tmp_path} 2 0\n"
