"""The wish to stop: taken whenever it comes, and never more than that."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator

import pytest

from agent.runtime.stop_signals import StopSignals

BOTH = (signal.SIGTERM, signal.SIGINT)


@pytest.fixture(autouse=True)
def _handlers_as_before() -> Iterator[None]:
    before = {signum: signal.getsignal(signum) for signum in BOTH}
    yield
    for signum, handler in before.items():
        signal.signal(signum, handler)


@pytest.mark.parametrize("signum", BOTH)
async def test_a_signal_that_comes_while_the_loop_sleeps_wakes_it(signum: signal.Signals) -> None:
    waiting = asyncio.create_task(StopSignals().wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    os.kill(os.getpid(), signum)
    async with asyncio.timeout(30):
        await waiting


@pytest.mark.parametrize("signum", BOTH)
async def test_one_that_came_before_anybody_waited_is_not_lost(signum: signal.Signals) -> None:
    stop = StopSignals()
    os.kill(os.getpid(), signum)
    os.kill(os.getpid(), signum)
    async with asyncio.timeout(30):
        await stop.wait()


@pytest.mark.parametrize("signum", BOTH)
async def test_a_sleeping_process_wakes_for_it_and_ends_its_main_task_by_itself(signum: signal.Signals) -> None:
    program = (
        "import asyncio; from agent.runtime.stop_signals import StopSignals; stop = StopSignals()\n"
        "async def main():\n    print('ready', flush=True)\n    await stop.wait()\n    print('ended', flush=True)\n"
        "asyncio.run(main())"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    async with asyncio.timeout(60):
        assert await process.stdout.readline() == b"ready\n"
        process.send_signal(signum)
        assert await process.stdout.read() == b"ended\n"
        assert await process.wait() == 0
