"""Orders from the control socket: rights, the same id again, signed orders carried in by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.commands import inbox
from agent.commands.intake import LocalCaller
from agent.contract.command import LocalOrder, ReasonCode, State
from agent.errors import BadRequest, Refused
from agent.trust.policy import load_policy
from tests.kit.command_room import open_room, until
from tests.kit.orders import STRANGER, order_payload, policy_payload, sign_json, signed_order, signed_policy

SUPPORTER = LocalCaller(1001, frozenset({"support"}))
ADMIN = LocalCaller(0, frozenset({"support", "admin"}))
NOBODY = LocalCaller(1002, frozenset())
CHECK: dict[str, object] = {"device": "printer-0", "level": "internal"}


def _policy(**commands: Any) -> Any:
    return load_policy(signed_policy(policy_payload(commands=commands)))


@pytest.mark.parametrize("with_policy", [True, False])
async def test_support_may_ping_and_check_with_or_without_a_policy(with_policy: bool, tmp_path: Path) -> None:
    async with open_room(tmp_path, policy=_policy() if with_policy else None) as room:
        state = await room.inbox.order(LocalOrder("c-1", "ping"), SUPPORTER)
        assert (state.state, state.rev, state.command_id) == (State.ACCEPTED, 1, "c-1")
        await room.inbox.order(LocalOrder("c-2", "check_device", CHECK, "ticket 1"), SUPPORTER)
        assert (await room.ended("c-1")).state is State.SUCCEEDED
        ended = await room.ended("c-2")
        assert ended.state is State.SUCCEEDED
        assert await room.told("c-2") == ended


async def test_the_row_keeps_the_callers_uid(tmp_path: Path) -> None:
    async with open_room(tmp_path) as room:
        await room.inbox.order(LocalOrder("c-1", "ping", None, "ticket 4711"), SUPPORTER)
        row = await room.database.read(lambda db: db.execute("SELECT source, uid, request FROM commands").fetchone())
        assert tuple(row[:2]) == ("local", 1001)
        assert msgspec.json.decode(row[2])["reason"] == "ticket 4711"


@pytest.mark.parametrize(
    ("local", "caller", "allowed"),
    [
        ("support", SUPPORTER, True),
        ("support", NOBODY, False),
        ("admin", SUPPORTER, False),
        ("admin", ADMIN, True),
        (None, ADMIN, False),
    ],
)
async def test_rights_are_those_of_the_policy(
    local: str | None, caller: LocalCaller, allowed: bool, tmp_path: Path
) -> None:
    policy = _policy(ping={"roles": ["support"], "local": local})
    async with open_room(tmp_path, policy=policy, inbox=True) as room:
        if allowed:
            assert (await room.inbox.order(LocalOrder("c-1", "ping"), caller)).state is State.ACCEPTED
            return
        with pytest.raises(Refused) as caught:
            await room.inbox.order(LocalOrder("c-1", "ping"), caller)
        assert caught.value.reason == ReasonCode.NOT_AUTHORISED
        assert await room.rows() == 0

        async def reported() -> bool:
            return [report[0] for report in room.reports] == ["SEC-AUT-001"]

        await until(reported)


async def test_the_same_id_again_answers_the_recorded_state(tmp_path: Path) -> None:
    order = LocalOrder("c-1", "check_device", CHECK)
    async with open_room(tmp_path) as room:
        await room.inbox.order(order, SUPPORTER)
        ended = await room.ended("c-1")
        assert await room.inbox.order(order, ADMIN) == ended
        with pytest.raises(Refused) as caught:
            await room.inbox.order(LocalOrder("c-1", "check_device", {**CHECK, "level": "external"}), SUPPORTER)
        assert caught.value.reason == ReasonCode.REPLAYED
        assert await room.inbox.order(order, SUPPORTER) == ended
        assert room.shelf.asked == [("printer-0", "internal")]
        assert dict(room.security.counts) == {"SEC-RPL-001": 1}


@pytest.mark.parametrize(
    ("order", "code"),
    [
        (LocalOrder("c-1", "frobnicate"), ReasonCode.UNKNOWN_COMMAND),
        (LocalOrder("c-1", "ping", {"x": 1}), ReasonCode.INVALID_ARGUMENTS),
        (LocalOrder("c-1", "check_device", {**CHECK, "device": "other"}), ReasonCode.DEVICE_UNKNOWN),
    ],
)
async def test_what_cannot_be_done_is_answered_with_its_final_state(
    order: LocalOrder, code: ReasonCode, tmp_path: Path
) -> None:
    async with open_room(tmp_path) as room:
        state = await room.inbox.order(order, ADMIN)
        assert state.reason is not None
        assert (state.state, state.reason.code) == (State.REJECTED, code)
        assert await room.state("c-1") == state


@pytest.mark.parametrize(
    "order",
    [
        LocalOrder(),
        LocalOrder("c-1"),
        LocalOrder(None, "ping"),
        LocalOrder("a/b", "ping"),
        LocalOrder("c-1", "Ping"),
        LocalOrder("c-1", envelope={}),
    ],
)
async def test_orders_of_wrong_form_are_bad_requests(order: LocalOrder, tmp_path: Path) -> None:
    async with open_room(tmp_path) as room:
        with pytest.raises(BadRequest):
            await room.inbox.order(order, ADMIN)
        assert await room.rows() == 0


async def test_a_signed_order_carried_in_by_hand_needs_no_rights_of_the_caller(tmp_path: Path) -> None:
    policy = _policy(ping={"roles": ["support"], "local": None})
    async with open_room(tmp_path, policy=policy) as room:
        envelope = msgspec.json.decode(signed_order(order_payload("ping", command_id="c-1")))
        state = await room.inbox.order(LocalOrder(envelope=envelope), NOBODY)
        assert state.state is State.ACCEPTED
        ended = await room.ended("c-1")
        assert await room.inbox.order(LocalOrder(envelope=envelope), SUPPORTER) == ended
        await room.receive(msgspec.json.encode(envelope))  # the same order, by the broker too
        assert (await room.rows(), dict(room.security.counts)) == (1, {})


@pytest.mark.parametrize("policy", [_policy(), None])
async def test_an_order_that_nobody_entitled_signed_is_refused_and_counted(policy: Any, tmp_path: Path) -> None:
    async with open_room(tmp_path, policy=policy) as room:
        envelope = msgspec.json.decode(sign_json(order_payload(), [STRANGER]))
        hostile: tuple[dict[str, object], ...] = (envelope, {}, {"payload": 1})
        for one in hostile:
            with pytest.raises(Refused) as caught:
                await room.inbox.order(LocalOrder(envelope=one), ADMIN)
            assert caught.value.reason == ReasonCode.NOT_AUTHORISED
        assert (await room.rows(), room.security.counts["SEC-SIG-001"]) == (0, 3)


async def test_orders_that_cannot_be_kept_are_refused_without_a_row_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox, "MAX_KEPT", 2)
    monkeypatch.setattr("agent.commands.rules.MAX_KEPT", 2)
    async with open_room(tmp_path) as room:
        for number in (1, 2):
            await room.inbox.order(LocalOrder(f"c-{number}", "ping"), SUPPORTER)
            await room.ended(f"c-{number}")
        with pytest.raises(Refused) as refused:
            await room.inbox.order(LocalOrder("c-3", "ping"), SUPPORTER)
        assert refused.value.reason == ReasonCode.QUEUE_FULL
        known = await room.inbox.order(LocalOrder("c-1", "ping"), SUPPORTER)
        assert known.state is State.SUCCEEDED
        rows = await room.database.read(lambda db: db.execute("SELECT count(*) FROM commands").fetchone()[0])
        assert rows == 2
        assert room.security.counts["SEC-AUT-001"] == 1
