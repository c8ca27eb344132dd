"""What the guide for payment applications shows is compiled and run as it stands there, against a running agent."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.agent_process import ROOT, AgentProcess, call
from tests.kit.contract_peer import MID, PROVIDER, TID

SOURCE = ROOT / "docs" / "examples" / "payment_app.c"
GUIDE = ROOT / "docs" / "payment-app.md"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("gcc")
    assert compiler is not None, "this test compiles the example in C: install gcc"
    program = tmp_path_factory.mktemp("c") / "payment_app"
    strict = ["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-O2"]
    subprocess.run([compiler, *strict, "-o", str(program), str(SOURCE)], check=True)
    return program


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[AgentProcess]:
    with AgentProcess(tmp_path) as agent:
        yield agent


def run(program: Path, path: Path, **changes: str) -> subprocess.CompletedProcess[str]:
    words = {"provider": PROVIDER, "mid": MID, "tid": TID, "batch": "000042", "stan": "000731", "amount": "12800"}
    words.update(changes)
    return subprocess.run(
        [str(program), str(path), *words.values(), "156"], capture_output=True, text=True, timeout=60, check=False
    )


def records(agent: AgentProcess) -> list[dict[str, object]]:
    items = call(agent.run / "control.sock", "transaction.list")["result"]["items"]
    return [item["record"] for item in items]


def test_the_example_in_c_records_durably_and_ends_its_lease(program: Path, agent: AgentProcess) -> None:
    done = run(program, agent.run / "payment.sock")
    assert (done.returncode, done.stdout, done.stderr) == (0, "durable, sequence 1\n", "")
    agent.kill()
    agent.start()
    (record,) = records(agent)
    assert (record["stan"], record["amount_minor"], record["state"]) == ("000731", 12800, "approved")
    assert re.fullmatch(
        r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", str(record["transaction_id"])
    )


def test_the_example_in_c_tells_a_final_refusal_from_one_to_be_tried_again(program: Path, agent: AgentProcess) -> None:
    path = agent.run / "payment.sock"
    assert (refused := run(program, path, stan="1")).returncode == 1
    assert refused.stdout == "refused for good: BAD_PARAMS\n"
    assert run(program, path, provider="acquirer a").returncode == 2
    assert run(program, path, amount="1e3").returncode == 2
    agent.stop()
    silent = run(program, path)
    assert (silent.returncode, silent.stdout) == (3, "not acknowledged: keep the record and send it again\n")


def test_the_example_in_c_never_hangs_at_a_silent_socket(program: Path, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(tmp_path / "silent.sock"))
        listener.listen(8)
        assert run(program, tmp_path / "silent.sock").returncode == 3


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [("OPERATION_RUNNING", 4), ("TERMINAL_LOCKED", 4), ("NOT_AUTHORISED", 3), ("TOO_MANY_LEASES", 3)],
)
def test_the_example_in_c_stops_a_sale_for_two_answers_only(
    program: Path, tmp_path: Path, code: str, exit_code: int
) -> None:
    answer = '{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"no","data":{"code":"%s","retry_after_s":5}}}\n'
    serve = (
        "import socket, sys\n"
        "s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(8); print('up', flush=True)\n"
        "c, _ = s.accept()\n"
        "while c.recv(65536): c.sendall(sys.argv[2].encode())\n"
    )
    path = tmp_path / "refusing.sock"
    server = subprocess.Popen([sys.executable, "-c", serve, str(path), answer % code], stdout=subprocess.PIPE)
    try:
        assert server.stdout is not None
        server.stdout.readline()
        assert run(program, path).returncode == exit_code
    finally:
        server.kill()
        server.communicate()


@pytest.mark.parametrize("answer", ["", "{}\n", "HTTP/1.1 400\r\n\r\n", '{"error":{"code":-32700}}\n', "x" * 70_000])
def test_the_example_in_c_takes_what_is_no_agent_for_silence(program: Path, tmp_path: Path, answer: str) -> None:
    serve = (
        "import socket, sys\n"
        "s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(8); print('up', flush=True)\n"
        "while True:\n"
        "    c, _ = s.accept(); c.recv(65536)\n"
        "    try: c.sendall(sys.argv[2].encode())\n"
        "    except OSError: pass\n"
        "    c.close()\n"
    )
    path = tmp_path / "odd.sock"
    server = subprocess.Popen([sys.executable, "-c", serve, str(path), answer], stdout=subprocess.PIPE)
    try:
        assert server.stdout is not None
        server.stdout.readline()
        assert run(program, path).returncode == 3
    finally:
        server.kill()
        server.communicate()


def test_the_example_in_python_runs_as_it_stands_in_the_guide(agent: AgentProcess, tmp_path: Path) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    program = program.replace("/run/pos-agent/payment.sock", str(agent.run / "payment.sock"))
    program = program.replace("/var/lib/shop/records", str(tmp_path / "spool"))
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == "Recorded(sequence=1, duplicate=False)\n"
    agent.stop()
    again = program.replace("000731", "000732")
    done = subprocess.run(
        [sys.executable, "-c", again],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == "kept on disk\n"
    assert b"000732" in (tmp_path / "spool").read_bytes()
