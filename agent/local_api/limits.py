"""What one peer, and all of them together, may cost the agent."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

PAYMENT_FRAME_BYTES: Final = 256 * 1024
CONTROL_FRAME_BYTES: Final = 64 * 1024


class Limits(Struct, frozen=True):
    """Of one socket. The defaults are the product's; tests choose smaller ones."""

    frame_bytes: int
    """The longest frame, its newline not counted."""
    in_flight: int
    """Requests of one connection being worked on; further ones wait unread."""
    stalled_s: float = 10.0
    """An answer that waits longer than this for its reader costs the connection."""
    waiting_bytes: int = 1024 * 1024
    """So do more waiting answers than this."""
    waiting_of_all_bytes: int = 16 * 1024 * 1024
    """Waiting answers and events of all connections together; beyond it the one with the most goes."""
    pause_bytes: int = 64 * 1024
    """With this much waiting, nothing more is read from that peer."""
    turn_frames: int = 128
    """Frames of one connection handled before the others have their turn."""
    held_bytes: int = 8 * 1024 * 1024
    """Unfinished frames of all connections together; beyond it the longest goes."""
    connections: int = 2048
    """At once, on this socket."""
    connections_of_one: int = 1536
    """At once, of one process."""
    linger_s: float = 1.0
    """How long a peer that is being closed may go on sending, so that it can read why."""
    stop_grace_s: float = 3.0
    """How long calls under way and unread answers have at a stop."""


PAYMENT_LIMITS: Final = Limits(PAYMENT_FRAME_BYTES, in_flight=256)
CONTROL_LIMITS: Final = Limits(CONTROL_FRAME_BYTES, in_flight=16)
