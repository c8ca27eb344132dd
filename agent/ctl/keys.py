"""What is typed on a terminal → keys. Pure; a sequence may arrive in pieces."""

from __future__ import annotations

from enum import Enum


class Key(Enum):
    QUIT = "q"
    PAUSE = "p"
    REFRESH = "r"
    UP = "up"
    DOWN = "down"
    PAGE_UP = "page up"
    PAGE_DOWN = "page down"
    HOME = "home"
    END = "end"


_PLAIN = {
    "q": Key.QUIT,
    "Q": Key.QUIT,
    "p": Key.PAUSE,
    "r": Key.REFRESH,
    "k": Key.UP,
    "j": Key.DOWN,
    "b": Key.PAGE_UP,
    " ": Key.PAGE_DOWN,
    "g": Key.HOME,
    "G": Key.END,
}
_SEQUENCES = {
    "A": Key.UP,
    "B": Key.DOWN,
    "H": Key.HOME,
    "F": Key.END,
    "1~": Key.HOME,
    "4~": Key.END,
    "5~": Key.PAGE_UP,
    "6~": Key.PAGE_DOWN,
}
_LONGEST = 16


class KeyReader:
    """``feed`` what was read; ``ESC [ A`` and ``ESC O A`` are both an arrow. What is no key of ours is passed over."""

    def __init__(self) -> None:
        self._begun = ""

    def feed(self, typed: bytes) -> list[Key]:
        """The keys that are complete now, in order."""
        text = self._begun + typed.decode("ascii", "replace")
        self._begun = ""
        keys: list[Key] = []
        while text:
            if text[0] != "\x1b":
                key = _PLAIN.get(text[0])
                text = text[1:]
            else:
                end = _end_of_sequence(text)
                if end is None and len(text) < _LONGEST:
                    self._begun = text
                    break
                end = end or 1
                key = _SEQUENCES.get(text[2:end])
                text = text[end:]
            if key is not None:
                keys.append(key)
        return keys


def _end_of_sequence(text: str) -> int | None:
    """How long the sequence at the beginning is; None when it is not whole yet. An ESC before another key is 1."""
    if len(text) == 1:
        return None
    if text[1] not in "[O":
        return 1
    for index, c in enumerate(text[2:], start=2):
        if "@" <= c <= "~":
            return index + 1
    return None
