"""What a keypad's events say: is some key stuck, does some key chatter, how many were pressed. Pure.

Rules of the trade: a key held for 30 s is stuck, one that was held when we began after 10 s; more than five presses of
one key within 2 s, each shorter than 20 ms, are chatter. Which key it is stays in here and is forgotten on release.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from drivers.inputs.capability_wire import keys_of
from drivers.pos_keyboard.evdev_wire import (
    EV_KEY,
    EV_SYN,
    KEY_MAX,
    PRESSED,
    RELEASED,
    REPEATED,
    SYN_DROPPED,
    SYN_REPORT,
    Event,
)

_KEYS = keys_of(frozenset(range(KEY_MAX + 1)))
_SHORT_KEPT = 64  # of the latest; a flood must not fill memory


@dataclass(frozen=True, slots=True)
class Limits:
    """``chatter_pairs``: more than so many. ``chatter_kept_s``: for how long it is told after the last time."""

    stuck_after_s: float = 30.0
    stuck_at_start_s: float = 10.0
    chatter_pairs: int = 5
    chatter_pair_s: float = 0.020
    chatter_window_s: float = 2.0
    chatter_kept_s: float = 60.0


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Held:
    """A key that is down: since when and how long it may be (reader's clock), when it was pressed (node's clock)."""

    since_s: float
    limit_s: float
    pressed_s: float | None


@dataclass(frozen=True, slots=True)
class Keys:
    """Where a keypad stands. Never printed: its fields are keys.

    Attributes:
        held: Code → since when.
        short: Code and end of each short press, the latest last.
        press_count: Presses of any key, since the reader began.
        chattered_s: When chatter was last seen; None: never.
        is_lossy: Events were lost; nothing counts until the next SYN_REPORT.
        must_reread: That has come: give the state of the keys to `reread`.
    """

    held: Mapping[int, Held] = field(default_factory=dict, repr=False)
    short: tuple[tuple[int, float], ...] = field(default=(), repr=False)
    press_count: int = 0
    chattered_s: float | None = None
    is_lossy: bool = False
    must_reread: bool = False


def begin(codes: frozenset[int] | None, now_s: float, limits: Limits = DEFAULT_LIMITS, *, press_count: int = 0) -> Keys:
    """A keypad just opened. ``codes``: what is held now; None where that cannot be asked."""
    held = {code: Held(now_s, limits.stuck_at_start_s, None) for code in _KEYS & (codes or frozenset())}
    return Keys(held=held, press_count=press_count)


def after(keys: Keys, event: Event, now_s: float, limits: Limits = DEFAULT_LIMITS) -> Keys:
    """One more event."""
    if event.type == EV_SYN:
        if event.code == SYN_DROPPED:
            return replace(keys, is_lossy=True)
        if event.code == SYN_REPORT and keys.is_lossy:
            return replace(keys, is_lossy=False, must_reread=True)
        return keys
    if event.type != EV_KEY or event.code not in _KEYS or keys.is_lossy:
        return keys
    if event.value == PRESSED:
        held = {**keys.held, event.code: Held(now_s, limits.stuck_after_s, event.at_s)}
        return replace(keys, held=held, press_count=keys.press_count + 1)
    if event.value == REPEATED and event.code not in keys.held:  # its press was lost
        return replace(keys, held={**keys.held, event.code: Held(now_s, limits.stuck_after_s, None)})
    if event.value == RELEASED and event.code in keys.held:
        return _released(keys, event, now_s, limits)
    return keys


def reread(keys: Keys, codes: frozenset[int] | None, now_s: float, limits: Limits = DEFAULT_LIMITS) -> Keys:
    """Take over what the keypad says is held. None: it cannot be asked, so after a loss nothing is known to be held."""
    if codes is None:
        return replace(keys, held={}, must_reread=False) if keys.must_reread else keys
    newly = Held(now_s, limits.stuck_after_s, None)
    held = {code: keys.held.get(code, newly) for code in _KEYS & codes}
    return replace(keys, held=held, must_reread=False)


def is_stuck(keys: Keys, now_s: float) -> bool:
    """Some key is held longer than it may be."""
    return any(now_s - one.since_s >= one.limit_s for one in keys.held.values())


def is_chattering(keys: Keys, now_s: float, limits: Limits = DEFAULT_LIMITS) -> bool:
    """Some key did, not long ago."""
    return keys.chattered_s is not None and now_s - keys.chattered_s < limits.chatter_kept_s


def _released(keys: Keys, event: Event, now_s: float, limits: Limits) -> Keys:
    pressed_s = keys.held[event.code].pressed_s
    held = {code: one for code, one in keys.held.items() if code != event.code}
    if pressed_s is None or not 0 <= event.at_s - pressed_s < limits.chatter_pair_s:
        return replace(keys, held=held)
    since_s = event.at_s - limits.chatter_window_s
    recent = tuple((code, at_s) for code, at_s in keys.short if since_s < at_s <= event.at_s)
    short = (*recent, (event.code, event.at_s))[-_SHORT_KEPT:]
    many = sum(code == event.code for code, _ in short) > limits.chatter_pairs
    return replace(keys, held=held, short=short, chattered_s=now_s if many else keys.chattered_s)
