"""The live view says the state first, whatever the size of the terminal."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent.demo.view import TRIES, fit_screen

STATUS = "\n".join(["READY to sell", *(f"line {number}" for number in range(15))]) + "\n"
COMMANDS = [f"posctl verb-{number} --socket /tmp/somewhere/run/control.sock" for number in range(8)]


@pytest.mark.parametrize("size", [(80, 24), (40, 12), (120, 50), (20, 6)])
def test_the_state_comes_first_and_nothing_scrolls(size: tuple[int, int]) -> None:
    columns, rows = size
    screen = fit_screen(STATUS, "shop: 3 sales", COMMANDS, Path("/tmp/x"), os.terminal_size((columns, rows)))
    lines = screen.splitlines()
    assert lines[0] == "READY to sell"
    assert len(lines) < rows
    assert all(command in screen for command in COMMANDS) or TRIES in lines[-1]


def test_a_large_terminal_shows_the_commands() -> None:
    screen = fit_screen(STATUS, "shop: 3 sales", COMMANDS, Path("/tmp/x"), os.terminal_size((120, 50)))
    assert COMMANDS[-1] in screen
