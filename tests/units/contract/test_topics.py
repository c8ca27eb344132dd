"""Topic Names: what is made can be taken apart again, and whatever a broker sends is somebody's or nobody's."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent.contract import topics
from agent.contract.topics import Address, Incoming, parse_incoming

IDS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", fullmatch=True)
ADDRESSES = st.builds(Address, IDS, IDS)


@given(ADDRESSES, st.text(max_size=60))
def test_what_was_made_for_this_terminal_is_taken_apart_as_it_was(address: Address, below: str) -> None:
    assert parse_incoming(address.topic(below), address) == Incoming(False, below)


@given(ADDRESSES, st.text(max_size=60))
def test_what_was_made_for_its_site_is_known_as_such(address: Address, below: str) -> None:
    everybody = address._replace(terminal=topics.EVERY_TERMINAL)
    assert parse_incoming(everybody.topic(below), address) == Incoming(True, below)


@given(ADDRESSES, ADDRESSES, st.text(max_size=60))
def test_another_terminals_topic_is_nobodys(address: Address, other: Address, below: str) -> None:
    if address != other:
        assert parse_incoming(other.topic(below), address) is None


@given(st.text(max_size=200), ADDRESSES)
def test_any_topic_is_somebodys_or_nobodys(topic: str, address: Address) -> None:
    found = parse_incoming(topic, address)
    assert found is None or topic.endswith(f"/{found.below}")


@given(ADDRESSES, IDS, IDS)
def test_no_topic_of_ours_has_more_than_seven_slashes(address: Address, one: str, other: str) -> None:
    for below in (topics.metrics(one), topics.device_health(one), topics.event(one), topics.operation(one, other)):
        assert address.topic(below).count("/") <= 7
        assert not {"+", "#", "\0"} & set(address.topic(below))
