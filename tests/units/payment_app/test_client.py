"""The shipped client against the real socket and journal: what it keeps, what it never repeats, how long it takes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from agent.errors import StoreFull
from agent.local_api.payment import PaymentMethods
from agent.local_api.server import Method
from agent.payment_app.client import (
    AgentSilent,
    FileSpool,
    NotAuthorised,
    PaymentClient,
    PendingFull,
    Recorded,
    RecordKept,
    RecordNotStored,
    RecordRefused,
    TransactionUnknown,
)
from tests.kit.rpc_peer import Served, serving
from tests.kit.store_records import BINDINGS, OpenJournal, open_journal, sale

PATIENT_S = 20.0
PAN = "4111111111111111"


@asynccontextmanager
async def payment_socket(folder: Path, store: OpenJournal, **changes: Any) -> AsyncIterator[Served]:
    def methods(on_card_data: Callable[[str], None]) -> Mapping[str, Method]:
        return PaymentMethods(store.journal, bindings=BINDINGS, on_card_data=on_card_data).table()

    async with serving(folder, methods, **changes) as served:
        yield served


@asynccontextmanager
async def agent(folder: Path) -> AsyncIterator[OpenJournal]:
    async with open_journal(folder) as store, payment_socket(folder, store):
        yield store


def client_at(folder: Path, **options: Any) -> PaymentClient:
    return PaymentClient(folder / "s.sock", options.pop("timeout_s", PATIENT_S), **options)


async def test_a_record_is_durable_and_a_repeat_is_the_same(tmp_path: Path) -> None:
    with client_at(tmp_path) as client:
        async with agent(tmp_path):
            record = sale(memo="收据 42")
            assert await asyncio.to_thread(client.record, record) == Recorded(1, False)
            assert await asyncio.to_thread(client.record, record) == Recorded(1, True)
            view = await asyncio.to_thread(client.get, record["transaction_id"])
            assert view["history"][0]["record"] == record
            with pytest.raises(TransactionUnknown):
                await asyncio.to_thread(client.get, sale()["transaction_id"])
            assert client.pending == ()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"amount_minor": 1}, "TXN_CONFLICT"),
        ({"state": "sent"}, "INVALID_TRANSITION"),
        ({"stan": "x"}, "BAD_PARAMS"),
        ({"amount_minor": 1.5}, "BAD_PARAMS"),
        ({"memo": PAN}, "CARD_DATA_REJECTED"),
        ({"memo": "x" * 300_000}, "BAD_PARAMS"),
    ],
)
async def test_a_final_refusal_is_raised_and_never_kept(tmp_path: Path, change: dict[str, Any], code: str) -> None:
    with client_at(tmp_path) as client:
        async with agent(tmp_path):
            record = sale()
            await asyncio.to_thread(client.record, record)
            with pytest.raises(RecordRefused) as caught:
                await asyncio.to_thread(client.record, {**record, **change})
            assert caught.value.code == code
            assert caught.value.sequence == (2 if code == "TXN_CONFLICT" else None)
            assert caught.value.rule == ("R3" if code == "CARD_DATA_REJECTED" else None)
            assert PAN not in repr(caught.value) + str(caught.value.__dict__)
            assert client.pending == ()
            assert (await asyncio.to_thread(client.record, sale(stan="000002"))).sequence in (2, 3)


async def test_without_an_agent_records_are_kept_and_sent_in_order_when_it_is_back(tmp_path: Path) -> None:
    settled: list[tuple[str, object]] = []
    with client_at(tmp_path, on_settled=lambda record, outcome: settled.append((record["state"], outcome))) as client:
        record = sale()
        for state in ("created", "sent", "unknown"):
            with pytest.raises(AgentSilent):
                await asyncio.to_thread(client.record, {**record, "state": state})
        assert [kept["state"] for kept in client.pending] == ["created", "sent", "unknown"]
        async with agent(tmp_path):
            assert (await asyncio.to_thread(client.record, {**record, "state": "reversing"})).sequence == 4
        assert client.pending == ()
        assert settled == [
            ("created", Recorded(1, False)),
            ("sent", Recorded(2, False)),
            ("unknown", Recorded(3, False)),
        ]


async def test_what_was_saved_is_sent_by_the_next_start_of_the_application(tmp_path: Path) -> None:
    with client_at(tmp_path) as first, pytest.raises(AgentSilent):
        first.record(sale())
    with client_at(tmp_path, pending=first.pending) as second:
        assert second.retry() == 1
        async with agent(tmp_path) as store:
            assert await asyncio.to_thread(second.retry) == 0
            assert (await store.journal.verify()).upto_sequence == 1


async def test_what_waited_in_the_spool_goes_in_order_and_leaves_it(tmp_path: Path) -> None:
    with client_at(tmp_path, spool=FileSpool(tmp_path / "spool")) as client:
        for stan in ("000001", "000002"):
            with pytest.raises(AgentSilent) as caught:
                client.record(sale(stan=stan))
            assert caught.value.durable
    with client_at(tmp_path, spool=FileSpool(tmp_path / "spool")) as client:
        assert [record["stan"] for record in client.pending] == ["000001", "000002"]
        async with agent(tmp_path) as store:
            assert (await asyncio.to_thread(client.record, sale(stan="000003"))).sequence == 3
            assert (await store.journal.verify()).upto_sequence == 3
    assert (tmp_path / "spool").read_bytes() == b""


async def test_a_restart_of_the_agent_is_not_noticed(tmp_path: Path) -> None:
    with client_at(tmp_path) as client:
        for sequence in (1, 2, 3):
            async with agent(tmp_path):
                stored = await asyncio.to_thread(client.record, sale(stan=f"{sequence:06d}"))
                assert stored == Recorded(sequence, False)


async def test_a_refused_record_among_those_that_wait_spoils_no_other(tmp_path: Path) -> None:
    settled: list[object] = []
    with client_at(tmp_path, on_settled=lambda _record, outcome: settled.append(outcome)) as client:
        records = [sale(), sale(stan="x"), sale(memo=PAN), sale(extra=[[]])]
        assert [type(kept) for kept in client.record_many(records)] == [AgentSilent] * 4
        async with agent(tmp_path):
            assert (await asyncio.to_thread(client.record, sale(stan="000009"))).sequence == 2
        assert client.pending == ()
        codes = [outcome.code if isinstance(outcome, RecordRefused) else outcome for outcome in settled]
        assert codes == [Recorded(1, False), "BAD_PARAMS", "CARD_DATA_REJECTED", "BAD_PARAMS"]


async def test_a_record_the_agent_cannot_even_read_does_not_block_the_others(tmp_path: Path) -> None:
    deep: list[object] = []
    for _ in range(100):
        deep = [deep]
    records = [sale(), sale(note=deep), sale(stan="000002")]
    with client_at(tmp_path) as client:
        assert [type(kept) for kept in await asyncio.to_thread(client.record_many, records)] == [AgentSilent] * 3
        async with agent(tmp_path) as store:
            assert await asyncio.to_thread(client.retry) == 0
            assert (await store.journal.verify()).upto_sequence == 2


async def test_thousands_that_waited_go_in_several_calls(tmp_path: Path) -> None:
    records = [sale(stan=f"{n:06d}", memo="x" * 200) for n in range(1500)]
    with client_at(tmp_path, pending=records) as client:
        async with agent(tmp_path) as store:
            assert await asyncio.to_thread(client.retry) == 0
            assert (await store.journal.verify()).upto_sequence == 1500


async def test_a_full_disk_keeps_the_record(tmp_path: Path) -> None:
    is_full = True

    async with open_journal(tmp_path) as store:
        table = PaymentMethods(store.journal, bindings=BINDINGS, on_card_data=lambda _rule: None).table()

        def record(params: Mapping[str, object], caller: Any) -> Any:
            if is_full:
                raise StoreFull("the disk is full", hint="free space")
            return table["transaction.record"].handle(params, caller)

        method = Method(record, "payment", table["transaction.record"].result)
        async with serving(tmp_path, {**table, "transaction.record": method}):
            with client_at(tmp_path) as client:
                with pytest.raises(RecordNotStored) as caught:
                    await asyncio.to_thread(client.record, sale())
                assert caught.value.code == "STORE_FULL"
                assert len(client.pending) == 1
                is_full = False
                assert await asyncio.to_thread(client.retry) == 0


async def test_a_sale_never_waits_longer_than_the_timeout(tmp_path: Path) -> None:
    never: list[asyncio.Future[object]] = []

    def silent(_params: Mapping[str, object], _caller: object) -> asyncio.Future[object]:
        never.append(asyncio.get_running_loop().create_future())
        return never[-1]

    async with serving(tmp_path, {"transaction.record": Method(silent, "payment")}, stop_grace_s=0.1):
        with client_at(tmp_path, timeout_s=0.3) as client:
            began_s = time.monotonic()
            with pytest.raises(AgentSilent, match="in time"):
                await asyncio.to_thread(client.record, sale())
            assert time.monotonic() - began_s >= 0.3
            assert len(never) == 1  # not sent a second time: the time was up
            assert len(client.pending) == 1


async def test_threads_share_a_client_and_none_waits_beyond_its_time(tmp_path: Path) -> None:
    with client_at(tmp_path) as client:
        async with agent(tmp_path) as store:
            outcomes = await asyncio.gather(
                *(asyncio.to_thread(client.record, sale(stan=f"{n:06d}")) for n in range(40))
            )
            assert sorted(outcome.sequence for outcome in outcomes) == list(range(1, 41))
            assert client.pending == ()
            assert (await store.journal.verify()).upto_sequence == 40


async def test_many_at_once_have_their_outcomes_in_place(tmp_path: Path) -> None:
    with client_at(tmp_path) as client:
        records = [sale(stan="000001"), sale(memo=PAN), sale(stan="000003")]
        kept = await asyncio.to_thread(client.record_many, records)
        assert all(isinstance(outcome, AgentSilent) for outcome in kept)
        async with agent(tmp_path):
            first, refused, third = await asyncio.to_thread(client.record_many, records)
        assert isinstance(first, Recorded)
        assert isinstance(third, Recorded)
        assert first.duplicate
        assert third.duplicate
        assert isinstance(refused, RecordRefused)


def test_more_than_is_kept_is_said_at_once(tmp_path: Path) -> None:
    with client_at(tmp_path, max_pending=2) as client:
        for _ in range(2):
            with pytest.raises(RecordKept):
                client.record(sale())
        with pytest.raises(PendingFull):
            client.record(sale())
        assert len(client.pending) == 2


@pytest.mark.parametrize("change", [{"memo": object()}, {"amount_minor": float("nan")}, {"memo": "\ud800"}])
def test_what_is_no_json_is_the_applications_mistake(tmp_path: Path, change: dict[str, Any]) -> None:
    with client_at(tmp_path) as client:
        with pytest.raises((TypeError, ValueError)):
            client.record(sale(**change))
        assert client.pending == ()


async def test_a_program_without_the_right_is_told_which_group(tmp_path: Path) -> None:
    async with open_journal(tmp_path) as store, payment_socket(tmp_path, store, rights=frozenset({"nobody"})):
        with client_at(tmp_path) as client:
            with pytest.raises(NotAuthorised) as caught:
                await asyncio.to_thread(client.record, sale())
            assert "pos-payment" in str(caught.value)
            assert len(client.pending) == 1


async def test_what_answers_but_is_no_agent_is_silence(tmp_path: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b'HTTP/1.1 400 Bad Request\r\n{"id": 7}\n')
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_unix_server(answer, tmp_path / "s.sock")
    async with server:
        with client_at(tmp_path) as client, pytest.raises(AgentSilent, match="not the agent"):
            await asyncio.to_thread(client.record, sale())


def test_nothing_but_the_standard_library_is_loaded() -> None:
    program = (
        "import sys; import agent.payment_app.client;"
        "print(sorted({name.partition('.')[0] for name in sys.modules} - sys.stdlib_module_names),"
        " sorted(name for name in sys.modules if name.startswith('agent')))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, '.'); {program}"],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "msgspec" not in done.stdout
    assert "'agent.errors'" not in done.stdout
    assert "'agent.payment_app.client'" in done.stdout
