"""Peers that misbehave: the harm stays with its author."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.local_api.limits import CONTROL_LIMITS, PAYMENT_LIMITS, Limits
from agent.runtime.descriptors import allow_descriptors
from tests.kit.rpc_peer import INVALID_REQUEST, NOT_JSON, RpcPeer, Served, peer_of, serving, until
from tests.units.local_api.methods_for_tests import Recorder


def echo(size: int) -> bytes:
    """A valid frame of exactly ``size`` bytes before its newline."""
    frame = b'{"jsonrpc":"2.0","id":1,"method":"echo","params":{"n":"%b"}}'
    return frame % (b"x" * (size - len(frame) + 2)) + b"\n"


async def works(served: Served) -> None:
    async with served.connect() as peer:
        assert await peer.result("echo", {"n": 1}) == {"n": 1}


@pytest.mark.parametrize("limits", [PAYMENT_LIMITS, CONTROL_LIMITS], ids=["payment", "control"])
async def test_the_longest_frame_is_taken_and_one_byte_more_is_answered_and_closed(
    tmp_path: Path, limits: Limits
) -> None:
    async with serving(tmp_path, Recorder().table(), limits=limits) as served:
        async with served.connect() as peer:
            frame = echo(limits.frame_bytes)
            assert len(frame) == limits.frame_bytes + 1
            assert len((await peer.ask(frame))["result"]["n"]) > limits.frame_bytes - 100
            answer = await peer.ask(echo(limits.frame_bytes + 1) + b'{"jsonrpc":"2.0","id":2,"method":"echo"}\n')
            assert (answer["error"]["code"], answer["id"]) == (INVALID_REQUEST, None)
            assert await peer.rest() == b""
        await works(served)


async def test_calls_under_way_are_answered_though_the_next_frame_is_too_long(tmp_path: Path) -> None:
    methods = Recorder()
    async with serving(tmp_path, methods.table(), frame_bytes=1000) as served, served.connect() as peer:
        await peer.send_line({"jsonrpc": "2.0", "id": 1, "method": "wait"})
        await peer.send(b"x" * 1001)
        assert (await peer.answer())["error"]["code"] == INVALID_REQUEST
        methods.open[0].set_result("stored")
        assert (await peer.answer())["result"] == "stored"
        assert await peer.rest() == b""


async def send_rubbish(peer: RpcPeer) -> None:
    for _ in range(10_000):
        await peer.send(b"x" * 65536)


async def test_rubbish_without_end_loses_its_connection(tmp_path: Path) -> None:
    async with serving(tmp_path, Recorder().table(), linger_s=30.0) as served, served.connect() as peer:
        with pytest.raises(ConnectionError):
            await send_rubbish(peer)
        await works(served)
        await until("it to be gone", lambda: served.server.connections == 0)


async def test_half_a_frame_and_silence_cost_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path, Recorder().table(), stalled_s=0.2) as served, served.connect() as quiet:
        await quiet.send(b'{"jsonrpc":"2.0","id":1,"met')
        for _ in range(20):
            await works(served)
        await asyncio.sleep(0.3)  # longer than any deadline of this server
        assert (await quiet.ask(b'hod":"echo","params":{"n":5}}\n'))["result"] == {"n": 5}


async def test_unfinished_frames_of_all_are_bounded_and_the_longest_goes(tmp_path: Path) -> None:
    async with serving(tmp_path, Recorder().table(), held_bytes=299_000) as served, contextlib.AsyncExitStack() as all_:
        honest = await all_.enter_async_context(served.connect())
        await honest.send(b'{"jsonrpc":"2.0","id":1,"met')
        greedy = [await all_.enter_async_context(served.connect()) for _ in range(5)]
        for number, peer in enumerate(greedy):
            await peer.send(b"x" * (60_000 + number))
            await works(served)
        answer = await greedy[4].answer()
        assert answer["error"]["data"]["code"] == "TOO_MUCH_UNFINISHED"
        assert (await honest.ask(b'hod":"echo","params":{"n":5}}\n'))["result"] == {"n": 5}
        await greedy[0].send(b"\n")
        assert (await greedy[0].answer())["error"]["code"] == NOT_JSON


async def test_a_reader_that_never_reads_is_cut_off_and_disturbs_nobody(tmp_path: Path) -> None:
    async with serving(tmp_path, Recorder().table(), stalled_s=0.4) as served:
        async with served.connect() as deaf:
            deaf.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a stream's transport reads
            request = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "large", "params": {"size": 50_000}}) + "\n"
            deaf.writer.write(request.encode() * 200)
            await until("it to be connected", lambda: served.server.connections == 1)
            await works(served)
            await until("it to be cut off", lambda: served.server.connections == 0)
        await works(served)


async def test_more_waiting_answers_than_the_limit_cut_the_peer_off(tmp_path: Path) -> None:
    methods = Recorder()
    async with serving(tmp_path, methods.table(), stalled_s=60.0, waiting_bytes=400_000) as served:
        async with served.connect() as deaf:
            deaf.writer.transport.pause_reading()  # type: ignore[attr-defined]
            for _ in range(3):
                await deaf.send_line({"jsonrpc": "2.0", "id": 1, "method": "wait"})
            await until("three calls", lambda: len(methods.open) == 3)
            for future in methods.open:
                future.set_result("x" * 1_000_000)
                await asyncio.sleep(0.01)
            await until("it to be cut off", lambda: served.server.connections == 0)
        await works(served)


async def test_a_slow_reader_gets_every_answer_and_is_not_read_from_meanwhile(tmp_path: Path) -> None:
    methods = Recorder()
    async with serving(tmp_path, methods.table(), stalled_s=30.0) as served, served.connect() as slow:
        count, size = 60, 40_000
        request = {"jsonrpc": "2.0", "method": "large", "params": {"size": size}}
        frames = [json.dumps({**request, "id": n}).encode() + b"\n" for n in range(count)]
        last = json.dumps({"jsonrpc": "2.0", "id": "last", "method": "echo", "params": {"n": "last"}}).encode() + b"\n"
        slow.writer.transport.pause_reading()  # type: ignore[attr-defined]
        slow.writer.write(b"".join(frames) + last)
        for _ in range(50):
            await works(served)
        assert "last" not in methods.calls  # its frames wait until it reads
        slow.writer.transport.resume_reading()  # type: ignore[attr-defined]
        assert [len((await slow.answer())["result"]) for _ in range(count)] == [size] * count
        assert (await slow.answer())["id"] == "last"


async def test_requests_in_flight_are_bounded_and_the_rest_waits_in_order(tmp_path: Path) -> None:
    methods = Recorder()
    async with serving(tmp_path, methods.table(), in_flight=4) as served, served.connect() as peer:
        frames = [{"jsonrpc": "2.0", "id": n, "method": "wait", "params": {"n": n}} for n in range(10)]
        await peer.send(b"".join(json.dumps(frame).encode() + b"\n" for frame in frames))
        await until("four calls", lambda: len(methods.open) == 4)
        await works(served)
        assert methods.calls[:4] == [0, 1, 2, 3]
        assert len(methods.open) == 4
        for n in range(10):
            await until("the next call", lambda n=n: len(methods.open) > n)  # type: ignore[misc]
            methods.open[n].set_result(n)
        assert sorted([(await peer.answer())["id"] for _ in range(10)]) == list(range(10))


async def test_a_flood_of_small_frames_is_answered_whole_and_others_have_their_turn(tmp_path: Path) -> None:
    async with serving(tmp_path, Recorder().table(), turn_frames=16) as served, served.connect() as flood:
        flood.writer.write(b"\n" * 30_000)
        for _ in range(20):
            await works(served)
        for _ in range(30_000):
            assert (await flood.answer())["error"]["code"] == NOT_JSON
        flood.writer.write(b'{"jsonrpc":"2.0","method":"echo"}\n' * 10_000)
        assert await flood.result("echo", {"n": 3}) == {"n": 3}


async def test_waiting_answers_of_all_are_bounded_and_the_one_with_the_most_goes(tmp_path: Path) -> None:
    room = serving(tmp_path, Recorder().table(), stalled_s=60.0, waiting_of_all_bytes=1_500_000)
    async with room as served, contextlib.AsyncExitStack() as all_:
        deaf = [await all_.enter_async_context(served.connect()) for _ in range(4)]
        for peer in deaf:
            peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        for number, peer in enumerate(deaf):
            size = 900_000 if number == 1 else 600_000
            await peer.send_line({"jsonrpc": "2.0", "id": 1, "method": "large", "params": {"size": size}})
            await works(served)
        await until("one to go", lambda: served.server.connections == 3)
        for number in (0, 2, 3):
            deaf[number].writer.transport.resume_reading()  # type: ignore[attr-defined]
            assert len((await deaf[number].answer())["result"]) == 600_000
        await works(served)


@pytest.fixture
def _descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert allow_descriptors(4096) == 4096  # both ends of every connection are this process
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("count", [500, 1000])
@pytest.mark.usefixtures("_descriptors")
async def test_a_thousand_connections_at_once_are_served(tmp_path: Path, count: int) -> None:
    async with serving(tmp_path, Recorder().table()) as served, contextlib.AsyncExitStack() as all_:
        peers = [await all_.enter_async_context(served.connect()) for _ in range(count)]
        await until("all to be connected", lambda: served.server.connections == count)
        for number, peer in enumerate(peers):
            await peer.send_line({"jsonrpc": "2.0", "id": number, "method": "echo", "params": {"n": number}})
        answers = [await peer.answer() for peer in peers]
        assert [answer["result"]["n"] for answer in answers] == list(range(count))


async def test_too_many_connections_of_one_process_are_told_so(tmp_path: Path) -> None:
    async with serving(tmp_path, Recorder().table(), connections_of_one=2) as served:
        async with served.connect() as first, served.connect(), served.connect() as third:
            answer = await third.answer()
            assert answer["error"]["data"]["code"] == "TOO_MANY_CONNECTIONS"
            assert await third.rest() == b""
            assert await first.result("echo", {"n": 1}) == {"n": 1}
        await until("all to leave", lambda: served.server.connections == 0)
        await works(served)


async def test_running_out_of_descriptors_is_survived(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with serving(tmp_path, Recorder().table()) as served:
        waiting = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(20)]
        try:
            highest = max(sock.fileno() for sock in waiting)
            resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, hard))
            for sock in waiting:
                sock.connect(str(served.path))
            await asyncio.sleep(0.1)
            assert served.server.connections < 20
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            await until("those who waited to come in", lambda: served.server.connections == 20)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for sock in waiting:
                sock.close()
        await until("all to leave", lambda: served.server.connections == 0)
        async with peer_of(served.path) as peer:
            assert await peer.result("echo", {"n": 1}) == {"n": 1}
