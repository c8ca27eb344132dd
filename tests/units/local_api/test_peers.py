"""Who may talk: by the kernel's word, with real processes of other users."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.local_api import peer
from agent.local_api.peer import ADMIN, ALL_RIGHTS, PAYMENT, SUPPORT, rights_of
from agent.local_api.server import CONTROL_RIGHTS
from tests.kit.rpc_peer import Served, serving, until
from tests.units.local_api.methods_for_tests import Recorder

NOBODY = 65534
GROUPS = {PAYMENT: 700, SUPPORT: 701, ADMIN: 702}
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


@pytest.mark.parametrize(
    ("uid", "gids", "groups", "private_to", "expected"),
    [
        (1000, {1000}, GROUPS, None, set()),
        (1000, {700}, GROUPS, None, {PAYMENT}),
        (1000, {701}, GROUPS, None, {SUPPORT}),
        (1000, {702}, GROUPS, None, {SUPPORT, ADMIN}),
        (1000, {700, 701, 702}, GROUPS, None, ALL_RIGHTS),
        (0, {0}, GROUPS, None, ALL_RIGHTS),
        (1000, {700}, {}, None, set()),
        (1000, {1000}, {}, 1000, ALL_RIGHTS),
        (1001, {1000}, {}, 1000, set()),
        (1001, {700}, {PAYMENT: 700}, 1000, {PAYMENT}),
    ],
)
def test_rights_come_from_groups_root_and_the_owner_of_a_private_socket(
    uid: int, gids: set[int], groups: dict[str, int], private_to: int | None, expected: set[str]
) -> None:
    assert rights_of(uid, gids, groups, private_to) == expected


def test_the_kernel_tells_all_groups() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        who = peer.credentials(ours)
    assert (who.pid, who.uid) == (os.getpid(), os.geteuid())
    assert who.gids == {os.getegid(), *os.getgroups()}


def in_another_process(uid: int, gid: int, groups: list[int], work: Callable[[], str]) -> Callable[[], str]:
    """Start ``work`` in a forked child with other credentials; what is returned waits for its answer."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(reading)
            os.setgroups(groups)
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
            os.write(writing, work().encode())
        except BaseException:
            os.write(writing, traceback.format_exc().encode())
        finally:
            os._exit(0)
    os.close(writing)

    def answer() -> str:
        with os.fdopen(reading, "rb") as pipe:
            received = pipe.read().decode()
        os.waitpid(child, 0)
        return received

    return answer


def call(path: Path, method: str) -> Callable[[], str]:
    """What a small blocking program would do; every line it receives until the end."""

    def work() -> str:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(20)
            sock.connect(str(path))
            request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {"n": 1}}
            sock.sendall(json.dumps(request).encode() + b"\n")
            received = sock.recv(65536)
            if b'"id":null' in received:  # refused at the door
                while part := sock.recv(65536):
                    received += part
            return received.decode()

    return work


async def asked_by(served: Served, uid: int, groups: list[int], method: str = "echo") -> dict[str, object]:
    served.path.chmod(0o666)  # whoever gets past the file is still judged
    for folder in [served.path.parent, *served.path.parent.parents][:3]:
        folder.chmod(0o755)
    waiting = in_another_process(uid, uid, groups, call(served.path, method))
    answer: dict[str, object] = json.loads(await asyncio.to_thread(waiting))
    return answer


@as_root
async def test_another_user_is_told_why_and_closed(tmp_path: Path) -> None:
    methods = Recorder()
    async with serving(tmp_path, methods.table(), groups=GROUPS) as served:
        answer = await asked_by(served, NOBODY, [])
        assert answer["id"] is None
        assert answer["error"] == {
            "code": -32000,
            "message": "this socket is for members of pos-payment",
            "data": {"code": "NOT_AUTHORISED", "hint": "join the group pos-payment"},
        }
        assert methods.calls == []
        await until("it to be gone", lambda: served.server.connections == 0)


@as_root
async def test_a_member_of_the_group_is_served_and_known(tmp_path: Path) -> None:
    methods = Recorder()
    async with serving(tmp_path, methods.table(), groups=GROUPS) as served:
        assert await asked_by(served, NOBODY, [GROUPS[PAYMENT]]) == {"jsonrpc": "2.0", "id": 1, "result": {"n": 1}}
        (caller,) = methods.callers
        assert (caller.uid, caller.rights) == (NOBODY, frozenset({PAYMENT}))
        assert caller.pid not in (0, os.getpid())


@as_root
async def test_support_reads_and_only_admin_does_what_admin_may(tmp_path: Path) -> None:
    served_ = serving(tmp_path, Recorder().table(SUPPORT), groups=GROUPS, rights=CONTROL_RIGHTS, right=SUPPORT)
    async with served_ as served:
        for groups, method, allowed in (
            ([GROUPS[SUPPORT]], "echo", True),
            ([GROUPS[SUPPORT]], "admin.only", False),
            ([GROUPS[ADMIN]], "admin.only", True),
            ([GROUPS[ADMIN]], "echo", True),
            ([GROUPS[PAYMENT]], "echo", False),
        ):
            answer = await asked_by(served, NOBODY, groups, method)
            assert ("result" in answer) is allowed, (groups, method, answer)
            if not allowed:
                assert answer["error"]["data"]["code"] == "NOT_AUTHORISED"  # type: ignore[index]
