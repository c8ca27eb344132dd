"""The thread that reads: one hop for all, a lost read stays lost alone, and its name comes back with it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable

import pytest

from agent.health.blocking_reader import BlockingReader
from tests.kit.health_room import until

MISSING = "missing"


@pytest.fixture
async def reader() -> AsyncIterator[BlockingReader[str]]:
    reader: BlockingReader[str] = BlockingReader("reader-under-test", lambda _deadline_s: MISSING)
    yield reader
    reader.close()
    await until(lambda: not _threads())


def _threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "reader-under-test"]


async def _read(
    reader: BlockingReader[str], reads: dict[str, Callable[[], str]], deadline_s: float = 5.0
) -> list[dict[str, str]]:
    return [results async for results in reader.read(reads, deadline_s)]


class Gate:
    """A read that blocks until it is opened."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self.begun = 0

    def __call__(self) -> str:
        self.begun += 1
        self._open.wait()
        return "late"

    def open(self) -> None:
        self._open.set()


async def test_all_come_in_one_hop_from_one_thread(reader: BlockingReader[str]) -> None:
    names: set[int] = set()

    def read() -> str:
        names.add(threading.get_ident())
        return "x"

    for _ in range(50):
        assert await _read(reader, {"a": read, "b": read, "c": read}) == [{"a": "x", "b": "x", "c": "x"}]
    assert len(names) == 1


async def test_what_stands_behind_a_blocked_read_does_not_wait_for_the_deadline(reader: BlockingReader[str]) -> None:
    gate, order = Gate(), list[str]()
    async for results in reader.read({"a": lambda: "x", "stuck": gate, "b": lambda: "y", "c": lambda: "z"}, 1.5):
        order += results
    assert set(order[:3]) == {"a", "b", "c"}
    assert order[3:] == ["stuck"]
    gate.open()


async def test_a_lost_read_is_never_begun_again_and_comes_back_by_itself(reader: BlockingReader[str]) -> None:
    gate = Gate()
    assert (await _read(reader, {"stuck": gate}, 0.1)) == [{"stuck": MISSING}]
    for _ in range(20):
        results: dict[str, str] = {}
        for some in await _read(reader, {"stuck": gate, "b": lambda: "y"}, 0.1):
            results |= some
        assert results == {"stuck": MISSING, "b": "y"}
    assert gate.begun == 1
    assert len(_threads()) <= 2
    gate.open()
    await until(lambda: not reader.under_way)
    assert (await _read(reader, {"stuck": lambda: "well"})) == [{"stuck": "well"}]


async def test_a_slow_read_within_the_deadline_counts_and_needs_no_further_thread(reader: BlockingReader[str]) -> None:
    def slow() -> str:
        time.sleep(0.12)
        return "slow"

    for _ in range(6):
        results: dict[str, str] = {}
        for some in await _read(reader, {"slow": slow, "b": lambda: "y"}):
            results |= some
        assert results == {"slow": "slow", "b": "y"}
    await until(lambda: len(_threads()) == 1)


async def test_a_caller_that_is_cancelled_leaves_nothing_to_be_read_twice(reader: BlockingReader[str]) -> None:
    gate = Gate()
    caller = asyncio.create_task(_read(reader, {"stuck": gate, "b": lambda: "y"}, 60.0))
    await until(lambda: gate.begun)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    results: dict[str, str] = {}
    for some in await _read(reader, {"stuck": gate, "c": lambda: "z"}, 0.2):
        results |= some
    assert results == {"stuck": MISSING, "c": "z"}
    assert gate.begun == 1
    gate.open()


async def test_many_lost_reads_cost_one_thread_each(reader: BlockingReader[str]) -> None:
    gates = {f"g{index}": Gate() for index in range(8)}
    reads: dict[str, Callable[[], str]] = {**gates, "good": lambda: "x"}
    for _ in range(5):
        results: dict[str, str] = {}
        for some in await _read(reader, reads, 1.0):
            results |= some
        assert results["good"] == "x"
    assert len(_threads()) <= len(gates) + 1
    assert {gate.begun for gate in gates.values()} == {1}
    for gate in gates.values():
        gate.open()


async def test_a_read_that_is_stuck_at_the_end_of_its_batch_does_not_hold_those_before_it(
    reader: BlockingReader[str],
) -> None:
    gate = Gate()
    reads: dict[str, Callable[[], str]] = {"a": lambda: "x", "b": lambda: "y", "stuck": gate}
    for _ in range(20):
        results: dict[str, str] = {}
        for some in await _read(reader, reads, 0.1):
            results |= some
        assert results == {"a": "x", "b": "y", "stuck": MISSING}
    assert reader.under_way == {"stuck"}
    assert gate.begun == 1
    gate.open()
    await until(lambda: not reader.under_way)


async def test_time_that_the_caller_takes_between_is_not_counted_against_the_others(
    reader: BlockingReader[str],
) -> None:
    gate = Gate()
    reads: dict[str, Callable[[], str]] = {"stuck": gate, "b": lambda: "y"}
    for _ in range(3):
        results: dict[str, str] = {}
        async for some in reader.read(reads, 0.2):
            results |= some
            await asyncio.sleep(0.4)  # a commit on a slow disk
        assert results == {"stuck": MISSING, "b": "y"}
    gate.open()
