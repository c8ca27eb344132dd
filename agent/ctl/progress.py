"""Long work told as it goes: on a terminal one line that is written over, elsewhere a plain line now and then.

Used by the verbs of ``posctl`` and by whatever else works for people at length. What is told never goes to standard
output, where results are.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from typing import Final, TextIO

from agent.ctl.render.style import clip, duration, plain

PLAIN_EVERY_S: Final = 5.0
"""Where nobody looks on: the first line after so long, and no more than one in so long."""
_MOVED_EVERY_S: Final = 0.1
_LONG_AGO_S: Final = float("-inf")
_SURE_AFTER_S: Final = 3.0  # an estimate from less is a guess


class Progress:
    """``show`` as often as you like, ``clear`` before anything else is written to the same place.

    Args:
        out: Usually standard error.
        plain_lines: Tell of it elsewhere than on a terminal, too.
    """

    def __init__(
        self,
        out: TextIO,
        *,
        plain_lines: bool = True,
        environ: Callable[[str], str | None] = os.environ.get,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._out, self._monotonic = out, monotonic
        self._moves = out.isatty() and environ("TERM") not in {None, "", "dumb"}
        self._plain_lines = plain_lines
        self._told_s = _LONG_AGO_S if self._moves else monotonic()
        self._shown = False

    def show(self, text: str) -> None:
        """``text`` in place of what stood there."""
        now_s = self._monotonic()
        if now_s - self._told_s < (_MOVED_EVERY_S if self._moves else PLAIN_EVERY_S):
            return
        if self._moves:
            width = shutil.get_terminal_size((80, 24)).columns - 1  # the last column would make it two lines
            self._out.write(f"\r\x1b[K{clip(plain(text), width)}")
            self._shown = True
        elif self._plain_lines:
            self._out.write(plain(text) + "\n")
        else:
            return
        self._told_s = now_s
        self._out.flush()

    def clear(self) -> None:
        """Take the moving line away; the next one is shown at once."""
        if self._shown:
            self._out.write("\r\x1b[K")
            self._out.flush()
            self._shown = False
            self._told_s = _LONG_AGO_S


def how_far(done: int, total: int, elapsed_s: float, noun: str) -> str:
    """``12,300 of 50,000 entries, 24 %, about 8 s left``. Pure.

    Args:
        total: 0 where it is not known.
    """
    if total <= 0:
        return f"{done:,} {noun}, {duration(elapsed_s)}"
    done = min(done, total)
    text = f"{done:,} of {total:,} {noun}, {100 * done // total} %"
    if done and done < total and elapsed_s >= _SURE_AFTER_S:
        text += f", about {duration(elapsed_s / done * (total - done))} left"
    return text
