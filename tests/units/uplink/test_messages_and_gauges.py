"""What the uplink itself says, and readings in memory."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings

from agent.contract.journal_upload import JournalOrigin
from agent.contract.topics import Address
from agent.uplink import messages
from agent.uplink.gauges import MAX_GROUPS, MAX_VALUES, Gauges
from tests.kit.hostile import payloads
from tests.kit.manual_clock import ManualClock

IDENTITY = messages.Identity(
    serial="SN123",
    boot_id="b0",
    journal_id="j0",
    origin=JournalOrigin("j-before", 412, "ab" * 32),
    version="1.2.3",
    model="m",
    versions={"python": "3.11"},
    capabilities=("pos_printer",),
    commands=("ping",),
    schemas={"transaction": 1},
    bindings=(("acquirer-a", "104110058120001", "00010001"),),
)


def test_conn_grows_with_the_attempt_and_with_every_start() -> None:
    numbers = [messages.connection_number(start, attempt) for start, attempt in [(1, 1), (1, 2), (1, 2**19), (2, 1)]]
    assert numbers == sorted(set(numbers))
    assert numbers[0] == 2**20 + 1


def test_status_is_retained_and_has_the_five_fields_of_the_contract() -> None:
    said = messages.status(IDENTITY, 5, "2026-11-21T02:00:00.000Z", online=False)
    assert (said.below, said.qos, said.retain) == ("agent/status", 1, True)
    assert msgspec.json.decode(said.payload) == {
        "online": False,
        "conn": 5,
        "boot_id": "b0",
        "journal_id": "j0",
        "at": "2026-11-21T02:00:00.000Z",
    }
    assert messages.says_offline(said.payload)
    assert not messages.says_offline(messages.status(IDENTITY, 5, "x", online=True).payload)
    for rubbish in (b"", b"{}", b"[]", b"\xff", b'{"online":false}'):
        assert not messages.says_offline(rubbish)


def test_birth_tells_identities_versions_capabilities_commands_and_schemas() -> None:
    said = messages.birth(IDENTITY, Address("s", "t"), 5, "2026-11-21T02:00:00.000Z")
    assert (said.below, said.qos, said.retain) == ("agent/birth", 1, True)
    assert msgspec.json.decode(said.payload) == {
        "site": "s",
        "terminal": "t",
        "serial": "SN123",
        "model": "m",
        "bindings": [{"provider": "acquirer-a", "mid": "104110058120001", "tid": "00010001"}],
        "version": "1.2.3",
        "versions": {"python": "3.11"},
        "capabilities": ["pos_printer"],
        "commands": ["ping"],
        "schemas": {"transaction": 1},
        "boot_id": "b0",
        "journal_id": "j0",
        "origin": {"parent": "j-before", "base_sequence": 412, "base_hash": "ab" * 32},
        "conn": 5,
        "at": "2026-11-21T02:00:00.000Z",
    }


def test_the_latest_reading_wins_and_a_batch_stays_until_it_is_published() -> None:
    clock = ManualClock()
    gauges = Gauges(clock)
    gauges.set("host", {"load": 1, "temp_c": 40.0})
    clock.advance(5)
    gauges.set("host", {"load": 2})
    for _ in range(2):
        ((group, publication),) = gauges.fresh()
        assert (group, publication.below, publication.qos, publication.retain) == ("host", "agent/m/host", 0, False)
        assert msgspec.json.decode(publication.payload) == {
            "at": "2026-11-21T02:00:05.000Z",
            "values": {"load": 2, "temp_c": 40.0},
        }
    gauges.published("host")
    assert gauges.fresh() == []
    assert gauges.latest() == {"host": {"load": 2, "temp_c": 40.0}}


def test_groups_and_values_are_bounded() -> None:
    gauges = Gauges(ManualClock())
    for number in range(MAX_GROUPS + 5):
        gauges.set(f"g{number}", {"x": number})
    gauges.set("g0", {f"v{number}": number for number in range(MAX_VALUES + 1)})
    gauges.set("g1", {"x": "x" * 70_000})
    assert len(gauges.latest()) == MAX_GROUPS
    assert gauges.latest()["g0"] == {"x": 0}
    assert "g1" not in dict(gauges.fresh())
    assert gauges.left_out == 7


@settings(deadline=None)
@given(payloads)
def test_whatever_stands_on_the_own_status_topic_is_no_reason_to_stumble(payload: bytes) -> None:
    """It would end the link, and whoever may write there could do it again and again."""
    assert messages.says_offline(payload) is False
