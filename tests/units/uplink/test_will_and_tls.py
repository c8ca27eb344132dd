"""What only a real broker and real processes show: the Will, certificates, the ACL, a broker that freezes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from agent.contract.publication import Publication
from agent.errors import LinkDown
from agent.uplink.broker import Broker as BrokerAddress
from agent.uplink.link import Link, opened
from tests.kit.broker import Broker, eventually, subscribe
from tests.kit.uplink_terminal import ADDRESS, Terminal, conn, online

ROOT = Path(__file__).parents[3]
STATUS = ADDRESS.topic("agent/status")
ONE_TERMINAL = """
import asyncio, sys
from pathlib import Path
from tests.kit.uplink_terminal import Terminal
async def main():
    async with Terminal(Path(sys.argv[1]), "127.0.0.1", int(sys.argv[2])) as terminal:
        terminal.session._start_counter = int(sys.argv[3])
        await asyncio.Event().wait()
asyncio.run(main())
"""


def another_process(folder: Path, broker: Broker, start_counter: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", ONE_TERMINAL, str(folder), str(broker.port), str(start_counter)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)


@pytest.mark.slow
async def test_the_broker_publishes_the_will_of_a_killed_agent(tmp_path: Path) -> None:
    async with Broker(tmp_path) as broker, subscribe(broker, STATUS) as watcher:
        process = another_process(tmp_path, broker, 7)
        try:
            await watcher.collect(1)
        finally:
            process.kill()
            await asyncio.to_thread(process.wait)
        killed_at = asyncio.get_running_loop().time()
        await watcher.collect(2, timeout_s=30.0)
        assert asyncio.get_running_loop().time() - killed_at > 5  # delayed, so that a short loss says nothing
        assert [(online(payload), conn(payload)) for payload in watcher.on(STATUS)] == [
            (True, (7 << 20) + 1),
            (False, (7 << 20) + 1),
        ]


@pytest.mark.slow
async def test_a_restart_within_the_delay_is_never_told_as_offline(tmp_path: Path) -> None:
    async with Broker(tmp_path) as broker, subscribe(broker, STATUS) as watcher:
        for start_counter in (1, 2):
            process = another_process(tmp_path, broker, start_counter)
            try:
                await watcher.collect(start_counter)
                if start_counter == 2:
                    await asyncio.sleep(12)  # longer than the Will's delay: nothing may come now
            finally:
                process.kill()
                await asyncio.to_thread(process.wait)
        said = [(online(payload), conn(payload)) for payload in watcher.on(STATUS)]
        assert said == [(True, (1 << 20) + 1), (True, (2 << 20) + 1)]


async def test_a_frozen_broker_is_given_up_and_found_again(tmp_path: Path) -> None:
    async with (
        Broker(tmp_path) as broker,
        Terminal(tmp_path, broker.host, broker.port, keepalive_s=1, connect_timeout_s=0.5) as terminal,
    ):
        await terminal.connected()
        broker.suspend()
        await terminal.put(Publication("agent/e/x", b"1"))
        await eventually(lambda: not terminal.links[-1][0], what="silence noticed")
        await eventually(lambda: any("no CONNACK" in detail for _up, detail in terminal.links), what="TCP, no CONNACK")
        assert await terminal.outbox.count() == 1
        broker.resume()
        await terminal.connected()
        await eventually(lambda: terminal.publisher.counters.acknowledged == 1, what="the message")


def make_certificates(folder: Path) -> None:
    """An authority, a broker for 127.0.0.1, a terminal; and another authority with a broker of its own."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], check=True, cwd=folder, capture_output=True)

    (folder / "san").write_text("subjectAltName=IP:127.0.0.1\n")
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    for authority, names in (("ca", ("broker", "terminal")), ("stranger", ("impostor",))):
        subject = ("-subj", f"/CN={authority}")
        openssl("req", "-x509", *key, "-keyout", f"{authority}.key", "-out", f"{authority}.pem", *subject, "-days", "2")
        for name in names:
            openssl("req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
            issuer = ("-CA", f"{authority}.pem", "-CAkey", f"{authority}.key", "-CAcreateserial", "-days", "2")
            openssl("x509", "-req", "-in", f"{name}.csr", *issuer, "-extfile", "san", "-out", f"{name}.pem")


async def test_tls_with_both_certificates_and_only_with_the_pinned_authority(tmp_path: Path) -> None:
    make_certificates(tmp_path)
    plain = Broker(tmp_path)
    lines = f"cafile {tmp_path}/ca.pem\ncertfile {tmp_path}/broker.pem\nkeyfile {tmp_path}/broker.key\n"
    plain.config_file.write_text(plain.config_file.read_text() + lines + "require_certificate true\n")
    with plain as broker:

        def address(ca: str = "ca", name: str | None = "terminal") -> BrokerAddress:
            certificate, key = (tmp_path / f"{name}.pem", tmp_path / f"{name}.key") if name else (None, None)
            return BrokerAddress(
                broker.host,
                broker.port,
                tls=True,
                ca_file=tmp_path / f"{ca}.pem",
                certificate_file=certificate,
                key_file=key,
            )

        async def attempt(wrong: BrokerAddress) -> None:
            link = Link(wrong, "T-0001")
            try:
                await link.open()
                await link.publish("a/b", b"x")  # TLS 1.3: the broker's refusal may come after our own handshake
            finally:
                await link.close(orderly=False)

        async with opened(Link(address(), "T-0001")) as link:
            for number in range(200):  # more than one TLS record, read and written
                await link.publish("a/b", b"x" * 500 * (number % 5))
        for wrong in (address(ca="stranger"), address(ca="missing"), address(name=None), address(name="impostor")):
            with pytest.raises(LinkDown):
                await attempt(wrong)
        async with Terminal(tmp_path, broker.host, broker.port, **tls_of(address())) as terminal:
            await terminal.put(Publication("agent/e/x", b"1"))
            await eventually(lambda: terminal.publisher.counters.acknowledged == 1, what="the message over TLS")


async def test_giving_up_a_handshake_that_hangs_leaves_nothing_behind(tmp_path: Path) -> None:
    make_certificates(tmp_path)
    taken: list[asyncio.StreamWriter] = []

    async def silent(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        taken.append(writer)

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        address = BrokerAddress("127.0.0.1", port, tls=True, ca_file=tmp_path / "ca.pem", connect_timeout_s=0.3)
        with pytest.raises(LinkDown):
            await Link(address, "T-0001").open()
        opening = asyncio.create_task(Link(address, "T-0001").open())
        await eventually(lambda: len(taken) == 2, what="TCP")
        opening.cancel()
        await asyncio.wait([opening])
        await eventually(lambda: not [t for t in threading.enumerate() if t.name == "uplink-connect"], what="no thread")
        for writer in taken:
            writer.close()


def tls_of(address: BrokerAddress) -> dict[str, object]:
    names = ("tls", "ca_file", "certificate_file", "key_file")
    return {name: getattr(address, name) for name in names}


async def test_a_terminal_needs_to_read_its_in_topics_and_to_write_below_its_name_and_no_more(tmp_path: Path) -> None:
    acl = tmp_path / "acl"
    acl.write_text(
        "pattern read pos/v1/shop-1/%c/in/#\npattern read pos/v1/shop-1/_all/in/#\npattern write pos/v1/shop-1/%c/#\n"
        "user operator\ntopic readwrite pos/v1/#\n"
    )
    with Broker(tmp_path, config=f"acl_file {acl}") as broker:
        async with subscribe(broker, "pos/v1/#", username="operator") as operator:
            async with Terminal(tmp_path, broker.host, broker.port) as terminal:
                await operator.collect(3)
                await terminal.put(Publication("agent/e/x", b"1"))
                await operator.publish(ADDRESS.topic("in/req/ping"), b"1")
                await operator.publish("pos/v1/shop-1/_all/in/req/ping", b"2")
                await eventually(lambda: len(terminal.requests) == 2, what="both requests")
                await eventually(lambda: terminal.publisher.counters.acknowledged == 1, what="the event")
            await operator.until(lambda _seen: len(operator.on(STATUS)) == 2)
