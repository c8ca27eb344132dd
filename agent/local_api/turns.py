"""Whose turn it is: the loop's time shared among processes, so that a flood waits for itself and for nobody else.

Within one turn of the loop a process is worked for only so long, over all of its connections, and all together only so
long. Who has more to do waits for a later turn, in the order of asking and process after process. A process that was
alone in this turn and the one before has all but one share: what it sends at once is stored at once, in one commit.
While nobody has that much to do, this costs two looks at the clock a frame and no wake-up.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Final, Protocol

OF_ONE_S: Final = 0.003
OF_ALL_S: Final = 0.009


class Loop(Protocol):
    """What is needed of the event loop."""

    def time(self) -> float: ...
    def call_soon(self, callback: Callable[[], None], /) -> object: ...


class Turns:
    """Of one socket. ``of_one_s`` and ``of_all_s``: seconds of work in one turn."""

    def __init__(self, loop: Loop, of_one_s: float = OF_ONE_S, of_all_s: float = OF_ALL_S) -> None:
        self._loop = loop
        self._of_one_s = of_one_s
        self._of_all_s = of_all_s
        self._began_s = loop.time()
        self._used_s: dict[int, float] = {}
        self._used_by_all_s = 0.0
        self._before: frozenset[int] = frozenset()  # who was worked for in the turn before
        self._several = False
        self._waiting: OrderedDict[int, deque[Callable[[], None]]] = OrderedDict()

    def left_s(self, pid: int) -> float:
        """For how long this process may be worked for at present; nothing or less: it has to `wait`."""
        if not self._waiting and self._loop.time() - self._began_s > self._of_all_s:
            self._begin()
        of_all_s = self._of_all_s - self._used_by_all_s
        is_alone = not self._several and (not self._used_s or pid in self._used_s)
        mine_s = self._of_all_s - self._of_one_s if is_alone else self._of_one_s  # one share is left for who comes next
        return min(mine_s - self._used_s.get(pid, 0.0), of_all_s)

    def used(self, pid: int, duration_s: float) -> None:
        """It was worked for."""
        self._used_s[pid] = self._used_s.get(pid, 0.0) + duration_s
        self._used_by_all_s += duration_s
        self._several = self._several or len(self._used_s) > 1 or not self._before <= {pid}

    def wait(self, pid: int, resume: Callable[[], None]) -> None:
        """Have ``resume`` called when its turn has come."""
        self._several = self._several or (bool(self._waiting) and pid not in self._waiting)
        if not self._waiting:
            self._loop.call_soon(self._next)
        self._waiting.setdefault(pid, deque()).append(resume)

    def _begin(self) -> None:
        self._began_s = self._loop.time()
        self._before = frozenset(self._used_s)
        self._several = len(self._before) > 1 or len(self._waiting) > 1
        self._used_s.clear()
        self._used_by_all_s = 0.0

    def _next(self) -> None:
        """The next turn: those who wait before those who come, each process as far as its time goes."""
        self._begin()
        try:
            for pid in list(self._waiting):
                if self.left_s(pid) <= 0:  # all together have had theirs: these are the first in the next turn
                    break
                self._serve(pid)
        finally:
            if self._waiting:
                self._loop.call_soon(self._next)

    def _serve(self, pid: int) -> None:
        queue = self._waiting[pid]
        try:
            for _ in range(len(queue)):  # whoever is not done asks again, and is not called again in this turn
                if self.left_s(pid) <= 0:
                    break
                queue.popleft()()
        finally:
            if queue:
                self._waiting.move_to_end(pid)
            else:
                del self._waiting[pid]
