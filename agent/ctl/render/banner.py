"""A word in letters that can be read from two metres. Pure.

Drawn with ``#``, and where there is colour in the colour of its own ground: a solid block that is still text to whoever
copies the screen. Never with block characters: terminals of East Asia give them two columns, others one.
"""

from __future__ import annotations

import re

from agent.ctl.render.style import Style, clip

HEIGHT = 5
_GAP = 1
_RUNS = re.compile(r"(#+)")
_LETTERS = {
    " ": ("  ", "  ", "  ", "  ", "  "),
    "A": (" ### ", "#   #", "#####", "#   #", "#   #"),
    "C": (" ####", "#    ", "#    ", "#    ", " ####"),
    "D": ("#### ", "#   #", "#   #", "#   #", "#### "),
    "E": ("#####", "#    ", "#### ", "#    ", "#####"),
    "G": (" ####", "#    ", "#  ##", "#   #", " ####"),
    "K": ("#   #", "#  # ", "###  ", "#  # ", "#   #"),
    "L": ("#    ", "#    ", "#    ", "#    ", "#####"),
    "N": ("#   #", "##  #", "# # #", "#  ##", "#   #"),
    "O": (" ### ", "#   #", "#   #", "#   #", " ### "),
    "R": ("#### ", "#   #", "#### ", "#  # ", "#   #"),
    "T": ("#####", "  #  ", "  #  ", "  #  ", "  #  "),
    "Y": ("#   #", " # # ", "  #  ", "  #  ", "  #  "),
}
READY, NOT_READY, LOCKED, NO_AGENT = "READY", "NOT READY", "LOCKED", "NO AGENT"
WORDS = (READY, NOT_READY, LOCKED, NO_AGENT)
_SOLID = {"32": "32;42", "31": "31;41"}
_REVERSE = {"32": "30;42", "31": "97;41"}


def width_of(word: str, wide: int = 1) -> int:
    """Columns that the word takes in big letters."""
    return wide * (sum(len(_LETTERS[letter][0]) + _GAP for letter in word) - _GAP)


def big(word: str, tone: str, style: Style, tall: int = 1) -> list[str]:
    """``HEIGHT × tall`` lines, in the middle of ``style.width``; twice as wide where there is room.

    A terminal's characters are about twice as high as they are wide: two of them make a square dot.
    """
    wide = next((wide for wide in range(2 * tall, 1, -1) if width_of(word, wide) < style.width), 1)
    left = " " * max(0, (style.width - width_of(word, wide)) // 2)
    lines = []
    for row in range(HEIGHT):
        dots = (" " * _GAP).join(_LETTERS[letter][row] for letter in word)
        line = left + _painted("".join(dot * wide for dot in dots).rstrip(), tone, style)
        lines += [line] * tall
    return lines


def small(word: str, tone: str, style: Style) -> str:
    """One line over the whole width, for a screen without room."""
    text = clip(word, style.width).center(style.width)
    return style.paint(text, _REVERSE.get(tone, "7")) if style.colour else f"*** {word} ***".center(style.width)


def _painted(dots: str, tone: str, style: Style) -> str:
    """Every run of ``#`` in its colour."""
    return "".join(
        style.paint(part, _SOLID.get(tone, "7")) if part.startswith("#") else part for part in _RUNS.split(dots)
    )
