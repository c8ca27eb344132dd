"""Frames, errors and the limits of a peer by the contract's words, on both sockets of the real agent.

One agent for the module. Whatever a peer does, it may lose its own connection only: a second connection that was open
all the time is asked after every misdeed.
"""

from __future__ import annotations

import json
import socket
import time
import uuid
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

from tests.kit.agent_process import AgentProcess
from tests.kit.contract_peer import (
    BAD_JSON,
    BAD_PARAMS,
    BAD_REQUEST,
    NO_METHOD,
    Peer,
    eventually,
    padded,
    request_of,
    sale,
    text_of,
)

LIMITS = {"payment.sock": 256 * 1024, "control.sock": 64 * 1024}
READING = {"payment.sock": "transaction.get", "control.sock": "agent.info"}
STATE_FIELDS = [
    *("command_id", "name", "state", "rev", "step", "steps", "progress", "reason", "accepted_at", "updated_at"),
    "result",
]
SECRET = "value-nobody-may-see-again"
_ORDERS = count(1)


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    with AgentProcess(tmp_path_factory.mktemp("agent")) as running:
        yield running


@pytest.fixture(params=sorted(LIMITS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def neighbours(agent: AgentProcess) -> Iterator[dict[str, Peer]]:
    """Connections that are open all the time and must never be disturbed."""
    peers = {name: Peer(agent.run / name) for name in LIMITS}
    yield peers
    for peer in peers.values():
        peer.sock.close()


@pytest.fixture(autouse=True)
def _undisturbed(neighbours: dict[str, Peer]) -> Iterator[None]:
    yield
    for peer in neighbours.values():
        assert peer.call("no.such.method")["error"]["code"] == NO_METHOD


@pytest.fixture
def peer(agent: AgentProcess, name: str) -> Iterator[Peer]:
    with Peer(agent.run / name) as connected:
        yield connected


@pytest.fixture
def payment(agent: AgentProcess) -> Iterator[Peer]:
    with Peer(agent.run / "payment.sock") as connected:
        yield connected


@pytest.fixture
def control(agent: AgentProcess) -> Iterator[Peer]:
    with Peer(agent.run / "control.sock") as connected:
        yield connected


def _good(name: str) -> bytes:
    params = {"transaction_id": str(uuid.uuid4())} if name == "payment.sock" else {}
    return request_of(READING[name], params)


NOT_JSON = [
    b"",
    b" ",
    b"\r",
    b"\t \r",
    b"hello",
    b"{",
    b"}",
    b"{}x",
    b'{"jsonrpc":"2.0","id":1,"method":"agent.info"',
    b'{"jsonrpc":"2.0","id":1,"method":"agent.info",}',
    b"{'jsonrpc':'2.0'}",
    b'{"jsonrpc":"2.0","id":1,"method":"agent.info","params":{"a":NaN}}',
    b'{"jsonrpc":"2.0","id":1,"method":"agent.info","params":{"a":Infinity}}',
    b'{"jsonrpc":"2.0","id":01,"method":"agent.info"}',
    b'{"jsonrpc":"2.0","id":1,"method":"agent.info","params":{"a":"\xff"}}',
    b'{"jsonrpc":"2.0","id":1,"method":"agent.info","params":{"a":"\xc0\xaf"}}',
    b'{"jsonrpc":"2.0","id":1,"method":"agent.info","params":{"a":"\xed\xa0\x80"}}',
    b'{"jsonrpc":"2.0","id":1,"id":2,"method":"agent.info"}',
    b'{"jsonrpc":"2.0","id":1,"method":"agent.info","method":"agent.info"}',
    b'{"jsonrpc":"2.0","id":1,"method":"agent.info","params":{"a":1,"a":1}}',
    b'{"jsonrpc":"2.0","id":1,"method":"agent.info","params":{"a":1,"\\u0061":2}}',
    b'{"jsonrpc":"2.0","id":1,"method":"agent.info","params":{"a":[{"b":{"c":1,"d":":","c":2}}]}}',
    b"\x00\x01\x02",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # somebody speaks TLS
    b"GET / HTTP/1.1",
    b"[" * 5000,
]


@pytest.mark.parametrize("frame", NOT_JSON, ids=range(len(NOT_JSON)))
def test_what_is_not_json_is_answered_and_the_connection_stays(peer: Peer, name: str, frame: bytes) -> None:
    answer = peer.frame(frame)
    assert (answer["id"], answer["error"]["code"]) == (None, BAD_JSON)
    assert peer.frame(_good(name))["id"] is not None


@pytest.mark.parametrize("text", [b"\\ud800", b"\\udc00x", b"\\ud83d\\u0020"], ids=range(3))
def test_half_a_surrogate_pair_is_refused_without_harm(payment: Peer, text: bytes) -> None:
    frame = json.dumps({"jsonrpc": "2.0", "id": 5, "method": "transaction.record", "params": sale(memo="@")}).encode()
    assert payment.frame(frame.replace(b"@", text))["error"]["code"] in {BAD_JSON, BAD_PARAMS}


NO_REQUEST: list[tuple[bytes, Any]] = [
    (b"[]", None),
    (b'[{"jsonrpc":"2.0","id":1,"method":"agent.info"}]', None),
    (b"1", None),
    (b'"text"', None),
    (b"null", None),
    (b"true", None),
    (b'{"jsonrpc":"1.0","id":4,"method":"agent.info"}', 4),
    (b'{"jsonrpc":2.0,"id":4,"method":"agent.info"}', 4),
    (b'{"id":4,"method":"agent.info"}', 4),
    (b'{"jsonrpc":"2.0","id":4}', 4),
    (b'{"jsonrpc":"2.0","id":4,"method":7}', 4),
    (b'{"jsonrpc":"2.0","id":{"a":1},"method":"agent.info"}', None),
    (b'{"jsonrpc":"2.0","id":[1],"method":"agent.info"}', None),
    (b'{"jsonrpc":"2.0","id":true,"method":"agent.info"}', None),
]


@pytest.mark.parametrize(("frame", "answered"), NO_REQUEST, ids=range(len(NO_REQUEST)))
def test_what_is_no_request_is_answered_by_its_id_where_it_has_one(peer: Peer, frame: bytes, answered: Any) -> None:
    answer = peer.frame(frame)
    assert (answer["id"], answer["error"]["code"]) == (answered, BAD_REQUEST)


@pytest.mark.parametrize("other", [f"{SECRET}.method", "", "Agent.Info", "rpc.discover.more", "transaction.delete"])
def test_an_unknown_method(peer: Peer, other: str) -> None:
    answer = peer.call(other)
    assert answer["error"]["code"] == NO_METHOD
    assert SECRET not in text_of(answer)


@pytest.mark.parametrize("method", ["transaction.record", "transaction.record_many", "transaction.get"])
def test_payment_methods_are_not_on_the_control_socket(control: Peer, method: str) -> None:
    assert control.refused(method)["code"] == NO_METHOD


@pytest.mark.parametrize("method", ["agent.info", "transaction.list", "command.run", "command.get", "journal.verify"])
def test_control_methods_are_not_on_the_payment_socket(payment: Peer, method: str) -> None:
    assert payment.refused(method)["code"] == NO_METHOD


def test_unknown_fields_are_never_named(payment: Peer, control: Peer) -> None:
    for peer, method, params in (
        (payment, "transaction.get", {"transaction_id": str(uuid.uuid4())}),
        (payment, "transaction.record", sale()),
        (payment, "transaction.record_many", {"records": [sale()]}),
        (control, "agent.info", {}),
        (control, "transaction.list", {}),
        (control, "command.get", {"command_id": "c1"}),
        (control, "command.run", {"command_id": "c1", "name": "ping", "arguments": {}, "reason": "test"}),
    ):
        error = peer.refused(method, {**params, SECRET: SECRET})
        assert (error["code"], error["data"]["code"]) == (BAD_PARAMS, "BAD_PARAMS"), method
        assert error["data"]["field"] == "(unknown)", method
        assert SECRET not in text_of(error), method


IDS: list[tuple[Any, Any]] = [
    *((value, value) for value in (0, -5, 2**53, "a", "", "x" * 64, "é" * 64, "a\u0000b", '"\\')),
    *((uuid_text, uuid_text) for uuid_text in ("41111111-1111-1111-abcd-00000000000a", str(uuid.UUID(int=2**127)))),
    ("x" * 65, None),
    (10**64, None),
    (None, None),
    *((card, None) for card in ("4111111111111111", 4111111111111111, "4111 1111 1111 1111", "6212345678901233")),
]


@pytest.mark.parametrize(("sent", "answered"), IDS, ids=range(len(IDS)))
def test_ids(peer: Peer, name: str, sent: Any, answered: Any) -> None:
    answer = peer.frame(json.dumps({**json.loads(_good(name)), "id": sent}).encode())
    assert answer["id"] == answered
    assert type(answer["id"]) is type(answered)


def test_carriage_return_and_white_space_are_nothing(peer: Peer, name: str) -> None:
    request = _good(name)
    assert peer.frame(request + b"\r")["id"] == json.loads(request)["id"]
    assert peer.frame(b" \t" + request + b"  \r")["id"] == json.loads(request)["id"]


def test_a_notification_takes_effect_and_gets_no_answer(payment: Peer) -> None:
    record = sale()
    payment.send(json.dumps({"jsonrpc": "2.0", "method": "transaction.record", "params": record}).encode() + b"\n")
    payment.send(b'{"jsonrpc":"2.0","method":"no.such.method"}\n')
    assert payment.record(record)["duplicate"] is True


def test_the_frame_limit_counts_the_bytes_before_the_newline(peer: Peer, name: str) -> None:
    for size in (LIMITS[name] - 1, LIMITS[name]):
        request = padded(_good(name), size)
        assert len(request) == size
        assert peer.frame(request)["id"] == json.loads(request)["id"]
    answer = peer.frame(padded(_good(name), LIMITS[name] + 1))
    assert (answer["id"], answer["error"]["code"]) == (None, BAD_REQUEST)
    assert peer.line() == b""


def test_rubbish_without_end_loses_its_connection(peer: Peer, name: str) -> None:
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        peer.send(b"x" * (16 * 1024 * 1024))


def test_half_a_frame_may_stay_and_be_finished_later(agent: AgentProcess, peer: Peer, name: str) -> None:
    request = _good(name)
    peer.send(request[:20])
    with Peer(agent.run / name) as other:
        assert other.frame(_good(name))["id"] is not None
    for place in range(20, len(request)):
        peer.send(request[place : place + 1])
    assert peer.frame(b"")["id"] == json.loads(request)["id"]
    peer.send(request[:-1])  # and one that is never finished


def test_what_was_sent_before_the_writing_side_closed_is_answered(peer: Peer, name: str) -> None:
    """As ``socat`` and ``nc`` do when their input ends."""
    requests = [_good(name) for _ in range(20)]
    peer.send(b"\n".join(requests) + b"\n")
    peer.sock.shutdown(socket.SHUT_WR)
    answered = {peer.answer()["id"] for _ in requests}
    assert answered == {json.loads(request)["id"] for request in requests}
    assert peer.line() == b""


def test_pipelined_records_take_effect_in_the_order_sent(payment: Peer) -> None:
    steps = ["created", "sent", "unknown", "reversing", "approved", "voided", "settled", "refunded"]
    records = [sale(state=steps[0]) for _ in range(60)]
    sent = [{**record, "state": state} for record in records for state in steps]
    requests = [request_of("transaction.record", record) for record in sent]
    payment.send(b"\n".join(requests) + b"\n")
    answers = [payment.answer() for _ in requests]
    by_id = {answer["id"]: answer["result"]["sequence"] for answer in answers}
    sequences = [by_id[json.loads(request)["id"]] for request in requests]
    assert sequences == list(range(sequences[0], sequences[0] + len(sent)))


def test_record_many_answers_in_order_each_for_itself(payment: Peer) -> None:
    good = [sale() for _ in range(96)]
    odd: list[Any] = [{**good[0]}, {**good[1], "memo": "other"}, sale(state="none"), "no record"]
    results = payment.ask("transaction.record_many", records=[*good, *odd])["results"]
    assert len(results) == 100
    first = results[0]["sequence"]
    assert results[:96] == [{"sequence": first + number, "duplicate": False} for number in range(96)]
    assert results[96] == {"sequence": first, "duplicate": True}
    codes = [(result["error"]["code"], result["error"]["data"]["code"]) for result in results[97:]]
    assert codes == [(-32000, "TXN_CONFLICT"), (BAD_PARAMS, "BAD_PARAMS"), (BAD_PARAMS, "BAD_PARAMS")]
    wrongs: list[Any] = [[sale() for _ in range(101)], "x", None, {}]
    for wrong in wrongs:
        error = payment.refused("transaction.record_many", {"records": wrong})
        assert (error["code"], error["data"]["field"]) == (BAD_PARAMS, "records")
    assert payment.refused("transaction.record_many", {})["data"]["field"] == "records"


def _order(**changes: Any) -> dict[str, Any]:
    return {"command_id": f"local-{next(_ORDERS)}", "name": "ping", "arguments": {}, "reason": "ticket 1", **changes}


def test_a_local_order_goes_the_way_of_a_remote_one(control: Peer) -> None:
    order = _order()
    at_once = control.ask("command.run", **order)
    assert set(at_once) == set(STATE_FIELDS)
    assert (at_once["command_id"], at_once["name"]) == (order["command_id"], "ping")

    def state() -> dict[str, Any]:
        answer: dict[str, Any] = control.ask("command.get", command_id=order["command_id"])
        return answer

    eventually(lambda: state()["state"] == "succeeded", "the ping")
    ended = state()
    assert ended["rev"] > at_once["rev"] or at_once["state"] == "succeeded"
    assert control.ask("command.run", **order) == ended
    control.call("command.run", {**order, "reason": "another"})
    assert state() == ended
    assert ended in control.everything("command.list", 3)


REJECTED = [
    ({"name": "check_device", "arguments": {"device": "no-such-device", "level": "internal"}}, "DEVICE_UNKNOWN"),
    ({"name": "check_device", "arguments": {"device": "memory", "level": "loud"}}, "INVALID_ARGUMENTS"),
    ({"name": "check_device", "arguments": {}}, "INVALID_ARGUMENTS"),
    ({"arguments": {"more": 1}}, "INVALID_ARGUMENTS"),
]


@pytest.mark.parametrize(("changes", "reason"), REJECTED, ids=range(len(REJECTED)))
def test_refused_orders_end_rejected_or_are_answered_with_their_reason(
    control: Peer, changes: dict[str, Any], reason: str
) -> None:
    answer = control.call("command.run", _order(**changes))
    if "error" in answer:
        assert answer["error"]["data"]["code"] == reason
    else:
        assert (answer["result"]["state"], answer["result"]["reason"]["code"]) == ("rejected", reason)


def test_unknown_and_unentitled_orders_change_nothing(control: Peer) -> None:
    for name in ("no_such_command", "unlock", "configure", "policy"):
        answer = control.call("command.run", _order(name=name))
        state = answer.get("result", {}).get("state")
        assert "error" in answer or state == "rejected", answer


@pytest.mark.parametrize(
    ("command_id", "taken"), [("A" + "_-9" * 21, True), ("A" * 65, False), ("-a", False), ("", False)]
)
def test_the_rule_of_ids(control: Peer, command_id: str, taken: bool) -> None:
    answer = control.call("command.run", _order(command_id=command_id))
    assert ("result" in answer) is taken
    if not taken:
        assert answer["error"]["data"] == {**answer["error"]["data"], "code": "BAD_PARAMS", "field": "command_id"}
        assert control.call("command.get", {"command_id": command_id})["error"]["code"] in {BAD_PARAMS, -32000}


@pytest.mark.parametrize("method", ["command.get", "command.run"])
def test_orders_with_fields_missing_or_wrong(control: Peer, method: str) -> None:
    for params in ({}, {"command_id": 5}, {"command_id": None}, {"command_id": ["x"]}):
        error = control.refused(method, params)
        assert (error["code"], error["data"]["code"]) == (BAD_PARAMS, "BAD_PARAMS")
    assert control.refused("command.get", {"command_id": "nobody-ordered-it"})["code"] == -32000


def test_a_thousand_connections_at_once(agent: AgentProcess, name: str) -> None:
    peers: list[Peer] = []
    try:
        for _ in range(1000):
            peers.append(Peer(agent.run / name))
        requests = [_good(name) for _ in peers]
        for peer, request in zip(peers, requests, strict=True):
            peer.send(request + b"\n")
        for peer, request in zip(peers, requests, strict=True):
            assert peer.answer()["id"] == json.loads(request)["id"]
    finally:
        for peer in peers:
            peer.sock.close()


def test_a_peer_that_never_reads_is_cut_off_and_nobody_waits(agent: AgentProcess, neighbours: dict[str, Peer]) -> None:
    with Peer(agent.run / "control.sock") as deaf:
        deaf.sock.setblocking(False)
        requests = (request_of("transaction.list", {"limit": 50}) + b"\n") * 50
        deadline, slowest = time.monotonic() + 20.0, 0.0
        ended = False
        while not ended and time.monotonic() < deadline:
            try:
                deaf.sock.send(requests)
            except BlockingIOError:
                time.sleep(0.05)
            except (BrokenPipeError, ConnectionResetError):
                ended = True
            asked = time.monotonic()
            neighbours["payment.sock"].record(sale())
            slowest = max(slowest, time.monotonic() - asked)
        assert ended, "a peer that does not read was kept"
        assert slowest < 2.0
