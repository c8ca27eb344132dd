"""The table of states, read a second time from its published wording, and every rule about attempts."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.contract.transaction_states import FOLLOWS, STATES, Recorded, Verdict, judge, may_follow

PUBLISHED = """
created → sent approved cancelled; sent → approved declined unknown cancelled reversing;
unknown → approved declined reversing cancelled; approved → voided refunded settled reversing;
reversing → reversed reversal_failed approved; reversal_failed → reversing reversed; voided refunded → settled;
settled → refunded
"""


def published_table() -> dict[str, set[str]]:
    table: dict[str, set[str]] = {}
    for rule in PUBLISHED.replace("\n", " ").split(";"):
        left, right = rule.split("→")
        for state in left.split():
            table[state] = set(right.split())
    return table


def reaches(start: str, goal: str) -> bool:
    """By walking the published table, step by step."""
    table = published_table()
    seen: set[str] = set()
    edge = {start}
    while edge:
        edge = {after for state in edge for after in table.get(state, ())} - seen
        seen |= edge
    return goal in seen


def test_the_table_is_the_published_one() -> None:
    assert {state: set(after) for state, after in FOLLOWS.items() if after} == published_table()
    assert {state for state, after in FOLLOWS.items() if not after} == {"declined", "cancelled", "reversed"}


@pytest.mark.parametrize("current", sorted(STATES))
@pytest.mark.parametrize("state", sorted(STATES))
def test_a_state_may_follow_when_the_table_reaches_it_over_skipped_ones(current: str, state: str) -> None:
    if current != state:
        assert may_follow(current, state) == reaches(current, state)
    else:
        assert may_follow(current, state) == (state in {"reversing", "reversal_failed"})


def history(*steps: tuple[Any, ...]) -> list[Recorded]:
    """Each step: state, attempt, then content (``b"a"``) and whether it conflicts."""
    rows = []
    for number, step in enumerate(steps, 1):
        state, attempt, content, conflicting = (*step, b"a", False)[:4] if len(step) == 2 else step
        rows.append(Recorded(number, state, attempt, content, conflicting))
    return rows


@pytest.mark.parametrize(
    ("before", "offered", "verdict", "sequence"),
    [
        ([], ("settled", 1, b"a"), Verdict.NEW, 0),
        ([("approved", 1)], ("approved", 1, b"a"), Verdict.DUPLICATE, 1),
        ([("approved", 1)], ("approved", 1, b"b"), Verdict.CONFLICT, 1),
        ([("approved", 1)], ("approved", 2, b"a"), Verdict.CONFLICT, 1),  # here the attempt is content
        ([("approved", 1), ("approved", 1, b"b", True)], ("approved", 1, b"b"), Verdict.KNOWN_CONFLICT, 2),
        ([("approved", 1), ("approved", 1, b"b", True)], ("approved", 1, b"c"), Verdict.CONFLICT, 1),
        ([("sent", 1), ("approved", 1)], ("sent", 1, b"a"), Verdict.DUPLICATE, 1),
        ([("sent", 1), ("approved", 1)], ("sent", 1, b"b"), Verdict.CONFLICT, 1),  # before the transition rule
        ([("approved", 1)], ("sent", 1, b"a"), Verdict.INVALID, 0),
        ([("declined", 1)], ("approved", 1, b"a"), Verdict.INVALID, 0),
        ([("created", 1)], ("settled", 1, b"a"), Verdict.NEW, 0),
        ([("reversing", 1)], ("reversing", 2, b"a"), Verdict.NEW, 0),
        ([("reversing", 1)], ("reversing", 1, b"b"), Verdict.CONFLICT, 1),
        ([("reversing", 1), ("reversing", 2)], ("reversing", 2, b"a"), Verdict.DUPLICATE, 2),
        ([("reversal_failed", 1)], ("reversal_failed", 2, b"a"), Verdict.NEW, 0),
        ([("reversed", 1)], ("reversing", 2, b"a"), Verdict.INVALID, 0),
        ([("approved", 1), ("reversing", 1)], ("approved", 2, b"a"), Verdict.NEW, 0),
        ([("approved", 1), ("reversing", 1)], ("approved", 1, b"a"), Verdict.DUPLICATE, 1),
        ([("approved", 1), ("reversing", 1)], ("approved", 1, b"b"), Verdict.CONFLICT, 1),
        ([("approved", 1), ("reversing", 1), ("approved", 2)], ("approved", 3, b"a"), Verdict.CONFLICT, 3),
        ([("approved", 1), ("reversal_failed", 1)], ("approved", 2, b"a"), Verdict.NEW, 0),
        ([("settled", 1), ("refunded", 1)], ("settled", 2, b"a"), Verdict.NEW, 0),
        ([("settled", 1)], ("settled", 2, b"a"), Verdict.CONFLICT, 1),
        ([("refunded", 1), ("settled", 1)], ("refunded", 2, b"a"), Verdict.CONFLICT, 1),
        ([("unknown", 1), ("reversing", 1)], ("unknown", 2, b"a"), Verdict.CONFLICT, 1),
    ],
)
def test_what_one_more_record_is(
    before: list[tuple[Any, ...]], offered: tuple[str, int, bytes], verdict: Verdict, sequence: int
) -> None:
    assert judge(history(*before), *offered) == (verdict, sequence)


@given(
    st.lists(st.tuples(st.sampled_from(sorted(STATES)), st.integers(1, 3), st.sampled_from([b"a", b"b"])), max_size=9)
)
def test_whatever_is_offered_what_is_accepted_follows_the_table(offers: list[tuple[str, int, bytes]]) -> None:
    recorded: list[Recorded] = []
    for state, attempt, content in offers:
        verdict = judge(recorded, state, attempt, content).verdict
        if verdict in (Verdict.NEW, Verdict.CONFLICT):
            conflicting = verdict is Verdict.CONFLICT
            recorded.append(Recorded(len(recorded) + 1, state, attempt, content, conflicting))
            assert judge(recorded, state, attempt, content) == (
                Verdict.KNOWN_CONFLICT if conflicting else Verdict.DUPLICATE,
                len(recorded),
            )
    accepted = [entry for entry in recorded if not entry.conflicting]
    for earlier, later in itertools.pairwise(accepted):
        assert reaches(earlier.state, later.state)
    assert len({(entry.state, entry.attempt) for entry in accepted}) == len(accepted)
