"""What a call is answered: results, errors by their branch, order, notifications."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
import structlog

from tests.kit.rpc_peer import BAD_PARAMS, INTERNAL, INVALID_REQUEST, NO_METHOD, NOT_JSON, OF_THE_AGENT, serving, until
from tests.units.local_api.methods_for_tests import SECRET, Recorder


async def test_pipelined_calls_are_handled_in_order_and_answered_as_they_finish(tmp_path: Path) -> None:
    methods = Recorder()
    async with serving(tmp_path, methods.table()) as served, served.connect() as peer:
        frames = [{"jsonrpc": "2.0", "id": n, "method": "wait", "params": {"n": n}} for n in range(50)]
        await peer.send(b"".join(json.dumps(frame).encode() + b"\n" for frame in frames))
        await until("50 calls", lambda: len(methods.open) == 50)
        assert methods.calls == list(range(50))
        for n in reversed(range(50)):
            methods.open[n].set_result(n * 10)
        answers = [await peer.answer() for _ in range(50)]
        assert {answer["id"]: answer["result"] for answer in answers} == {n: n * 10 for n in range(50)}


async def test_a_frame_may_come_byte_by_byte_and_many_in_one_piece(tmp_path: Path) -> None:
    async with serving(tmp_path, Recorder().table()) as served, served.connect() as peer:
        frame = b'{"jsonrpc":"2.0","id":"a","method":"echo","params":{"n":1}}\r\n'
        for byte in frame:
            await peer.send(bytes([byte]))
        assert await peer.answer() == {"jsonrpc": "2.0", "id": "a", "result": {"n": 1}}
        await peer.send(frame * 3 + frame[:20])
        for _ in range(3):
            assert (await peer.answer())["id"] == "a"
        assert (await peer.ask(frame[20:]))["id"] == "a"


@pytest.mark.parametrize(
    ("sent", "code", "request_id"),
    [
        (b"rubbish", NOT_JSON, None),
        (b"", NOT_JSON, None),
        (b'{"jsonrpc":"2.0","id":1,"id":2,"method":"echo"}', NOT_JSON, None),
        (b'{"jsonrpc":"2.0","id":1,"method":"echo","params":{"n":"\xff"}}', NOT_JSON, None),
        (b'[{"jsonrpc":"2.0","id":1,"method":"echo"}]', INVALID_REQUEST, None),
        (b'{"jsonrpc":"1.0","id":1,"method":"echo"}', INVALID_REQUEST, 1),
        (b'{"jsonrpc":"2.0","id":1,"method":"echo","more":true}', INVALID_REQUEST, 1),
        (b'{"jsonrpc":"2.0","id":1,"method":"transaction.steal"}', NO_METHOD, 1),
        (b'{"jsonrpc":"2.0","id":1,"method":"echo","params":[1]}', BAD_PARAMS, 1),
        (b"[" * 100_000, NOT_JSON, None),
    ],
)
async def test_bad_input_is_named_and_the_connection_goes_on(
    tmp_path: Path, sent: bytes, code: int, request_id: int | None
) -> None:
    async with serving(tmp_path, Recorder().table()) as served, served.connect() as peer:
        answer = await peer.ask(sent + b"\n")
        assert (answer["error"]["code"], answer["id"]) == (code, request_id)
        assert answer["error"]["data"]["code"]
        assert await peer.result("echo", {"n": 1}) == {"n": 1}


async def test_an_unknown_method_and_member_are_not_repeated(tmp_path: Path) -> None:
    async with serving(tmp_path, Recorder().table()) as served, served.connect() as peer:
        for frame in (
            b'{"jsonrpc":"2.0","id":1,"method":"4111111111111111"}',
            b'{"jsonrpc":"2.0","id":1,"method":"echo","unheard_of":1}',
            b'{"jsonrpc":"2.0","id":"4111111111111111","method":"echo","params":[1]}',
        ):
            text = json.dumps(await peer.ask(frame + b"\n"))
            assert "4111" not in text
            assert "unheard" not in text
        answer = await peer.ask(b'{"jsonrpc":"2.0","id":9,"method":"echo","track2":"5555555555554444=2512101"}\n')
        assert answer["error"]["data"]["code"] == "CARD_DATA_REJECTED"
        assert served.card_data == ["R1"]


async def test_notifications_are_carried_out_and_not_answered(tmp_path: Path) -> None:
    methods = Recorder()
    async with serving(tmp_path, methods.table()) as served, served.connect() as peer:
        await peer.send_line({"jsonrpc": "2.0", "method": "echo", "params": {"n": 1}})
        await peer.send_line({"jsonrpc": "2.0", "method": "no.such.method"})
        await peer.send_line({"jsonrpc": "2.0", "method": "fail", "params": {"how": "bad"}})
        await peer.send_line({"jsonrpc": "2.0", "method": "fail", "params": {"how": "card"}})
        await peer.send_line({"jsonrpc": "2.0", "method": "fail.later", "params": {"how": "full"}})
        assert await peer.result("echo", {"n": 2}) == {"n": 2}  # the only answer
        assert methods.calls == [1, 2]
        assert served.card_data == ["R3"]


@pytest.mark.parametrize("method", ["fail", "fail.later"])
async def test_errors_keep_their_facts(tmp_path: Path, method: str) -> None:
    expected = {
        "bad": (BAD_PARAMS, {"code": "BAD_PARAMS", "field": "stan", "hint": "six digits"}),
        "card": (OF_THE_AGENT, {"code": "CARD_DATA_REJECTED", "field": "memo", "rule": "R3"}),
        "transition": (OF_THE_AGENT, {"code": "INVALID_TRANSITION", "field": "state"}),
        "conflict": (OF_THE_AGENT, {"code": "TXN_CONFLICT", "sequence": 412}),
        "full": (OF_THE_AGENT, {"code": "STORE_FULL"}),
        "refused": (OF_THE_AGENT, {"code": "TERMINAL_LOCKED"}),
        "missing": (OF_THE_AGENT, {"code": "NOT_FOUND"}),
    }
    async with serving(tmp_path, Recorder().table()) as served, served.connect() as peer:
        for how, wanted in expected.items():
            error = await peer.error(method, {"how": how})
            assert (error["code"], error["data"]) == wanted
            assert error["message"]
        assert served.card_data == ["R3"]


@pytest.mark.parametrize(
    ("method", "params"),
    [("fail", {"how": "bug"}), ("fail.later", {"how": "bug"}), ("fail.result", {}), ("fail.encoding", {})],
)
async def test_a_mistake_of_ours_is_one_log_event_without_content(
    tmp_path: Path, method: str, params: dict[str, str]
) -> None:
    async with serving(tmp_path, Recorder().table()) as served, served.connect() as peer:
        with structlog.testing.capture_logs() as events:
            error = await peer.error(method, params)
            assert error["code"] == INTERNAL
            assert error["data"]["code"] == "INTERNAL_ERROR"
            assert SECRET not in json.dumps(error)
            assert await peer.result("echo", {"n": 1}) == {"n": 1}
        failed = [event for event in events if event["event"] == "call.failed"]
        assert len(failed) == 1
        assert failed[0]["method"] == method
        assert SECRET not in {str(value) for name, value in failed[0].items() if name != "exc_info"}


async def test_a_call_dies_with_its_caller_unless_it_is_an_order(tmp_path: Path) -> None:
    methods = Recorder()
    async with serving(tmp_path, methods.table(), stop_grace_s=0.2) as served:
        async with served.connect() as peer:
            for n, method in ((1, "sleep"), (2, "sleep.detached")):
                await peer.send_line({"jsonrpc": "2.0", "id": n, "method": method, "params": {"n": n}})
            await until("both begun", lambda: len(methods.calls) == 2)
        await until("the caller's call to end", lambda: methods.cancelled == ["1"])
        await asyncio.sleep(0)
        assert methods.cancelled == ["1"]
    await until("the stop to end the rest", lambda: methods.cancelled == ["1", "2"])


async def test_a_method_beyond_the_peers_rights_is_refused(tmp_path: Path) -> None:
    async with serving(tmp_path, Recorder().table("support")) as served, served.connect() as peer:
        assert await peer.result("admin.only", {"n": 1}) == {"n": 1}  # root, and the owner of a private socket
