"""payment.sock over a real journal on a real file: records, many of them, looking them up, card data everywhere."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agent.local_api.payment import PaymentMethods
from agent.local_api.server import Method
from agent.runtime.identifiers import uuid7
from tests.kit.rpc_peer import BAD_PARAMS, NO_METHOD, OF_THE_AGENT, RpcPeer, Served, serving, until
from tests.kit.store_records import BINDINGS, OpenJournal, open_journal, sale

PAN = "4111111111111111"


@dataclass
class Counter:
    """A whole payment socket."""

    served: Served
    store: OpenJournal
    peer: RpcPeer


@asynccontextmanager
async def counter(folder: Path, **changes: Any) -> AsyncIterator[Counter]:
    async with open_journal(folder) as store:

        def methods(on_card_data: Callable[[str], None]) -> Mapping[str, Method]:
            return PaymentMethods(store.journal, bindings=BINDINGS, on_card_data=on_card_data).table()

        async with serving(folder, methods, **changes) as served, served.connect() as peer:
            yield Counter(served, store, peer)


def holding(folder: Path, text: bytes) -> list[Path]:
    """Files of the folder in which ``text`` stands."""
    return [file for file in folder.iterdir() if file.is_file() and text in file.read_bytes()]


async def test_a_record_is_answered_with_its_sequence_and_a_repeat_with_the_same(tmp_path: Path) -> None:
    async with counter(tmp_path) as at:
        first, second = sale(), sale(stan="000732")
        assert await at.peer.result("transaction.record", first) == {"sequence": 1, "duplicate": False}
        assert await at.peer.result("transaction.record", second) == {"sequence": 2, "duplicate": False}
        assert await at.peer.result("transaction.record", first) == {"sequence": 1, "duplicate": True}
        view = await at.peer.result("transaction.get", {"transaction_id": first["transaction_id"]})
        assert view["current"] == {**first, "refunded_minor": 0}
        assert view["history"][0]["record"] == first
        assert view["copies"] == {"local": True, "backup": False, "collector": False}


async def test_records_of_one_connection_take_effect_in_the_order_sent(tmp_path: Path) -> None:
    async with counter(tmp_path) as at:
        record = sale()
        states = ["created", "sent", "unknown", "reversing", "reversed"]
        frames = [
            {"jsonrpc": "2.0", "id": n, "method": "transaction.record", "params": {**record, "state": state}}
            for n, state in enumerate(states)
        ]
        await at.peer.send(b"".join(json.dumps(frame).encode() + b"\n" for frame in frames))
        answers = {answer["id"]: answer["result"]["sequence"] for answer in [await at.peer.answer() for _ in states]}
        assert answers == {n: n + 1 for n in range(len(states))}


async def test_conflict_and_impossible_state_are_told_apart(tmp_path: Path) -> None:
    async with counter(tmp_path) as at:
        record = sale()
        await at.peer.result("transaction.record", record)
        error = await at.peer.error("transaction.record", {**record, "amount_minor": 1})
        assert (error["code"], error["data"]["code"], error["data"]["sequence"]) == (OF_THE_AGENT, "TXN_CONFLICT", 2)
        error = await at.peer.error("transaction.record", {**record, "state": "sent"})
        assert (error["code"], error["data"]["code"]) == (OF_THE_AGENT, "INVALID_TRANSITION")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"stan": "31"}, "stan"),
        ({"stan": None}, "stan"),
        ({"amount_minor": "1"}, "amount_minor"),
        ({"amount_minor": -1}, "amount_minor"),
        ({"amount_minor": True}, "amount_minor"),
        ({"state": "sold"}, "state"),
        ({"unheard_of": 1}, "(unknown)"),
        ({"transaction_id": uuid7().upper()}, "transaction_id"),
    ],
)
async def test_a_wrong_field_is_named(tmp_path: Path, change: dict[str, object], field: str) -> None:
    async with counter(tmp_path) as at:
        error = await at.peer.error("transaction.record", sale(**change))
        assert (error["code"], error["data"]["code"], error["data"]["field"]) == (BAD_PARAMS, "BAD_PARAMS", field)
        assert (await at.peer.result("transaction.record", sale()))["sequence"] == 1


@pytest.mark.parametrize("number", [b"100.0", b"1e2", b"100.00", b"1E+2"])
async def test_a_fraction_or_exponent_is_no_amount(tmp_path: Path, number: bytes) -> None:
    async with counter(tmp_path) as at:
        params = json.dumps(sale(amount_minor=7654321)).encode().replace(b"7654321", number)
        answer = await at.peer.ask(b'{"jsonrpc":"2.0","id":1,"method":"transaction.record","params":' + params + b"}\n")
        assert answer["error"]["data"] | {"hint": ""} == {"code": "BAD_PARAMS", "field": "amount_minor", "hint": ""}


def _hidden() -> list[tuple[str, object]]:
    everywhere: list[tuple[str, object]] = [
        (name, PAN)
        for name in (
            *("transaction_id", "state", "type", "provider", "mid", "tid", "amount_minor", "currency", "stan"),
            *("batch_no", "local_at", "attempt", "mti", "processing_code", "pos_entry_mode", "pos_condition_code"),
            *("rrn", "auth_code", "response_code", "masked_pan", "scheme", "channel", "merchant_order_no"),
            *("provider_txn_no", "receipt_no", "tip_minor", "dcc", "original", "totals", "balanced", "memo", "note"),
        )
    ]
    texts = [
        f"card {PAN} paid",
        "4111 1111 1111 1111",
        "4111-1111-1111-1111",
        "".join(chr(0xFF10 + int(digit)) for digit in PAN),
        "4111\u200b1111\u200b1111\u200b1111",
        ";4111111111111111=25121011000012345678?",
        base64.b64encode(PAN.encode()).decode(),
        PAN.encode().hex(),
        json.dumps({"n": PAN}),
        '{"cvv": "123"}',
        "6212345678901232",
        "411111******11111",
    ]
    deep: list[tuple[str, object]] = [
        ("extra", {"a": [{"b": PAN}]}),
        ("pan", "x"),
        ("card_no", 1),
        ("amount_minor", int(PAN)),
    ]
    return everywhere + [("memo", text) for text in texts] + deep


@pytest.mark.parametrize(("field", "value"), _hidden())
async def test_card_data_in_any_field_is_refused_counted_and_left_nowhere(
    tmp_path: Path, field: str, value: object
) -> None:
    async with counter(tmp_path) as at:
        answer = await at.peer.call("transaction.record", sale(**{field: value}))
        data = answer["error"]["data"]
        assert (answer["error"]["code"], data["code"]) == (OF_THE_AGENT, "CARD_DATA_REJECTED")
        assert data["rule"] in ("R1", "R2", "R3", "R4", "R5", "R6", "R7")
        assert data["field"] in (field, "(unknown)")
        assert PAN not in json.dumps(answer)
        assert at.served.card_data == [data["rule"]]
        assert (await at.peer.result("transaction.record", sale()))["sequence"] == 1
    assert holding(tmp_path, PAN.encode()) == []


async def test_many_records_each_stand_for_themselves_in_order(tmp_path: Path) -> None:
    async with counter(tmp_path) as at:
        first = sale()
        records = [
            first,
            sale(stan="000001", memo=PAN),
            sale(stan="x"),
            first,
            {**first, "amount_minor": 5},
            "not a record",
            [PAN],
            sale(stan="000002"),
        ]
        results = (await at.peer.result("transaction.record_many", {"records": records}))["results"]
        assert [result.get("sequence") for result in results] == [1, None, None, 1, None, None, None, 3]
        assert [result["error"]["data"]["code"] for result in results if "error" in result] == [
            *("CARD_DATA_REJECTED", "BAD_PARAMS", "TXN_CONFLICT", "BAD_PARAMS", "CARD_DATA_REJECTED")
        ]
        assert results[3] == {"sequence": 1, "duplicate": True}
        assert [result["error"]["code"] for result in results if "error" in result] == [
            *(OF_THE_AGENT, BAD_PARAMS, OF_THE_AGENT, BAD_PARAMS, OF_THE_AGENT)
        ]
        assert at.served.card_data == ["R3", "R3"]


async def test_a_hundred_records_are_the_most(tmp_path: Path) -> None:
    async with counter(tmp_path) as at:
        records = [sale(stan=f"{n:06d}") for n in range(101)]
        results = (await at.peer.result("transaction.record_many", {"records": records[:100]}))["results"]
        assert [result["sequence"] for result in results] == list(range(1, 101))
        bad: list[dict[str, object]] = [{"records": records}, {"records": {}}, {}, {"more": 1}]
        for params in bad:
            error = await at.peer.error("transaction.record_many", params)
            assert (error["code"], error["data"]["code"]) == (BAD_PARAMS, "BAD_PARAMS")
        assert await at.peer.result("transaction.record_many", {"records": []}) == {"results": []}
        assert (await at.peer.error("transaction.record_many", {"records": [], "pan": PAN}))["data"]["rule"] == "R1"


async def test_looking_up_what_is_not_there_and_what_cannot_be(tmp_path: Path) -> None:
    async with counter(tmp_path) as at:
        error = await at.peer.error("transaction.get", {"transaction_id": uuid7()})
        assert (error["code"], error["data"]["code"]) == (OF_THE_AGENT, "NOT_FOUND")
        for wrong in (5, "x", None, uuid7().upper()):
            error = await at.peer.error("transaction.get", {"transaction_id": wrong})
            assert (error["code"], error["data"]["field"]) == (BAD_PARAMS, "transaction_id")
        error = await at.peer.error("transaction.get", {"transaction_id": uuid7(), "more": 1})
        assert error["data"]["field"] == "(unknown)"
        error = await at.peer.error("transaction.get", {"transaction_id": PAN})
        assert (error["data"]["code"], error["data"]["field"]) == ("CARD_DATA_REJECTED", "transaction_id")
        assert at.served.card_data == ["R3"]


async def test_methods_of_the_other_socket_are_unknown_here(tmp_path: Path) -> None:
    async with counter(tmp_path) as at:
        for method in ("agent.info", "command.run", "transaction.list", "health.get"):
            assert (await at.peer.error(method))["code"] == NO_METHOD


async def test_a_stop_loses_no_answer_of_a_durable_record(tmp_path: Path) -> None:
    async with counter(tmp_path) as at:
        frames = [
            {"jsonrpc": "2.0", "id": n, "method": "transaction.record", "params": sale(stan=f"{n:06d}")}
            for n in range(200)
        ]
        await at.peer.send(b"".join(json.dumps(frame).encode() + b"\n" for frame in frames))
        answered = [await at.peer.answer()]
        at.served.task.cancel()
        answered += [json.loads(line) for line in (await at.peer.rest()).splitlines()]
        await until("the end", at.served.task.done)
        sequences = sorted(answer["result"]["sequence"] for answer in answered)
        verified = await at.store.journal.verify()
        assert verified.intact
        assert verified.upto_sequence == len(sequences)  # every stored record was answered
        assert sequences == list(range(1, len(sequences) + 1))


async def test_a_store_that_is_closed_is_said_and_nothing_is_acknowledged(tmp_path: Path) -> None:
    async with counter(tmp_path) as at:
        await at.peer.result("transaction.record", sale())
        await at.store.database.close()
        error = await at.peer.error("transaction.record", sale(stan="000002"))
        assert (error["code"], error["data"]["code"]) == (OF_THE_AGENT, "STORE_UNAVAILABLE")
