"""Points in time as people write them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from agent.ctl.times import read_time, rfc3339


@pytest.fixture(autouse=True)
def shanghai(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Asia/Shanghai")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026-11-21T10:00:00+08:00", "2026-11-21T02:00:00.000Z"),
        ("2026-11-21T02:00:00Z", "2026-11-21T02:00:00.000Z"),
        ("2026-11-21t02:00:00.125z", "2026-11-21T02:00:00.125Z"),
        ("2026-11-21 10:00", "2026-11-21T02:00:00.000Z"),  # by this machine's clock
        ("2026-11-21T10:00:30", "2026-11-21T02:00:30.000Z"),
        ("2026-11-20T23:30:00-02:30", "2026-11-21T02:00:00.000Z"),
    ],
)
@pytest.mark.parametrize("end", [False, True])
def test_a_time_is_the_instant_it_names(text: str, instant: str, end: bool) -> None:
    at = read_time(text, end=end)
    assert at is not None
    assert rfc3339(at) == instant


def test_a_date_alone_is_the_whole_day_by_this_machines_clock() -> None:
    assert read_time("2026-11-21", end=False) == datetime(2026, 11, 20, 16, tzinfo=UTC)
    assert read_time("2026-11-21", end=True) == datetime(2026, 11, 21, 16, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        *("", "yesterday", "10:00", "2026-11", "2026-W47-6", "20261121", "2026-02-30", "2026-11-21T25:00"),
        *("2026-11-21T10", "2026-11-21T10:00+8", "2026-11-21T10:00:00.1", "2026-11-21T10:00 +08:00", "9999-12-31"),
        *("2026-11-21T10:00+25:00", "2026-11-21\n", "٢٠٢٦-11-21", "0001-01-01T00:00+08:00"),
    ],
)
def test_anything_else_is_no_time(text: str) -> None:
    assert read_time(text, end=True) is None
