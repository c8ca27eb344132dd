"""How long answers have waited for their reader. Pure: byte counts and times in, a judgement out."""

from __future__ import annotations

from collections import deque
from typing import Final

_MARK_EVERY_S: Final = 0.05


class UnreadAnswers:
    """Marks how far the stream of answers reached at which time, as long as some of it waits."""

    __slots__ = ("_marks", "_sent_bytes")

    def __init__(self) -> None:
        self._sent_bytes = 0
        self._marks: deque[tuple[int, float]] = deque()

    def __bool__(self) -> bool:
        """True while answers may be waiting."""
        return bool(self._marks)

    def sent(self, size_bytes: int) -> None:
        """That many bytes of answers were handed over."""
        self._sent_bytes += size_bytes

    def wait(self, now_s: float) -> None:
        """Not all of it has left yet."""
        if not self._marks or now_s - self._marks[-1][1] > _MARK_EVERY_S:
            self._marks.append((self._sent_bytes, now_s))

    def all_left(self) -> None:
        """Nothing waits."""
        self._marks.clear()

    def waited_s(self, waiting_bytes: int, now_s: float) -> float:
        """For how long the oldest of the last ``waiting_bytes`` has waited, at least."""
        left_bytes = self._sent_bytes - waiting_bytes
        while self._marks and self._marks[0][0] <= left_bytes:
            self._marks.popleft()
        if not self._marks and waiting_bytes:
            self._marks.append((self._sent_bytes, now_s))
        return now_s - self._marks[0][1] if self._marks else 0.0
