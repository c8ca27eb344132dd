"""Turns: a process with much to do waits for itself; all others have their time in every turn of the loop."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import pairwise

from agent.local_api.turns import Turns


class Loop:
    """A loop moved by hand: ``turn`` calls what was there to be called when it began."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.soon: list[Callable[[], None]] = []

    def time(self) -> float:
        return self.now_s

    def call_soon(self, callback: Callable[[], None], /) -> object:
        self.soon.append(callback)
        return None

    def turn(self) -> None:
        callbacks, self.soon = self.soon, []
        for callback in callbacks:
            callback()


class Work:
    """A connection with so many frames of one millisecond each."""

    def __init__(self, turns: Turns, loop: Loop, pid: int, frames: int, done: Counter[int]) -> None:
        self._turns = turns
        self._loop = loop
        self._pid = pid
        self.frames = frames
        self._done = done

    def proceed(self) -> None:
        until_s = self._loop.now_s + self._turns.left_s(self._pid)
        began_s = self._loop.now_s
        while self.frames:
            if self._loop.now_s >= until_s:
                self._turns.wait(self._pid, self.proceed)
                break
            self.frames -= 1
            self._loop.now_s += 0.001
            self._done[self._pid] += 1
        self._turns.used(self._pid, self._loop.now_s - began_s)


def a_room(of_one_s: float = 0.0035, of_all_s: float = 0.0095) -> tuple[Loop, Turns, Counter[int]]:
    loop = Loop()
    return loop, Turns(loop, of_one_s, of_all_s), Counter()


def test_a_process_alone_leaves_one_share_for_who_comes_next() -> None:
    loop, turns, done = a_room()
    for _ in range(50):
        Work(turns, loop, 1, 100, done).proceed()
    assert done[1] == 6
    Work(turns, loop, 2, 10, done).proceed()
    assert done[2] == 4  # the frame that reaches the limit is finished


def test_beside_another_process_it_has_one_share_over_all_of_its_connections() -> None:
    loop, turns, done = a_room()
    Work(turns, loop, 2, 1, done).proceed()
    for _ in range(50):
        Work(turns, loop, 1, 100, done).proceed()
    assert done[1] == 4
    loop.turn()
    assert done[1] == 8, "the other one was there in the turn before"
    loop.turn()
    assert done[1] == 14, "it has been alone since"


def test_who_waits_goes_on_in_order_until_all_is_done_and_then_nothing_is_scheduled() -> None:
    loop, turns, done = a_room()
    works = [Work(turns, loop, 1, 10, done) for _ in range(5)]
    for work in works:
        work.proceed()
    assert len(loop.soon) == 1
    seen = [tuple(work.frames for work in works)]
    while loop.soon:
        loop.turn()
        seen.append(tuple(work.frames for work in works))
    assert done[1] == 50
    assert len(seen) >= 50 // 7
    assert all(later <= before for before, later in pairwise(seen))


def test_in_each_turn_every_process_that_waits_has_its_share_as_far_as_time_goes() -> None:
    loop, turns, done = a_room()
    for pid in range(1, 7):
        for _ in range(10):
            Work(turns, loop, pid, 1000, done).proceed()
    for _ in range(20):
        loop.turn()
    assert max(done.values()) <= 2 * min(done.values()) + 6
    assert set(done) == set(range(1, 7))


def test_time_that_passed_idly_is_nobodys() -> None:
    loop, turns, done = a_room()
    Work(turns, loop, 1, 3, done).proceed()
    assert turns.left_s(1) < 0.0031
    loop.now_s += 1.0
    assert round(turns.left_s(1), 6) == 0.006
    assert not loop.soon  # and it costs no wake-up


def test_all_together_have_a_limit_too() -> None:
    loop, turns, done = a_room()
    for pid in range(1, 11):
        Work(turns, loop, pid, 3, done).proceed()
    assert sum(done.values()) <= 10
    assert turns.left_s(99) <= 0
    loop.turn()
    assert turns.left_s(99) > 0 or sum(done.values()) > 10
