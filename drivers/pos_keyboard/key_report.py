"""What the confined reader of a keypad may say: the one form that it and the agent share. Standard library only."""

from __future__ import annotations

from typing import NamedTuple


class KeyReport(NamedTuple):
    """What a keypad's reader process says: yes or no, and one number. It knows keys, and tells none.

    Attributes:
        readable: It has the keypad open; otherwise the next two are None.
        stuck, chatter: Some key is.
        key_pressed_count: UnifiedPOS KeyPressedCount since the reader started, as of the last full bucket of 60 s.
    """

    readable: bool
    stuck: bool | None
    chatter: bool | None
    key_pressed_count: int
