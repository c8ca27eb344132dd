"""Events of a keypad: bytes however they are cut, and what stuck and chatter mean. Pure."""

from __future__ import annotations

import itertools
import struct
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.pos_keyboard.evdev_wire import (
    EV_KEY,
    EV_SYN,
    EVENT_BYTES,
    EVIOCGKEY,
    KEY_STATE_BYTES,
    PRESSED,
    RELEASED,
    REPEATED,
    SYN_DROPPED,
    SYN_REPORT,
    Event,
    cut,
    held_codes,
    pack,
)
from drivers.pos_keyboard.key_rules import Keys, after, begin, is_chattering, is_stuck, reread

KEY = 30
OTHER = 48


def press(code: int = KEY, at_s: float = 0.0) -> Event:
    return Event(at_s, EV_KEY, code, PRESSED)


def release(code: int = KEY, at_s: float = 0.0) -> Event:
    return Event(at_s, EV_KEY, code, RELEASED)


def played(keys: Keys, *events: Event, now_s: float = 0.0) -> Keys:
    for event in events:
        keys = after(keys, event, now_s)
    return keys


DROPPED, REPORT = Event(0.0, EV_SYN, SYN_DROPPED, 0), Event(0.0, EV_SYN, SYN_REPORT, 0)
events = st.builds(
    Event,
    st.integers(0, 2**31).map(float),
    st.sampled_from([EV_SYN, EV_KEY, 4, 0xFFFF]),
    st.sampled_from([0, 3, KEY, OTHER, 0x110, 0x2FF, 0x300, 0xFFFF]),
    st.sampled_from([0, 1, 2, -1, 2**31 - 1]),
)


# ── bytes ──────────────────────────────────────────────────────────────────────────────────────────────────────
def test_an_event_has_the_size_that_this_machine_gives_it_and_the_request_the_number_of_the_kernel() -> None:
    assert EVENT_BYTES == struct.calcsize("@LLHHi") == (24 if struct.calcsize("@L") == 8 else 16)
    assert (KEY_STATE_BYTES, EVIOCGKEY) == (96, 0x80604518)  # as `strace` prints EVIOCGKEY(96)


@given(st.lists(events, max_size=20), st.lists(st.integers(0, 500), max_size=10))
def test_events_come_out_as_they_went_in_wherever_the_bytes_are_split(sent: list[Event], splits: list[int]) -> None:
    data = b"".join(map(pack, sent))
    marks = [0, *sorted(min(mark, len(data)) for mark in splits), len(data)]
    rest, received = b"", list[Event]()
    for start, end in itertools.pairwise(marks):
        some, rest = cut(rest + data[start:end])
        received += some
    assert (received, rest) == (sent, b"")


@given(st.binary(max_size=400))
def test_any_bytes_are_events_and_a_rest_and_no_event_of_them_breaks_the_rules(data: bytes) -> None:
    found, rest = cut(data)
    assert len(found) * EVENT_BYTES + len(rest) == len(data)
    keys = begin(None, 0.0)
    for event in found:
        keys = after(keys, event, 0.0)
        if keys.must_reread:
            keys = reread(keys, None, 0.0)
    assert keys.press_count <= len(found)
    assert len(keys.held) <= len(found)


@given(st.binary(max_size=120))
def test_any_answer_about_held_keys_is_a_set_of_codes(state: bytes) -> None:
    assert held_codes(state) == {
        code for code in range(min(len(state), KEY_STATE_BYTES) * 8) if state[code // 8] >> code % 8 & 1
    }


# ── stuck ──────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_key_is_stuck_after_30_s_and_not_before_and_no_more_when_it_is_released() -> None:
    keys = played(begin(frozenset(), 0.0), press(), REPORT)
    assert not is_stuck(keys, 29.9)
    assert is_stuck(keys, 30.0)
    assert not is_stuck(played(keys, release(), now_s=40.0), 40.0)


def test_a_key_that_is_held_at_the_start_is_stuck_after_10_s() -> None:
    keys = begin(frozenset({KEY, 0x110}), 100.0)
    assert set(keys.held) == {KEY}  # a button of a mouse is no key
    assert not is_stuck(keys, 109.9)
    assert is_stuck(keys, 110.0)


def test_a_stuck_key_that_stops_repeating_because_another_is_pressed_stays_stuck() -> None:
    keys = played(begin(frozenset(), 0.0), press(), Event(1.0, EV_KEY, KEY, REPEATED))
    keys = played(keys, press(OTHER), release(OTHER, 1.0), now_s=20.0)
    assert is_stuck(keys, 30.0)
    assert keys.press_count == 2  # a repeat is no press


def test_events_between_a_loss_and_its_report_do_not_count_and_what_is_held_is_asked_again() -> None:
    keys = played(begin(frozenset(), 0.0), press(), REPORT, DROPPED, press(OTHER), release())
    assert keys.press_count == 1
    assert not keys.must_reread
    keys = played(keys, REPORT)
    assert keys.must_reread
    told = reread(keys, frozenset({KEY, OTHER}), 5.0)
    assert not told.must_reread
    assert is_stuck(told, 30.0)  # held from the beginning on
    assert not is_stuck(reread(keys, frozenset({OTHER}), 5.0), 34.9)
    assert is_stuck(reread(keys, frozenset({OTHER}), 5.0), 35.0)


def test_where_the_keypad_cannot_be_asked_nothing_is_held_after_a_loss_but_a_repeat_tells_the_stuck_key() -> None:
    keys = reread(played(begin(None, 0.0), press(), DROPPED, REPORT), None, 5.0)
    assert not is_stuck(keys, 1000.0)
    keys = played(keys, Event(6.0, EV_KEY, KEY, REPEATED), now_s=6.0)
    assert is_stuck(keys, 36.0)
    assert keys.press_count == 1
    assert reread(keys, None, 7.0) == keys  # without a loss, not being able to ask changes nothing


# ── chatter ────────────────────────────────────────────────────────────────────────────────────────────────────
def chatter(pairs: int, *, every_s: float = 0.1, held_s: float = 0.005, code: int = KEY) -> list[Event]:
    return [
        event
        for number in range(pairs)
        for event in (press(code, number * every_s), release(code, number * every_s + held_s), REPORT)
    ]


def test_more_than_five_short_presses_of_one_key_within_two_seconds_are_chatter_for_a_minute() -> None:
    assert not is_chattering(played(begin(None, 0.0), *chatter(5)), 0.0)
    keys = played(begin(None, 0.0), *chatter(6), now_s=50.0)
    assert is_chattering(keys, 50.0)
    assert is_chattering(keys, 109.9)
    assert not is_chattering(keys, 110.0)


@pytest.mark.parametrize(
    "harmless",
    [
        chatter(40, every_s=0.5),  # four in two seconds
        chatter(40, held_s=0.02),  # as a quick finger does
        [event for pair in range(5) for code in (KEY, OTHER, 57) for event in chatter(1, code=code)],
        chatter(40, held_s=-0.01),  # a clock that went back
    ],
)
def test_what_people_and_clocks_do_is_no_chatter(harmless: list[Event]) -> None:
    assert not is_chattering(played(begin(None, 0.0), *harmless), 0.0)


@given(st.lists(events, max_size=200))
def test_memory_is_bounded_whatever_comes(stream: list[Event]) -> None:
    keys = played(begin(None, 0.0), *stream)
    assert len(keys.short) <= 64
    assert all(code <= 0x2FF for code in keys.held)


def test_no_key_shows_when_the_state_is_printed() -> None:
    keys = played(begin(None, 0.0), press(), *chatter(6))
    assert str(KEY) not in repr(keys)
    assert repr(keys) == repr(replace(keys, held={}, short=()))
