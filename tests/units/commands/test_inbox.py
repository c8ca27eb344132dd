"""Orders from the broker, on a real store: what leaves a trace, what is only counted, what is answered."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from agent.contract.command import COMMAND_TYPE, ReasonCode, State
from agent.contract.security_event import SecurityEvent
from agent.runtime.identifiers import uuid7
from tests.kit.command_room import Room, open_room, until
from tests.kit.manual_clock import ManualClock
from tests.kit.orders import OPERATOR, STRANGER, SUPPORT, order_payload, sign_bytes, sign_json, signed_order

ELEVEN = {
    "command_id",
    "name",
    "state",
    "rev",
    "step",
    "steps",
    "progress",
    "reason",
    "accepted_at",
    "updated_at",
    "result",
}


async def test_a_signed_ping_is_journalled_before_receive_returns_and_succeeds(tmp_path: Path) -> None:
    async with open_room(tmp_path) as room:
        order = order_payload("ping")
        await room.receive(signed_order(order))
        assert await room.rows() == 1
        ended = await room.ended(order["command_id"])
        assert (ended.state, ended.reason, ended.steps) == (State.SUCCEEDED, None, 1)
        assert await room.told(order["command_id"]) == ended
        ((topic, payload),) = await room.outbox()
        assert topic == f"agent/op/ping/{order['command_id']}"
        assert set(msgspec.json.decode(payload)) == ELEVEN


async def test_a_check_answers_with_the_health_of_the_device(tmp_path: Path) -> None:
    async with open_room(tmp_path) as room:
        order = order_payload("check_device", {"device": "printer-0", "level": "external"})
        await room.receive(signed_order(order), "check_device")
        ended = await room.ended(order["command_id"])
        assert ended.state is State.SUCCEEDED
        assert msgspec.json.decode(ended.result) == {"device": "printer-0", "state": "ok"}
        assert room.shelf.asked == [("printer-0", "external")]


def _of(name: str) -> Callable[[], bytes]:
    nine = [SUPPORT] * 8
    order = order_payload()

    def nine_signatures() -> bytes:
        envelope = msgspec.json.decode(sign_json(order, nine))
        envelope["signatures"].append(envelope["signatures"][0])
        return msgspec.json.encode(envelope)

    def other_key_under_a_known_hint() -> bytes:
        envelope = msgspec.json.decode(sign_json(order, [STRANGER]))
        envelope["signatures"][0]["keyid"] = SUPPORT.key.keyid
        return msgspec.json.encode(envelope)

    def changed_after_signing() -> bytes:
        envelope = msgspec.json.decode(sign_json(order, [SUPPORT]))
        other = order_payload("check_device")
        envelope["payload"] = base64.b64encode(msgspec.json.encode(other)).decode()
        return msgspec.json.encode(envelope)

    twice = msgspec.json.encode(order).replace(b'"name":"ping"', b'"name":"ping","name":"reset"')
    kinds: dict[str, Callable[[], bytes]] = {
        "nothing": lambda: b"",
        "text": lambda: b"ping please",
        "not UTF-8": lambda: b"\xff\xfe{}",
        "the bare payload": lambda: msgspec.json.encode(order),
        "an array": lambda: b"[]",
        "a hundred thousand brackets": lambda: b"[" * 60_000,
        "bad base64": lambda: (
            b'{"payload":"%%%","payloadType":"' + COMMAND_TYPE.encode() + b'","signatures":[{"sig":"AA=="}]}'
        ),
        "no signature": lambda: msgspec.json.encode(
            {**msgspec.json.decode(sign_json(order, [SUPPORT])), "signatures": []}
        ),
        "nine signatures": nine_signatures,
        "an unknown key": lambda: sign_json(order, [STRANGER]),
        "a wrong key under a known hint": other_key_under_a_known_hint,
        "changed after signing": changed_after_signing,
        "another payloadType": lambda: sign_json(order, [SUPPORT], "application/vnd.pos-agent.policy.v1+json"),
        "one mebibyte": lambda: b" " * 2**20,
        "64 KiB and one byte": lambda: sign_json(order_payload(reason="x" * 49_200), [SUPPORT]),
        "another terminal": lambda: signed_order(order_payload(terminal="T-0002")),
        "another serial": lambda: signed_order(order_payload(target={"terminal": "T-0001", "serial": "SN999"})),
        "the whole site on one terminal's topic": lambda: signed_order(order_payload(terminal="_all")),
        "no target": lambda: signed_order({k: v for k, v in order_payload().items() if k != "target"}),
        "no id": lambda: signed_order({k: v for k, v in order_payload().items() if k != "command_id"}),
        "an id with a slash": lambda: signed_order(order_payload(command_id="a/b")),
        "an id with a new line": lambda: signed_order(order_payload(command_id="abc\n")),
        "an id of card data": lambda: signed_order(order_payload(command_id="4111111111111111")),
        "its name twice": lambda: sign_bytes(twice, [SUPPORT]),
        "a signed text": lambda: sign_bytes(b"ping", [SUPPORT]),
        "a signed array": lambda: sign_bytes(b"[1]", [SUPPORT]),
    }
    return kinds[name] if name else lambda: ",".join(kinds).encode()


UNSEEN = _of("")().decode().split(",")


@pytest.mark.parametrize("kind", UNSEEN)
async def test_what_is_not_authentic_or_not_for_us_leaves_only_a_count(kind: str, tmp_path: Path) -> None:
    async with open_room(tmp_path) as room:
        await room.receive(_of(kind)())
        assert await room.rows() == 0
        assert await room.outbox() == []
        assert room.security.counts == {"SEC-SIG-001": 1}


async def test_a_retained_order_is_refused_unseen(tmp_path: Path) -> None:
    async with open_room(tmp_path) as room:
        await room.receive(signed_order(), retained=True)
        assert (await room.rows(), await room.outbox()) == (0, [])
        assert room.security.counts == {"SEC-SIG-001": 1}


async def test_without_a_policy_nothing_is_taken_from_the_broker(tmp_path: Path) -> None:
    async with open_room(tmp_path, policy=None) as room:
        await room.receive(signed_order())
        assert (await room.rows(), room.security.counts["SEC-SIG-001"]) == (0, 1)


async def test_a_flood_of_bad_signatures_costs_one_event_a_minute_with_the_count(tmp_path: Path) -> None:
    clock = ManualClock(datetime.now(UTC))
    async with open_room(tmp_path, clock=clock, inbox=True) as room:
        for _ in range(100):
            await room.receive(sign_json(order_payload(), [STRANGER]))

        async def events() -> list[SecurityEvent]:
            return [
                msgspec.json.decode(payload, type=SecurityEvent)
                for topic, payload in await room.outbox()
                if topic == "agent/e/security"
            ]

        async def one() -> bool:
            return len(await events()) == 1

        await until(one)
        clock.advance(30)
        await asyncio.sleep(0)
        assert len(await events()) == 1

        async def all_told() -> bool:
            clock.advance(15)
            return sum(event.data.count for event in await events()) == 100

        await until(all_told)
        assert len(await events()) <= 2
        assert {event.data.code for event in await events()} == {"SEC-SIG-001"}
        assert {report[:3] for report in room.reports} == {("SEC-SIG-001", "orders", True)}


def _refused(name: str) -> tuple[dict[str, object], ReasonCode, State]:
    now = datetime.now(UTC)
    rejected = State.REJECTED
    kinds: dict[str, tuple[dict[str, object], ReasonCode, State]] = {
        "expired": (order_payload(issued_at=now - timedelta(hours=3)), ReasonCode.EXPIRED, State.EXPIRED),
        "31 days": (order_payload(lifetime=timedelta(days=31)), ReasonCode.LIFETIME_TOO_LONG, rejected),
        "from the future": (
            order_payload(issued_at=now + timedelta(minutes=6)),
            ReasonCode.INVALID_REQUEST,
            rejected,
        ),
        "before the journal": (
            order_payload(issued_at=now - timedelta(minutes=30)),
            ReasonCode.REPLAYED,
            rejected,
        ),
        "unknown command": (order_payload("frobnicate"), ReasonCode.UNKNOWN_COMMAND, rejected),
        "unknown field": (order_payload(extra=1), ReasonCode.INVALID_REQUEST, rejected),
        "unknown argument": (order_payload(arguments={"x": 1}), ReasonCode.INVALID_ARGUMENTS, rejected),
        "no argument": (order_payload("check_device"), ReasonCode.INVALID_ARGUMENTS, rejected),
        "unknown device": (
            order_payload("check_device", {"device": "printer-9", "level": "internal"}),
            ReasonCode.DEVICE_UNKNOWN,
            rejected,
        ),
        "no time zone": (
            order_payload(issued_at=None, expires_at="2099-01-01T00:00:00"),
            ReasonCode.INVALID_REQUEST,
            rejected,
        ),
        "empty window": (order_payload(window={"from": "02:00", "to": "02:00"}), ReasonCode.INVALID_REQUEST, rejected),
        "card data": (order_payload(reason="4111 1111 1111 1111"), ReasonCode.INVALID_REQUEST, rejected),
        "topic of another command": (order_payload("ping"), ReasonCode.INVALID_REQUEST, rejected),
    }
    if not name:
        return ({"names": list(kinds)}, ReasonCode.EXPIRED, rejected)
    return kinds[name]


@pytest.mark.parametrize("kind", _refused("")[0]["names"])  # type: ignore[arg-type]
async def test_an_authentic_order_that_is_refused_gets_its_reason(kind: str, tmp_path: Path) -> None:
    async with open_room(tmp_path) as room:
        order, code, state = _refused(kind)
        topic = "check_device" if kind == "topic of another command" else str(order["name"])
        await room.receive(signed_order(order), topic)
        told = await room.told(str(order["command_id"]))
        assert told is not None
        assert told.reason is not None
        assert (told.state, told.reason.code, told.rev) == (state, code, 1)
        assert await room.state(told.command_id) == told
        assert not room.security.counts


async def test_a_name_that_stands_twice_inside_is_refused(tmp_path: Path) -> None:
    async with open_room(tmp_path) as room:
        order = order_payload()
        payload = msgspec.json.encode(order).replace(b'"arguments":{}', b'"arguments":{"a":1,"a":2}')
        await room.receive(sign_bytes(payload, [SUPPORT]))
        told = await room.told(order["command_id"])
        assert told is not None
        assert told.reason is not None
        assert told.reason.code is ReasonCode.INVALID_REQUEST


async def test_a_signer_without_the_role_is_not_authorised(tmp_path: Path) -> None:
    async with open_room(tmp_path) as room:
        order = order_payload("ping")
        await room.receive(signed_order(order, [OPERATOR]))
        told = await room.told(order["command_id"])
        assert told is not None
        assert told.reason is not None
        assert (told.state, told.reason.code) == (State.REJECTED, ReasonCode.NOT_AUTHORISED)


async def test_the_same_order_a_hundred_times_happens_once(tmp_path: Path) -> None:
    async with open_room(tmp_path) as room:
        order = order_payload("check_device", {"device": "printer-0", "level": "external"})
        envelope = signed_order(order)
        for _ in range(100):
            await room.receive(envelope, "check_device")
        ended = await room.ended(order["command_id"])
        await room.receive(envelope, "check_device")
        assert room.shelf.asked == [("printer-0", "external")]
        assert (await room.rows(), await room.told(order["command_id"])) == (1, ended)
        assert not room.security.counts


async def test_the_same_meaning_written_otherwise_is_the_same_order(tmp_path: Path) -> None:
    async with open_room(tmp_path) as room:
        order = order_payload()
        await room.receive(signed_order(order))
        ended = await room.ended(order["command_id"])
        other = {**dict(reversed(order.items())), "reason": None}
        other["issued_at"] = order["issued_at"].replace("Z", "+00:00")
        await room.receive(signed_order(other))
        assert (await room.told(order["command_id"]), dict(room.security.counts)) == (ended, {})


async def test_a_known_id_with_other_content_changes_nothing_and_is_an_event(tmp_path: Path) -> None:
    async with open_room(tmp_path, inbox=True) as room:
        order = order_payload("check_device", {"device": "printer-0", "level": "internal"})
        await room.receive(signed_order(order), "check_device")
        ended = await room.ended(order["command_id"])
        other = {**order, "arguments": {"device": "printer-0", "level": "external"}}
        await room.receive(signed_order(other), "check_device")
        assert await room.state(order["command_id"]) == ended
        assert dict(room.security.counts) == {"SEC-RPL-001": 1}

        async def reported() -> bool:
            return [report[0] for report in room.reports] == ["SEC-RPL-001"]

        await until(reported)
        assert room.shelf.asked == [("printer-0", "internal")]


async def test_an_order_to_the_whole_site_is_answered_after_a_delay(tmp_path: Path) -> None:
    clock = ManualClock(datetime.now(UTC))
    async with open_room(tmp_path, clock=clock, spread_s=40.0) as room:
        order = order_payload("ping", terminal="_all")
        await room.receive(signed_order(order), site=True)
        assert (await room.rows(), await room.outbox()) == (1, [])
        clock.advance(39)
        await asyncio.sleep(0.05)
        assert (await room.state(order["command_id"])).state is State.ACCEPTED

        async def ended() -> bool:
            clock.advance(2)
            return (await room.state(order["command_id"])).state is State.SUCCEEDED

        await until(ended)
        assert await room.told(order["command_id"]) is not None


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("check_device", {"device": "printer-0", "level": "external"}), ("frobnicate", {})],
)
async def test_what_no_site_may_be_ordered_is_refused_after_the_delay(
    name: str, arguments: dict[str, str], tmp_path: Path
) -> None:
    clock = ManualClock(datetime.now(UTC))
    async with open_room(tmp_path, clock=clock, spread_s=40.0) as room:
        order = order_payload(name, arguments, terminal="_all", command_id=uuid7())
        await room.receive(signed_order(order), name, site=True)
        assert await room.outbox() == []
        assert room.shelf.asked == []
        clock.advance(39)
        assert await room.outbox() == []

        async def told() -> bool:
            clock.advance(2)
            return await room.told(order["command_id"]) is not None

        await until(told)
        assert (await room.state(order["command_id"])).state is State.REJECTED


async def test_an_order_for_one_terminal_on_the_site_topic_is_not_for_us(tmp_path: Path) -> None:
    async with open_room(tmp_path) as room:
        await room.receive(signed_order(), site=True)
        assert (await room.rows(), room.security.counts["SEC-SIG-001"]) == (0, 1)


async def test_an_order_whose_link_broke_while_it_was_stored_is_carried_out(tmp_path: Path) -> None:
    async with open_room(tmp_path) as room:
        order = order_payload("check_device", {"device": "printer-0", "level": "external"})
        receiving = asyncio.ensure_future(room.receive(signed_order(order), "check_device"))
        await asyncio.sleep(0)
        receiving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await receiving

        async def there() -> bool:
            return await room.rows() == 1

        await until(there)
        assert (await room.ended(order["command_id"])).state is State.SUCCEEDED


async def _fill(room: Room, count: int) -> None:
    for _ in range(count):
        await room.receive(signed_order(order_payload("ping")))


async def test_32_may_wait_and_the_33rd_is_told_that_the_queue_is_full(tmp_path: Path) -> None:
    async with open_room(tmp_path, engine=False) as room:
        await _fill(room, 32)
        order = order_payload("check_device", {"device": "printer-0", "level": "external"})
        await room.receive(signed_order(order), command="check_device")
        told = await room.told(order["command_id"])
        assert told is not None
        assert told.reason is not None
        assert (told.state, told.reason.code) == (State.REJECTED, ReasonCode.QUEUE_FULL)
        assert len(await room.journal.open_states()) == 32
        ping = order_payload()
        await room.receive(signed_order(ping))
        assert len(await room.journal.open_states()) == 33  # it runs beside others and waits for nobody
