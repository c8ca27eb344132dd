"""How long answers wait is judged by bytes that moved, not by whether anything is left."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent.local_api.unread import UnreadAnswers


def test_a_reader_that_takes_nothing_is_found_out() -> None:
    unread = UnreadAnswers()
    unread.sent(100)
    unread.wait(10.0)
    assert unread
    assert unread.waited_s(100, 13.0) == 3.0
    assert unread.waited_s(1, 20.0) == 10.0  # its last byte is still that old


def test_a_slow_reader_that_moves_on_is_never_older_than_what_it_has_left() -> None:
    unread = UnreadAnswers()
    for second in range(30):
        unread.sent(100)
        unread.wait(float(second))
        assert unread.waited_s(200, float(second)) <= 1.0


def test_bytes_that_came_between_two_marks_are_not_forgotten() -> None:
    unread = UnreadAnswers()
    unread.sent(100)
    unread.wait(0.0)
    unread.sent(50)
    unread.wait(0.01)  # too soon for a mark of its own
    assert unread.waited_s(50, 1.0) == 0.0  # the first 100 have left; the rest counts from now
    assert unread.waited_s(50, 4.0) == 3.0
    unread.all_left()
    assert not unread
    assert unread.waited_s(0, 5.0) == 0.0


@given(st.lists(st.tuples(st.integers(1, 1000), st.integers(0, 1000), st.floats(0, 2)), max_size=60))
def test_the_age_is_never_negative_and_never_beyond_the_first_wait(steps: list[tuple[int, int, float]]) -> None:
    unread, now_s, waiting = UnreadAnswers(), 0.0, 0
    first_s: float | None = None
    for size, read, passed_s in steps:
        now_s += passed_s
        unread.sent(size)
        waiting = max(0, waiting + size - read)
        if waiting:
            first_s = now_s if first_s is None else first_s
            unread.wait(now_s)
        else:
            first_s = None
            unread.all_left()
        age_s = unread.waited_s(waiting, now_s)
        assert 0.0 <= age_s <= (now_s - first_s if first_s is not None else 0.0)
