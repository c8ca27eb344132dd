"""The socket files: whose they are, what they replace, what is left behind; and an orderly stop."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
import sys
from pathlib import Path

import pytest

from agent.errors import NeedsPerson
from agent.local_api import listening
from tests.kit.rpc_peer import WAIT_S, peer_of, serving, until
from tests.units.local_api.methods_for_tests import Recorder


def mode(path: Path) -> tuple[int, int]:
    facts = path.stat()
    return stat.S_IMODE(facts.st_mode), facts.st_gid


def test_without_the_group_the_socket_is_private(tmp_path: Path) -> None:
    listener = listening.make(tmp_path / "p.sock", None)
    with listener.socket:
        assert mode(listener.path)[0] == 0o600
        assert listener.private


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to any group")
def test_with_the_group_the_socket_is_the_groups(tmp_path: Path) -> None:
    listener = listening.make(tmp_path / "p.sock", 4711)
    with listener.socket:
        assert mode(listener.path) == (0o660, 4711)
        assert not listener.private


def test_a_dead_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "p.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(path))
    listener = listening.make(path, None)
    with listener.socket, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
        peer.connect(str(path))


def test_a_live_socket_and_a_file_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "p.sock"
    with listening.make(path, None).socket:
        with pytest.raises(NeedsPerson, match="another process listens") as caught:
            listening.make(path, None)
        assert caught.value.hint
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
            peer.connect(str(path))
    (tmp_path / "file").write_text("precious")
    with pytest.raises(NeedsPerson, match="is no socket"):
        listening.make(tmp_path / "file", None)
    assert (tmp_path / "file").read_text() == "precious"


def test_a_path_that_cannot_be_is_said_plainly(tmp_path: Path) -> None:
    with pytest.raises(NeedsPerson, match="too long for a socket"):
        listening.make(tmp_path / ("x" * 100) / "p.sock", None)
    (tmp_path / "file").touch()
    with pytest.raises(NeedsPerson, match="cannot listen"):
        listening.make(tmp_path / "file" / "p.sock", None)


ACTIVATED = """
import asyncio, json, os, sys
from agent.local_api.limits import PAYMENT_LIMITS
from agent.local_api.listening import inherited_sockets
from agent.local_api.server import PAYMENT_RIGHTS, Door, LocalServer, Method
from pathlib import Path

os.environ["LISTEN_PID"] = str(os.getpid())  # as systemd sets it after its fork
given = inherited_sockets(os.environ, os.getpid())
assert sorted(given) == ["control", "payment"], given
given["control"].close()
door = Door("payment", Path("/nowhere/p.sock"), "payment", PAYMENT_RIGHTS, given["payment"])
method = Method(lambda params, caller: "activated", "payment")
server = LocalServer(door, {"who": method}, PAYMENT_LIMITS, groups={}, on_card_data=print)

async def main():
    task = asyncio.create_task(server.run())
    await asyncio.to_thread(sys.stdin.read)
    task.cancel()
    await asyncio.wait([task])

asyncio.run(main())
"""


async def test_sockets_of_systemd_are_taken_by_name_and_never_unlinked(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("other.sock", "control.sock", "payment.sock")]
    sockets = []
    for path in paths:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.bind(str(path))
        sock.listen()
        sockets.append(sock)
    handed = {3 + index: sock.fileno() for index, sock in enumerate(sockets)}
    shell = " ".join(f"{target}<&{source}" for target, source in handed.items())
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", f'exec "$0" -c "$1" {shell}', sys.executable, ACTIVATED),
        env={**os.environ, "LISTEN_FDS": "3", "LISTEN_FDNAMES": "other:control:payment"},
        pass_fds=list(handed.values()),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        async with peer_of(paths[2]) as peer:
            assert await peer.result("who") == "activated"
        async with asyncio.timeout(WAIT_S):
            await process.communicate(b"")
        assert process.returncode == 0
        assert all(path.is_socket() for path in paths)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as again:
            again.connect(str(paths[2]))  # systemd's end still listens, for the next start
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        for sock in sockets:
            sock.close()


def test_sockets_meant_for_another_process_are_not_taken() -> None:
    for environ in ({}, {"LISTEN_PID": "1", "LISTEN_FDS": "2"}, {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "x"}):
        assert listening.inherited_sockets(environ, os.getpid()) == {}


async def test_a_stop_answers_what_is_under_way_and_removes_the_socket(tmp_path: Path) -> None:
    methods = Recorder()
    async with serving(tmp_path, methods.table()) as served, served.connect() as peer, served.connect() as idle:
        for n in range(3):
            await peer.send_line({"jsonrpc": "2.0", "id": n, "method": "wait"})
        await until("three calls", lambda: len(methods.open) == 3)
        served.task.cancel()
        assert await idle.rest() == b""
        assert not served.path.exists()
        await peer.send(b'{"jsonrpc":"2.0","id":9,"method":"echo","params":{"n":9}}\n')
        for future in methods.open:
            future.set_result("durable")
        lines = (await peer.rest()).splitlines()
        assert [json.loads(line)["result"] for line in lines] == ["durable"] * 3
        await until("the end", served.task.done)
        assert methods.calls.count(9) == 0


async def test_a_stop_waits_for_a_slow_reader_but_not_for_ever(tmp_path: Path) -> None:
    server = serving(tmp_path, Recorder().table(), stop_grace_s=0.3)
    async with server as served, served.connect() as deaf, served.connect() as slow:
        deaf.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await deaf.send_line({"jsonrpc": "2.0", "id": 1, "method": "large", "params": {"size": 2_000_000}})
        await slow.send_line({"jsonrpc": "2.0", "id": 1, "method": "large", "params": {"size": 2_000_000}})
        await until("both", lambda: served.server.connections == 2)
        await asyncio.sleep(0.01)
        served.task.cancel()
        assert len(await slow.rest()) > 2_000_000
        await until("the end", served.task.done)


async def test_what_a_peer_sent_before_it_closed_its_end_is_still_answered(tmp_path: Path) -> None:
    async with serving(tmp_path, Recorder().table(), in_flight=2) as served, served.connect() as peer:
        frame = b'{"jsonrpc":"2.0","id":1,"method":"echo","params":{"n":1}}\n'
        await peer.send(frame * 500 + b'{"half')
        peer.writer.write_eof()
        assert (await peer.rest()).count(b'"result"') == 500
