"""A terminal taken over is given back: after an error, with the handlers of before; a terminal that goes away."""

from __future__ import annotations

import os
import pty
import select
import signal
import termios
from collections.abc import Iterator

import pytest

from agent.ctl.live_terminal import LiveTerminal

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP, signal.SIGCONT)


@pytest.fixture
def ends() -> Iterator[tuple[int, int]]:
    """The far end of a terminal, and the end that a program sees."""
    far, near = pty.openpty()
    yield far, near
    for fd in (far, near):
        try:
            os.close(fd)
        except OSError:  # the test closed it
            continue


def written(far: int) -> bytes:
    content = b""
    while select.select([far], [], [], 0.1)[0]:
        content += os.read(far, 65536)
    return content


def test_an_error_gives_everything_back(ends: tuple[int, int]) -> None:
    far, near = ends
    attributes = termios.tcgetattr(near)
    handlers = [signal.getsignal(number) for number in SIGNALS]

    class Broken(Exception):
        pass

    def run() -> None:
        with LiveTerminal(near, near, str.encode) as terminal:
            assert termios.tcgetattr(near) != attributes
            terminal.draw(["one"])
            raise Broken

    with pytest.raises(Broken):
        run()
    assert termios.tcgetattr(near) == attributes
    assert [signal.getsignal(number) for number in SIGNALS] == handlers
    assert signal.set_wakeup_fd(-1) == -1
    content = written(far)
    assert content.startswith(b"\x1b[?1049h\x1b[?25l")
    assert content.endswith(b"\x1b[?25h\x1b[?1049l")


def test_only_lines_that_changed_are_written_and_all_in_one_go(ends: tuple[int, int]) -> None:
    far, near = ends
    with LiveTerminal(near, near, str.encode) as terminal:
        terminal.draw(["one", "two", "three"])
        written(far)
        terminal.draw(["one", "2", "three"])
        assert written(far) == b"\x1b[2;1H\x1b[2K2"
        terminal.draw(["one", "2", "three"])
        assert written(far) == b""
        terminal.draw(["one"])
        assert written(far) == b"\x1b[2;1H\x1b[2K\x1b[3;1H\x1b[2K"


def test_what_is_typed_wakes_it(ends: tuple[int, int]) -> None:
    far, near = ends
    with LiveTerminal(near, near, str.encode) as terminal:
        os.write(far, b"q")
        assert terminal.wait(None, 20.0).typed == b"q"
        reader, writer = os.pipe()
        os.write(writer, b"x")
        assert terminal.wait(reader, 20.0).readable
        os.close(reader)
        os.close(writer)
        assert not terminal.ended


def test_a_terminal_that_is_gone_ends_it(ends: tuple[int, int]) -> None:
    far, near = ends
    with LiveTerminal(near, near, str.encode) as terminal:
        os.close(far)
        terminal.wait(None, 20.0)
        assert terminal.ended


def test_a_signal_ends_the_wait(ends: tuple[int, int]) -> None:
    _far, near = ends
    with LiveTerminal(near, None, str.encode) as terminal:
        os.kill(os.getpid(), signal.SIGTERM)
        terminal.wait(None, 20.0)
        assert terminal.ended


def test_a_line_that_was_never_told_its_size_counts_as_80_by_24(ends: tuple[int, int]) -> None:
    _far, near = ends
    with LiveTerminal(near, near, str.encode) as terminal:
        assert terminal.size() == (80, 24)
        termios.tcsetwinsize(near, (12, 40))
        assert terminal.size() == (40, 12)
