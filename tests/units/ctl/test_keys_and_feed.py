"""Keys out of bytes, and the feed: a snapshot kept fresh from a real socket, without ever waiting."""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.ctl.feed import Feed
from agent.ctl.keys import Key, KeyReader
from agent.errors import BadRequest, Refused
from tests.kit.control_stub import ControlStub, RawAnswer, RpcError, Silence
from tests.units.ctl.answers_for_tests import HEALTH, INFO, NOT_READY, READY, operation


@pytest.mark.parametrize(
    ("typed", "keys"),
    [
        (b"q", [Key.QUIT]),
        (b"pr", [Key.PAUSE, Key.REFRESH]),
        (b"\x1b[A\x1bOB", [Key.UP, Key.DOWN]),
        (b"\x1b[5~\x1b[6~ b", [Key.PAGE_UP, Key.PAGE_DOWN, Key.PAGE_DOWN, Key.PAGE_UP]),
        (b"\x1b[H\x1b[1~g\x1b[FG", [Key.HOME, Key.HOME, Key.HOME, Key.END, Key.END]),
        (b"xyz\xff\x00\t", []),
        (b"\x1b[1;5A\x1b[200~q", [Key.QUIT]),  # keys we do not know are passed over whole
        (b"\x1bq", [Key.QUIT]),  # a lone ESC before another key
    ],
)
def test_keys_are_read_from_what_a_terminal_sends(typed: bytes, keys: list[Key]) -> None:
    assert KeyReader().feed(typed) == keys
    in_pieces = KeyReader()
    assert [key for byte in typed for key in in_pieces.feed(bytes([byte]))] == keys


@given(st.binary(max_size=60))
def test_no_typing_is_held_back_for_ever(typed: bytes) -> None:
    reader = KeyReader()
    reader.feed(typed)
    assert Key.QUIT in reader.feed(b"~" * 20 + b"q")


@pytest.fixture
def stub(tmp_path: Path) -> Iterator[ControlStub]:
    with ControlStub(tmp_path / "control.sock") as server:
        server.answers = {
            "agent.info": INFO,
            "health.get": HEALTH,
            "readiness.get": READY,
            "command.list": {"items": [operation("running"), operation("failed")], "next_cursor": None},
        }
        yield server


def turn(feed: Feed, until: Callable[[], bool]) -> None:
    """What the screen's loop does, until ``until`` holds."""
    deadline_s = time.monotonic() + 20
    while not until():
        assert time.monotonic() < deadline_s, feed.trouble
        feed.step()
        descriptor = feed.fileno()
        waiting = [] if descriptor is None else [descriptor]
        if select.select(waiting, [], [], min(feed.wait_s(), 0.05))[0]:
            feed.receive()


def test_everything_is_asked_for_together_and_only_open_orders_are_kept(stub: ControlStub) -> None:
    with Feed(stub.path, 5) as feed:
        feed.step()
        turn(feed, lambda: feed.snapshot is not None)
        assert feed.snapshot is not None
        assert feed.snapshot.readiness.ready
        assert [one.state for one in feed.snapshot.operations] == ["running"]
        assert feed.trouble is None
    assert len(stub.requests) == 6


def test_an_agent_without_events_is_asked_again_and_again(stub: ControlStub) -> None:
    with Feed(stub.path, 5) as feed:
        turn(feed, lambda: len(stub.asked("health.get")) >= 2)
        assert not feed.told_of_changes
        assert len(stub.asked("events.subscribe")) == 1


def test_an_event_begins_a_round_at_once(stub: ControlStub) -> None:
    stub.answers["events.subscribe"] = {}
    with Feed(stub.path, 5) as feed:
        turn(feed, lambda: feed.snapshot is not None)
        assert feed.told_of_changes
        assert stub.asked("events.subscribe") == [{"kinds": ["lock", "operation", "health", "readiness"]}]
        turn(feed, lambda: len(stub.asked("readiness.get")) == 2)  # the round that was due before it knew of events
        assert feed.wait_s() > 0.5
        stub.answers["readiness.get"] = NOT_READY
        for _ in range(5):
            stub.tell("readiness", NOT_READY)
        turn(feed, lambda: feed.snapshot is not None and not feed.snapshot.readiness.ready)
        assert len(stub.asked("readiness.get")) <= 4  # what changes together is asked for together


def test_a_silent_agent_is_given_up_and_asked_anew(stub: ControlStub) -> None:
    stub.answers["health.get"] = Silence()
    with Feed(stub.path, 0.2) as feed:
        turn(feed, lambda: feed.trouble is not None)
        assert feed.trouble is not None
        assert "no answer within 0.2 s" in feed.trouble.message
        since = feed.trouble_since
        stub.answers["health.get"] = HEALTH
        turn(feed, lambda: feed.trouble is None)
        assert feed.snapshot is not None
        assert since is not None


def test_nobody_there_is_no_end_of_it(tmp_path: Path) -> None:
    with Feed(tmp_path / "c.sock", 1) as feed:
        turn(feed, lambda: feed.trouble is not None)
        since = feed.trouble_since
        assert feed.fileno() is None
        with ControlStub(tmp_path / "c.sock") as stub:
            stub.answers = {"agent.info": INFO, "health.get": HEALTH, "readiness.get": READY}
            stub.answers["command.list"] = {"items": [], "next_cursor": None}
            turn(feed, lambda: feed.snapshot is not None)
        turn(feed, lambda: feed.trouble is not None)  # gone again: a new beginning
        assert feed.trouble_since != since
        assert feed.snapshot is not None  # the last known


@pytest.mark.parametrize(
    "answer",
    [
        RawAnswer(b"not json\n"),
        RawAnswer(b""),
        RawAnswer(b'{"jsonrpc":"2.0","id":99,"result":{}}\n'),
        RawAnswer(b'{"jsonrpc":"2.0","id":"x"}\n'),
        {"unexpected": True},
        RpcError(-32603, "internal", {}),
    ],
    ids=repr,
)
def test_an_answer_that_is_none_is_trouble_and_not_the_end(answer: Any, stub: ControlStub) -> None:
    stub.answers["health.get"] = answer
    with Feed(stub.path, 5) as feed:
        turn(feed, lambda: feed.trouble is not None)
        stub.answers["health.get"] = HEALTH
        turn(feed, lambda: feed.snapshot is not None and feed.trouble is None)


def test_a_refusal_keeps_its_reason(stub: ControlStub) -> None:
    stub.answers["agent.info"] = RpcError(-32000, "for members", {"code": "NOT_AUTHORISED", "hint": "join"})
    with Feed(stub.path, 5) as feed:
        turn(feed, lambda: feed.trouble is not None)
        assert isinstance(feed.trouble, Refused)
    with Feed(Path("/" + "x" * 200), 5) as feed:
        feed.step()
        assert isinstance(feed.trouble, BadRequest)
