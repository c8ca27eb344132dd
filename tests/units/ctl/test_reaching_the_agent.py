"""posctl and a socket that is missing, forbidden, silent, broken or not the agent's: which exit code, which advice."""

from __future__ import annotations

import json
import os
import pty
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.ctl.__main__ import main
from agent.ctl.client import ControlClient
from agent.errors import Refused
from tests.kit.control_stub import ControlStub, RawAnswer, Silence
from tests.units.ctl.answers_for_tests import COMMAND_ID, NOT_READY, READY, operation

NOBODY = 65534


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ControlStub]:
    with ControlStub(tmp_path / "control.sock") as server:
        monkeypatch.setenv("POS_AGENT_CONTROL_SOCKET", str(server.path))
        yield server


def test_no_socket_exits_3_and_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ready", "--socket", str(tmp_path / "none.sock"), "--json"]) == 3
    captured = capsys.readouterr()
    assert "systemctl status pos-agent" in captured.err
    assert json.loads(captured.out)["error"]["code"] == "AGENT_UNREACHABLE"


def test_a_socket_without_a_listener_exits_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(path))
    assert main(["ready", "--socket", str(path)]) == 3
    assert "nobody listens" in capsys.readouterr().err


def test_an_impossible_path_is_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ready", "--socket", "/tmp/" + "x" * 200]) == 2
    assert "too long" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user to be refused")
def test_a_forbidden_socket_names_the_group_that_may(stub: ControlStub, tmp_path: Path) -> None:
    stub.path.chmod(0o660)
    for folder in [tmp_path, *tmp_path.parents]:
        if folder.stat().st_uid == os.geteuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o011)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        try:
            ControlClient(stub.path).call("readiness.get")
        except Refused as err:
            os.write(writer, err.message.encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader) as said:
        assert "members of the group root" in said.read()


def test_a_forbidden_socket_exits_4(
    stub: ControlStub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stub.path.chmod(0o600)

    def refuse(_self: socket.socket, _address: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert main(["ready"]) == 4
    assert "pos-support" in capsys.readouterr().err


def test_a_silent_agent_is_given_up_after_the_deadline(stub: ControlStub, capsys: pytest.CaptureFixture[str]) -> None:
    stub.answers["readiness.get"] = Silence()
    began_s = time.monotonic()
    assert main(["ready", "--timeout", "0.2"]) == 3
    assert time.monotonic() - began_s < 5
    assert "no answer to readiness.get within 0.2 s" in capsys.readouterr().err.replace("\n        ", " ")


def test_an_answer_that_trickles_does_not_outlast_the_deadline(stub: ControlStub) -> None:
    stub.answers["readiness.get"] = RawAnswer(b'{"jsonrpc":')
    assert main(["ready", "--timeout", "0.2"]) == 3


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\n",
        b"[]\n",
        b"\n",
        b"\xff\xfe\n",
        b'{"jsonrpc":"2.0","id":99,"result":{}}\n',
        b'{"jsonrpc":"2.0","id":1}\n',
        b'{"jsonrpc":"2.0","id":1,"error":"no"}\n',
        b'{"jsonrpc":"2.0","id":1,"result":{"ready":"yes"}}\n',
        b'{"jsonrpc":"2.0","id":1,"result":null}\n',
        b"",
    ],
)
def test_rubbish_exits_3_and_never_a_traceback(
    answer: bytes, stub: ControlStub, capsys: pytest.CaptureFixture[str]
) -> None:
    stub.answers["readiness.get"] = RawAnswer(answer)
    assert main(["ready"]) == 3
    assert capsys.readouterr().err.startswith("posctl: ")


def test_an_answer_without_end_is_given_up(stub: ControlStub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.ctl.client.MAX_ANSWER_BYTES", 100_000)
    stub.answers["readiness.get"] = RawAnswer(b"x" * 200_000)
    assert main(["ready"]) == 3


def test_a_notification_before_the_answer_is_passed_over(stub: ControlStub) -> None:
    event = {"jsonrpc": "2.0", "method": "event", "params": {}}
    answer = {"jsonrpc": "2.0", "id": 1, "result": READY}
    stub.answers["readiness.get"] = RawAnswer(f"{json.dumps(event)}\n{json.dumps(answer)}\n".encode())
    assert main(["ready"]) == 0


def test_an_order_whose_answer_is_lost_tells_its_id_for_the_retry(
    stub: ControlStub, capsys: pytest.CaptureFixture[str]
) -> None:
    stub.answers["command.run"] = RawAnswer(b"")
    assert main(["command", "run", "ping"]) == 3
    assert f"--command-id {stub.asked('command.run')[0]['command_id']}" in capsys.readouterr().err


def test_waiting_outlives_a_restart_of_the_agent(stub: ControlStub, capsys: pytest.CaptureFixture[str]) -> None:
    replies = iter([RawAnswer(b""), operation("succeeded", 3)])
    stub.answers["command.run"] = operation("running", 2)
    stub.answers["command.get"] = lambda _params: next(replies)
    assert main(["command", "run", "ping", "--wait", "20"]) == 0
    assert "still waiting" in capsys.readouterr().err
    assert stub.asked("command.get") == [{"command_id": COMMAND_ID}] * 2


def posctl(*words: str) -> list[str]:
    return [sys.executable, "-m", "agent.ctl", *words]


@pytest.mark.parametrize(("no_colour", "coloured"), [(None, True), ("1", False)])
def test_colour_is_for_a_terminal_that_nobody_forbade_it(
    no_colour: str | None, coloured: bool, stub: ControlStub
) -> None:
    stub.answers["readiness.get"] = NOT_READY
    ours, theirs = pty.openpty()
    environ = {**os.environ, "TERM": "xterm", **({"NO_COLOR": no_colour} if no_colour else {})}
    if not no_colour:
        environ.pop("NO_COLOR", None)
    try:
        assert subprocess.run(posctl("ready"), stdout=theirs, env=environ, timeout=60).returncode == 1
        assert (b"\x1b[31mNOT READY" in os.read(ours, 4096)) is coloured
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_reader_that_goes_away_is_no_failure(stub: ControlStub) -> None:
    stub.answers["readiness.get"] = READY
    process = subprocess.Popen(posctl("ready", "--timeout", "30"), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stdout, process.stderr:
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 0


def test_a_locale_without_utf_8_is_no_failure(stub: ControlStub) -> None:
    stub.answers["readiness.get"] = {"ready": False, "reasons": [{"code": "HW-PRN-002", "text": "缺纸"}]}
    environ = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(posctl("ready"), capture_output=True, env=environ, timeout=60)
    assert done.returncode == 1
    assert b"HW-PRN-002" in done.stdout


def test_the_verbs_of_the_socket_import_nothing_heavy() -> None:
    heavy = "asyncio aiomqtt paho nacl structlog sqlite3 ssl email http rich click agent.fleet agent.uplink agent.trust"
    code = f"""
import sys
from agent.ctl.__main__ import main
main(["status", "--socket", "/nonexistent"]); main(["command", "run", "ping", "--socket", "/nonexistent"])
print(*[name for name in {heavy.split()!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == ""
