"""Reaching a host: what went wrong is told by its stage, all of it ends in time, and nothing is said to the host."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import psutil
import pytest

from drivers.network.reach import TcpReach, look_up
from drivers.reach_contract import ReachReading, ReachTarget, Resolved, Stage
from tests.kit.certificates import Authority

DAY_S = 86_400.0
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("trust"))


class _Host:
    """A server on loopback; ``heard`` is all that was ever said to it."""

    def __init__(self) -> None:
        self.port = 0
        self.connections = 0
        self.heard = b""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(OSError):
            self.heard += await reader.read(1000)
        writer.close()


@contextlib.asynccontextmanager
async def _host(certificate: tuple[Path, Path] | None = None, serve: Serve | None = None) -> AsyncIterator[_Host]:
    host, context = _Host(), None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
    server = await asyncio.start_server(serve or host.serve, "127.0.0.1", 0, ssl=context)
    host.port = server.sockets[0].getsockname()[1]
    try:
        yield host
    finally:
        server.close()


async def _loopback(_target: ReachTarget, _deadline_s: float) -> Resolved:
    return Resolved(("127.0.0.1",))


async def _reach(target: ReachTarget, **limits: float) -> ReachReading:
    return await TcpReach(target, _loopback, **limits).read()


async def test_a_good_host_is_reached_timed_and_told_nothing(authority: Authority) -> None:
    async with _host(authority.server("host.test", days=90)) as host:
        reading = await _reach(ReachTarget("a", "host.test", host.port, ca_file=str(authority.file)))
        assert (reading.failed, reading.why, reading.addresses) == (None, "", ("127.0.0.1",))
        for duration_s in (reading.resolve_s, reading.connect_s, reading.handshake_s):
            assert duration_s is not None
            assert 0 <= duration_s < 5
        assert reading.certificate_until_s is not None
        assert (reading.certificate_until_s - time.time()) / DAY_S == pytest.approx(90, abs=0.1)
        while host.connections == 0:
            await asyncio.sleep(0.01)
        assert host.heard == b""


async def test_without_tls_the_connection_alone_is_tried() -> None:
    async with _host() as host:
        reading = await _reach(ReachTarget("a", "host.test", host.port, tls=False))
        assert (reading.failed, reading.handshake_s, reading.certificate_until_s) == (None, None, None)
        assert reading.connect_s is not None
        assert host.heard == b""


async def test_an_address_needs_no_name_and_its_certificate_must_be_for_it(authority: Authority) -> None:
    async def nobody(_target: ReachTarget, _deadline_s: float) -> Resolved:
        raise AssertionError("an address is not resolved")

    async with _host(authority.server("127.0.0.1")) as host:
        target = ReachTarget("a", "127.0.0.1", host.port, ca_file=str(authority.file))
        reading = await TcpReach(target, nobody).read()
        assert (reading.failed, reading.resolve_s) == (None, None)


@pytest.mark.parametrize(
    ("name", "days", "server_name", "word"),
    [
        ("other.test", 90, None, "mismatch"),
        ("host.test", 90, "third.test", "mismatch"),
        ("host.test", -1, None, "expired"),
    ],
)
async def test_a_certificate_that_does_not_hold_is_told_with_its_reason(
    authority: Authority, name: str, days: int, server_name: str | None, word: str
) -> None:
    async with _host(authority.server(name, days=days)) as host:
        target = ReachTarget("a", "host.test", host.port, ca_file=str(authority.file), server_name=server_name)
        reading = await _reach(target)
        assert reading.failed is Stage.CERTIFICATE
        assert word in reading.why.lower()
        assert reading.connect_s is not None
        assert host.heard == b""


async def test_an_unknown_authority_is_not_trusted_neither_a_given_one_nor_by_the_systems_list(
    authority: Authority, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path, "stranger")
    async with _host(stranger.server("host.test")) as host:
        for ca_file in (str(authority.file), None):
            reading = await _reach(ReachTarget("a", "host.test", host.port, ca_file=ca_file))
            assert reading.failed is Stage.CERTIFICATE
            assert "issuer" in reading.why


async def test_a_server_name_of_its_own_is_what_the_certificate_must_be_for(authority: Authority) -> None:
    async with _host(authority.server("real.test")) as host:
        target = ReachTarget("a", "alias.test", host.port, ca_file=str(authority.file), server_name="real.test")
        assert (await _reach(target)).failed is None


async def test_a_host_that_accepts_and_says_nothing_is_given_up_in_time(authority: Authority) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    before = psutil.Process().num_fds()
    async with _host(serve=silent) as host:
        target = ReachTarget("a", "host.test", host.port, ca_file=str(authority.file))
        for _ in range(3):
            reading = await _reach(target, handshake_limit_s=0.2)
            assert (reading.failed, reading.why) == (Stage.TLS, "no TLS within 0.2 s")
            assert reading.connect_s is not None
    while psutil.Process().num_fds() > before:
        await asyncio.sleep(0.01)  # the server's side closes when it sees ours closed


async def test_a_host_that_speaks_no_tls_or_hangs_up_is_told_apart_from_a_bad_certificate(authority: Authority) -> None:
    async def plain(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail ready\r\n")
        await writer.drain()
        writer.close()

    async def hangs_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    for serve in (plain, hangs_up):
        async with _host(serve=serve) as host:
            reading = await _reach(ReachTarget("a", "host.test", host.port, ca_file=str(authority.file)))
            assert reading.failed is Stage.TLS
            assert reading.why.startswith("no TLS: ")


async def test_a_refused_connection_is_told_with_address_and_port() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, and not listening
        port = taken.getsockname()[1]
        reading = await _reach(ReachTarget("a", "host.test", port, tls=False))
    assert (reading.failed, reading.connect_s) == (Stage.CONNECT, None)
    assert reading.why == f"127.0.0.1 port {port}: Connection refused"


async def test_a_host_that_does_not_take_connections_is_given_up_in_time_and_others_of_its_name_are_tried() -> None:
    with socket.socket() as full, contextlib.ExitStack() as stack:
        full.bind(("127.0.0.2", 0))
        full.listen(0)
        port = full.getsockname()[1]
        for _ in range(3):  # its queue is full then, and further ones are dropped
            one = stack.enter_context(socket.socket())
            one.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                one.connect(("127.0.0.2", port))
        target = ReachTarget("a", "host.test", port, tls=False)

        async def both(_target: ReachTarget, _deadline_s: float) -> Resolved:
            return Resolved(("127.0.0.2", "127.0.0.3"))

        alone = await TcpReach(ReachTarget("a", "127.0.0.2", port, tls=False), both, connect_limit_s=0.3).read()
        assert (alone.failed, alone.why) == (Stage.CONNECT, f"127.0.0.2 port {port}: no answer")
        with socket.socket() as open_one:
            open_one.bind(("127.0.0.3", port))
            open_one.listen()
            reading = await TcpReach(target, both, connect_limit_s=1.0).read()
        assert reading.failed is None
        assert reading.connect_s is not None
        assert reading.connect_s < 0.5  # of the one that answered


async def test_a_name_that_has_no_address_is_told_as_the_resolver_says() -> None:
    async def nothing(_target: ReachTarget, deadline_s: float) -> Resolved:
        assert deadline_s == 2.0
        return Resolved((), "the name does not exist")

    reading = await TcpReach(ReachTarget("a", "host.test", 1, tls=False), nothing).read()
    assert (reading.failed, reading.why, reading.connect_s) == (Stage.NAME, "the name does not exist", None)


@pytest.mark.parametrize("content", [None, "no certificate"])
async def test_a_ca_file_that_is_missing_or_nonsense_says_nothing_about_the_host(
    tmp_path: Path, content: str | None
) -> None:
    if content is not None:
        (tmp_path / "ca.pem").write_text(content)
    reading = await _reach(ReachTarget("a", "host.test", 1, ca_file=str(tmp_path / "ca.pem")))
    assert reading.failed is Stage.SETTINGS
    assert "ca_file" in reading.why


def test_the_systems_resolver_knows_this_machine_and_not_a_name_that_cannot_be() -> None:
    assert set(look_up(ReachTarget("a", "localhost", 80)).addresses) <= {"127.0.0.1", "::1"}
    assert look_up(ReachTarget("a", "localhost", 80)).addresses
    nowhere = look_up(ReachTarget("a", "x" * 70 + ".invalid", 80))  # longer than a label may be: nobody is asked
    assert (nowhere.addresses, bool(nowhere.problem)) == ((), True)


async def test_being_cancelled_in_any_stage_leaves_no_connection_behind(authority: Authority) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    before = psutil.Process().num_fds()
    async with _host(serve=silent) as host:
        for delay_s in (0.0, 0.001, 0.01, 0.1):
            target = ReachTarget("a", "host.test", host.port, ca_file=str(authority.file))
            task = asyncio.create_task(_reach(target))
            await asyncio.sleep(delay_s)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
    while psutil.Process().num_fds() > before:
        await asyncio.sleep(0.01)
