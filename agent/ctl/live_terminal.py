"""A terminal taken over for a live screen, and given back as it was whatever happens.

Escape sequences of ECMA-48 and the three private modes that every terminal emulator of today shares (alternate screen,
cursor, wrapping). Not curses: it needs a terminfo entry on the terminal at hand, gives wide characters the columns
that its own locale believes in, and leaves the screen to whoever catches the exception. Here a frame is a list of
lines, only those that changed are written, and all of it in one write, so nothing flickers.

Signals: TERM, INT, HUP and QUIT end it; TSTP (Ctrl-Z) gives the terminal back until CONT; WINCH draws anew.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import termios
import tty
from collections.abc import Callable, Sequence
from types import FrameType, TracebackType
from typing import Any, NamedTuple

_ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J"
_LEAVE = "\x1b[?7h\x1b[0m\x1b[?25h\x1b[?1049l"
_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
_SMALLEST = 2
_FALLBACK = os.terminal_size((80, 24))
_WRITE_PATIENCE_S = 5.0


class Woken(NamedTuple):
    """Why `LiveTerminal.wait` returned: what was typed, and whether the other descriptor can be read."""

    typed: bytes
    readable: bool


class LiveTerminal:
    """Use as a context manager; ``draw`` frames and ``wait`` in turn until ``ended``.

    Args:
        output: A descriptor that is a terminal.
        keys: A descriptor that is a terminal, or None when nothing is typed.
        encode: A line as the terminal's own bytes.
    """

    def __init__(self, output: int, keys: int | None, encode: Callable[[str], bytes]) -> None:
        self.ended = False
        self._output, self._keys, self._encode = output, keys, encode
        self._saved: list[Any] | None = None
        self._handlers: dict[int, Any] = {}
        self._shown: list[str] = []
        self._shown_size: os.terminal_size | None = None
        self._stopping = self._continued = False
        self._wake_reader, self._wake_writer = -1, -1
        self._earlier_wakeup = -1

    def __enter__(self) -> LiveTerminal:
        self._wake_reader, self._wake_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._keys is not None:
            self._saved = termios.tcgetattr(self._keys)
        self._earlier_wakeup = signal.set_wakeup_fd(self._wake_writer, warn_on_full_buffer=False)
        for number in _ENDING:
            self._handlers[number] = signal.signal(number, self._end)
        self._handlers[signal.SIGWINCH] = signal.signal(signal.SIGWINCH, lambda _number, _frame: None)
        self._handlers[signal.SIGTSTP] = signal.signal(signal.SIGTSTP, self._stop)
        self._handlers[signal.SIGCONT] = signal.signal(signal.SIGCONT, self._continue)
        try:
            self._take()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def size(self) -> os.terminal_size:
        """Columns and rows as of now."""
        try:
            size = os.get_terminal_size(self._output)
        except OSError:
            return _FALLBACK
        return size if min(size) >= _SMALLEST else _FALLBACK  # a serial line that was never told says 0 by 0

    def draw(self, lines: Sequence[str]) -> None:
        """Show ``lines`` from the top; what is on the screen already is not written again."""
        size = self.size()
        content = ""
        if size != self._shown_size:
            content, self._shown = "\x1b[0m\x1b[2J", []
        for row, line in enumerate(lines[: size.lines]):
            if row < len(self._shown) and self._shown[row] == line:
                continue
            content += f"\x1b[{row + 1};1H\x1b[2K{line}"
        for row in range(len(lines), len(self._shown)):
            content += f"\x1b[{row + 1};1H\x1b[2K"
        self._shown, self._shown_size = list(lines), size
        if content:
            self._write(content)

    def wait(self, other: int | None, timeout_s: float) -> Woken:
        """Until something is typed, ``other`` can be read, a signal comes, or the time is over."""
        wanted = [fd for fd in (self._keys, other, self._wake_reader) if fd is not None]
        ready: list[int] = []
        with contextlib.suppress(InterruptedError):
            ready = select.select(wanted, [], [], timeout_s)[0]
        if self._wake_reader in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake_reader, 512)
        if self._stopping:
            self._suspend()
        if self._continued:
            self._continued = False
            self._take()
        return Woken(self._read_keys() if self._keys in ready else b"", other is not None and other in ready)

    def _read_keys(self) -> bytes:
        if self._keys is None:
            return b""
        try:
            typed = os.read(self._keys, 512)
        except (BlockingIOError, InterruptedError):
            return b""
        except OSError:  # the terminal is gone
            typed = b""
        if not typed:
            self.ended = True
        return typed

    def _take(self) -> None:
        if self._keys is not None:
            tty.setcbreak(self._keys, termios.TCSANOW)  # Ctrl-C and Ctrl-Z stay signals
        self._shown, self._shown_size = [], None
        self._write(_ENTER)

    def _give_back(self) -> None:
        with contextlib.suppress(OSError):
            self._write(_LEAVE)
        if self._keys is not None and self._saved is not None:
            with contextlib.suppress(OSError, termios.error):
                termios.tcsetattr(self._keys, termios.TCSAFLUSH, self._saved)

    def _suspend(self) -> None:
        """Be stopped as any program is; goes on here after CONT, whose handler takes the terminal again."""
        self._stopping = False
        self._give_back()
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, self._stop)
        self._continued = True

    def _close(self) -> None:
        self._give_back()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._earlier_wakeup)
        for fd in (self._wake_reader, self._wake_writer):
            os.close(fd)

    def _write(self, content: str) -> None:
        left = memoryview(self._encode(content))
        while left:
            try:
                left = left[os.write(self._output, left) :]
            except BlockingIOError:  # whoever shares this terminal made it so
                if not select.select([], [self._output], [], _WRITE_PATIENCE_S)[1]:
                    return

    def _end(self, _number: int, _frame: FrameType | None) -> None:
        self.ended = True

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self._stopping = True

    def _continue(self, _number: int, _frame: FrameType | None) -> None:
        self._continued = True
