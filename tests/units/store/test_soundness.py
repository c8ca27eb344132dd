"""The watch over the file: a look that was not possible is tried again, so that no fault stands without a reason."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from agent.errors import ChildFailed
from agent.runtime.child_process import run_child
from agent.runtime.clock import SystemClock
from agent.store import soundness
from agent.store.soundness import DAMAGED, Soundness
from tests.kit.store_records import open_journal, sale


async def test_a_look_that_was_not_possible_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0

    async def ended_at_first(module: str, job: bytes, *, deadline_s: float) -> bytes:
        nonlocal looks
        looks += 1
        if looks == 1:
            raise ChildFailed("ended by the kernel", hint="memory")
        return await run_child(module, job, deadline_s=deadline_s)

    monkeypatch.setattr(soundness, "run_child", ended_at_first)
    monkeypatch.setattr(soundness, "FIRST_LOOK_S", 0.01)
    monkeypatch.setattr(soundness, "LOOK_AGAIN_S", 0.01)
    reported: dict[str, bool] = {}
    async with open_journal(tmp_path) as opened:
        await opened.store(sale())
        service = asyncio.create_task(
            Soundness(
                opened.database, SystemClock(), lambda code, _device, active, _detail: reported.update({code: active})
            ).run()
        )
        async with asyncio.timeout(30):
            while DAMAGED not in reported:
                await asyncio.sleep(0.02)
        service.cancel()
        await asyncio.wait([service])
    assert reported == {DAMAGED: False}
    assert looks == 2
