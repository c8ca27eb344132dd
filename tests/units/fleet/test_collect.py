"""`posctl fleet collect` on a real broker: acks that a terminal can believe, gaps, forks, refusals, and its reports."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import aiomqtt
import pytest

from agent.ctl.__main__ import main
from agent.fleet.collector.database import open_store
from agent.fleet.collector.service import ACK_EXPIRY_S
from tests.kit.broker import Broker, free_port, subscribe
from tests.kit.collector_process import CollectorProcess, new_key, public_bytes
from tests.kit.swarm import Book, Swarm, open_ack
from tests.units.fleet.collector_store import Post, held_hashes

PAN = "4111111111111111"


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return new_key(tmp_path_factory.mktemp("key"))


def report(store: str, verb: str, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any]]:
    """Exit code and JSON of ``status`` or ``verify``."""
    capsys.readouterr()
    code = main(["fleet", "collect", verb, "--store", store, "--json", *words])
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return code, document


def same_as(store: str, swarm: Swarm) -> bool:
    """Whether the store holds exactly what the terminals wrote."""
    with closing(open_store(store)) as database:
        held = held_hashes(database)
    return held == {
        (one.book.terminal, one.book.journal_id): dict(enumerate(one.book.hashes[1:], 1)) for one in swarm.terminals
    }


async def test_everything_is_held_signed_for_and_verifies(
    broker_port: int, store: str, key: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site = "C-1" if store.startswith("sqlite") else "C-2"
    with CollectorProcess(broker_port, store, key, site=site) as collector:
        async with Swarm(broker_port, 20, entries=95, site=site, key=public_bytes(key)) as swarm:
            await swarm.all_delivered(60)
            assert swarm.wrong_acks() == []
        code, counts = collector.stop()
    assert code == 0
    assert counts["entries"] == 20 * 95
    assert same_as(store, swarm)
    assert report(store, "status", capsys)[0] == 0
    code, verified = report(store, "verify", capsys)
    assert code == 0
    assert verified["intact"]
    assert sum(one["checked"] for one in verified["journals"]) == 20 * 95
    assert main(["fleet", "collect", "status", "--store", store]) == 0
    assert "1,900 entries of 20 terminals" in capsys.readouterr().out


async def test_collectors_of_one_group_divide_the_work(broker_port: int, store: str, key: Path) -> None:
    site = "C-3" if store.startswith("sqlite") else "C-4"
    with (
        CollectorProcess(broker_port, store, key, site=site) as first,
        CollectorProcess(broker_port, store, key, site=site) as second,
    ):
        async with Swarm(broker_port, 10, entries=100, batch=5, site=site, key=public_bytes(key)) as swarm:
            await swarm.all_delivered(60)
            assert swarm.wrong_acks() == []
        assert same_as(store, swarm)
        done = [one.stop()[1] for one in (first, second)]
    assert sum(one["entries"] for one in done) == 1000
    assert all(one["messages"] > 10 for one in done)


@pytest.mark.parametrize("words", [["--protocol", "3.1.1"], ["--alone"]])
async def test_alone_it_needs_no_shared_subscription(
    broker_port: int, tmp_path: Path, key: Path, words: list[str]
) -> None:
    site = f"C-5{len(words)}"
    with CollectorProcess(broker_port, str(tmp_path / "c.db"), key, *words, site=site):
        async with Swarm(broker_port, 3, entries=30, site=site, key=public_bytes(key)) as swarm:
            await swarm.all_delivered(30)
    assert same_as(str(tmp_path / "c.db"), swarm)


@pytest.fixture
def alone(own_broker: Broker, tmp_path: Path, key: Path) -> Iterator[CollectorProcess]:
    with CollectorProcess(own_broker.port, str(tmp_path / "c.db"), key) as collector:
        yield collector


async def test_a_site_whose_births_fill_the_line_is_collected_all_the_same(
    own_broker: Broker, tmp_path: Path, key: Path
) -> None:
    async with subscribe(own_broker) as watcher:
        for number in range(150):
            book = Book(f"T-{number:04d}")
            await watcher.publish(f"pos/v1/S-01/{book.terminal}/agent/birth", book.birth("S-01"), retain=True)
    with CollectorProcess(own_broker.port, str(tmp_path / "c.db"), key):
        async with Swarm(own_broker.port, 3, entries=10) as swarm:
            await swarm.all_delivered(30)


async def test_an_ack_says_what_is_held_and_is_not_retained(
    own_broker: Broker, alone: CollectorProcess, key: Path
) -> None:
    book = Book("T-1")
    book.write(10)
    async with subscribe(own_broker, "pos/v1/S-01/T-1/in/ack/txn") as watcher:
        await watcher.publish("pos/v1/S-01/T-1/agent/txn", book.message(1, 7))
        (seen,) = await watcher.collect(1)
        assert (seen.qos, seen.retained) == (1, False)
        assert open_ack(seen.payload, None) == {
            "terminal": "T-1",
            "journal_id": book.journal_id,
            "upto_seq": 7,
            "chain": book.hashes[7].hex(),
        }
        await watcher.publish("pos/v1/S-01/T-1/agent/txn", book.message(9, 10))  # 8 is missing
        asked = (await watcher.collect(2))[1]
        ack = open_ack(asked.payload, None)
        assert (ack["upto_seq"], ack["resend_from"]) == (7, 8)
        await watcher.publish("pos/v1/S-01/T-1/agent/txn", book.message(1, 5))  # held: the ack may have been lost
        again = (await watcher.collect(3))[2]
        assert open_ack(again.payload, None)["upto_seq"] == 7


async def test_acks_do_not_fill_the_queue_of_a_terminal_that_is_away(
    own_broker: Broker, alone: CollectorProcess
) -> None:
    book = Book("T-1")
    book.write(10)
    async with aiomqtt.Client("127.0.0.1", own_broker.port, protocol=aiomqtt.ProtocolVersion.V5) as client:
        await client.subscribe("pos/v1/S-01/T-1/in/ack/txn", qos=1)
        await client.publish("pos/v1/S-01/T-1/agent/txn", book.message(1, 7), qos=1)
        seen = await anext(aiter(client.messages))
    properties: Any = seen.properties
    assert 0 < properties.MessageExpiryInterval <= ACK_EXPIRY_S


def stored_bytes(folder: Path) -> bytes:
    """Of the store's file and whatever SQLite has beside it."""
    return b"".join(file.read_bytes() for file in folder.glob("c.db*"))


async def test_gap_fork_refusal_and_silence_are_named_and_end_with_exit_1(
    own_broker: Broker, tmp_path: Path, key: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = str(tmp_path / "c.db")
    gone, forked, bad = Book("T-gone"), Book("T-fork"), Book("T-bad")
    for book in (gone, forked, bad):
        book.write(30)
    other = Book("T-fork", forked.journal_id, shop="other", parent=forked, base=3)
    other.write(10)
    card = bad.message(1, 5).replace(b'"receipt_no":"000003"', f'"memo":"{PAN}"'.encode())
    with CollectorProcess(own_broker.port, store, key) as collector:
        async with subscribe(own_broker, "pos/v1/S-01/+/in/ack/txn") as watcher:
            await watcher.publish("pos/v1/S-01/T-new/agent/birth", Book("T-new").birth("S-01"))
            await watcher.publish("pos/v1/S-01/T-fork/agent/txn", forked.message(1, 10))
            await watcher.publish("pos/v1/S-01/T-fork/agent/txn", other.message(1, 10))
            assert collector.until("fork")["terminal"] == "T-fork"
            await watcher.publish("pos/v1/S-01/T-bad/agent/txn", card)
            assert "card_data" in collector.until("refused")["text"]
            for asked in (1, 2):  # it begins at 21, and says so again each time it is asked for more
                await watcher.publish("pos/v1/S-01/T-gone/agent/txn", gone.message(21, 30))
                await watcher.until(
                    lambda seen, asked=asked: len([one for one in seen if "T-gone" in one.topic]) >= asked  # type: ignore[misc]
                )
            await watcher.publish("pos/v1/S-01/T-gone/agent/txn", gone.message(21, 30))
            collector.until("gap")
        collector.stop()
    code, found = report(store, "status", capsys)
    assert code == 1
    journals = {one["terminal"]: one for one in found["journals"]}
    assert [(gap["from_seq"], gap["upto_seq"]) for gap in journals["T-gone"]["gaps"]] == [(1, 20)]
    assert journals["T-fork"]["forks"] == list(range(4, 11))
    assert found["refusals"][0]["detail"] == "sequence 3: memo breaks R3"
    assert found["silent"] == [{"site": "S-01", "terminal": "T-new"}]
    code, verified = report(store, "verify", capsys)
    assert code == 1
    problems = {one["terminal"]: one["problems"] for one in verified["journals"]}
    assert problems == {"T-gone": ["gap 1 to 20"], "T-fork": [], "T-bad": []}
    assert main(["fleet", "collect", "status", "--store", store]) == 1
    text = capsys.readouterr().out
    assert "gap 1–20" in text
    assert "fork from 4" in text
    assert PAN.encode() not in stored_bytes(tmp_path)


def test_a_row_that_was_altered_is_found(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    post = Post(store)
    book = Book("T-1")
    book.write(20)
    post.send((book, 1, 20))
    with post.database.transaction() as session:
        session.run("UPDATE entries SET record = replace(record, 'approved', 'declined') WHERE sequence = 7")
    code, found = report(store, "verify", capsys)
    assert code == 1
    assert found["journals"][0]["problems"][0] == "entry 7 is not what was stored"
    with post.database.transaction() as session:
        session.run("DELETE FROM entries WHERE sequence >= 7")
    code, found = report(store, "verify", capsys)
    assert "ends at 6, but 20 was signed for" in found["journals"][0]["problems"]
    post.close()


def test_a_terminal_of_which_nothing_came_for_long_is_silent(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    post = Post(store)  # its clock stands in the past
    book = Book("T-1")
    book.write(5)
    post.send((book, 1, 5))
    post.close()
    assert report(store, "status", capsys)[1]["silent"] == [{"site": "S-01", "terminal": "T-1"}]
    assert report(store, "status", capsys, "--silent-after", "99999d")[0] == 0


def test_messages_that_wait_for_long_end_with_exit_1(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    book, post = Book("T-1"), Post(store)
    book.write(20)
    now_ms = time.time_ns() // 1_000_000
    for waited_s, code in ((0, 0), (120, 1)):
        post.now_ms = now_ms - waited_s * 1000
        post.send((book, 1, 5 + code), (book, 11, 20))
        assert report(store, "status", capsys)[0] == code
    post.close()


async def test_a_broker_that_goes_away_is_waited_for(own_broker: Broker, tmp_path: Path, key: Path) -> None:
    store = str(tmp_path / "c.db")
    with CollectorProcess(own_broker.port, store, key) as collector:
        async with Swarm(own_broker.port, 5, entries=20, resend_s=2) as swarm:
            await swarm.all_delivered(30)
            own_broker.kill()
            for terminal in swarm.terminals:
                terminal.book.write(20)
            own_broker.start()
            collector.until("collecting")
            await swarm.all_delivered(60)
    assert same_as(store, swarm)


def test_a_report_is_of_one_state_whatever_is_written_meanwhile(store: str) -> None:
    post = Post(store)
    book = Book("T-1")
    book.write(20)
    post.send((book, 1, 10))
    with closing(open_store(store, create=False)) as reader, reader.reading() as session:
        before = session.rows("SELECT count(*) FROM entries")
        post.send((book, 11, 20))
        assert session.rows("SELECT count(*) FROM entries") == before
    post.close()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ([], 2),
        (["--broker", "127.0.0.1:1", "--site", "S-01", "--store", "{store}"], 2),
        (["--broker", "127.0.0.1:1", "--store", "{store}", "--key", "{key}"], 2),
        (["--broker", "127.0.0.1:1", "--site", "S-01", "--all", "--store", "{store}", "--key", "{key}"], 2),
        (["--broker", "127.0.0.1:1", "--site", "a/b", "--store", "{store}", "--key", "{key}"], 2),
        (["--broker", "127.0.0.1:1", "--site", "S-01", "--store", "{store}", "--key", "{operator}"], 2),
        (["--broker", "127.0.0.1:1", "--site", "S-01", "--store", "{store}", "--key", "{key}", "--share", "a/b"], 2),
        (
            [
                *("--broker", "127.0.0.1:1", "--site", "S-01", "--store", "{store}", "--key", "{key}"),
                *("--share", "a", "--protocol", "3.1.1"),
            ],
            2,
        ),
        (["--broker", "127.0.0.1:1", "--site", "S-01", "--store", "x://y", "--key", "{key}"], 2),
        (["--broker", "127.0.0.1:{free}", "--site", "S-01", "--store", "{store}", "--key", "{key}"], 3),
        (["status", "--store", "{store}.none"], 2),
        (["verify", "--store", "{store}.none"], 2),
        (["status", "--store", "{store}.none", "--silent-after", "soon"], 2),
    ],
)
def test_wrong_use_is_told_and_nothing_is_begun(words: list[str], code: int, tmp_path: Path, key: Path) -> None:
    places = {
        "store": str(tmp_path / "c.db"),
        "key": str(key),
        "operator": str(new_key(tmp_path, "operator")),
        "free": str(free_port()),
    }
    assert main(["fleet", "collect", *(word.format_map(places) for word in words)]) == code
