"""posctl against the real agent: each verb over its control socket, and signed orders through a real broker."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.ctl.__main__ import main
from agent.runtime.identifiers import uuid7
from tests.kit.agent_process import AgentProcess
from tests.kit.broker import Broker

SITE, TERMINAL = "shop-1", "T-0001"


class Bench:
    """A broker, an agent that trusts `key`, and posctl."""

    def __init__(self, folder: Path, broker: Broker) -> None:
        self.folder = folder
        self.broker = broker
        self.key = self.new_key("li-wei", "root,support,operator")
        policy = folder / "etc" / "policy.json"
        policy.parent.mkdir()
        assert main(["fleet", "keys", "policy", "--out", str(policy), "--keys", str(self.key)]) == 0
        self.agent = AgentProcess(folder, {"uplink": {"host": "127.0.0.1", "port": broker.port, "tls": False}})
        self.socket = folder / "run" / "control.sock"

    def new_key(self, person: str, roles: str) -> Path:
        words = ["--out", str(self.folder), "--person", person, "--organisation", "acquirer-a", "--roles", roles]
        assert main(["fleet", "keys", "new", *words]) == 0
        return self.folder / f"{person}.key.json"

    def ask(self, *words: str) -> int:
        return main([*words, "--socket", str(self.socket)])

    def send(self, *words: str, key: Path | None = None, terminal: str = TERMINAL) -> int:
        where = ["--broker", f"127.0.0.1:{self.broker.port}", "--site", SITE, "--terminal", terminal]
        return main(["fleet", "send", *where, "--key", str(key or self.key), *words])

    def record(self, transaction_id: str, state: str) -> dict[str, Any]:
        """One record over payment.sock; its answer."""
        record = {
            "transaction_id": transaction_id,
            "state": state,
            "type": "sale",
            "provider": "acquirer-a",
            "mid": "104110058120001",
            "tid": "00010001",
            "amount_minor": 12345,
            "currency": "156",
            "stan": "000731",
            "batch_no": "000002",
            "local_at": "2026-11-21T10:00:00+08:00",
        }
        request = {"jsonrpc": "2.0", "id": 1, "method": "transaction.record", "params": record}
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(20)
            connection.connect(str(self.folder / "run" / "payment.sock"))
            connection.sendall(json.dumps(request).encode() + b"\n")
            with connection.makefile("rb") as lines:
                answer: dict[str, Any] = json.loads(lines.readline())
        return answer


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("bench")
    with Broker(folder) as broker:
        bench = Bench(folder, broker)
        try:
            bench.agent.start()
            deadline_s = time.monotonic() + 30
            while bench.ask("status") != 0 or not _connected(broker):
                assert time.monotonic() < deadline_s, bench.agent.log_file.read_text()
                time.sleep(0.05)
            yield bench
        finally:
            bench.agent.close()


def _connected(broker: Broker) -> bool:
    return broker.sessions(TERMINAL) > 0


def said(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_status_health_and_ready_speak_of_this_terminal(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert bench.ask("status") == 0
    text = capsys.readouterr().out
    assert f"{TERMINAL} at site {SITE}, serial SN123" in text
    assert "development mode" in text
    assert bench.ask("status", "--json") == 0
    assert said(capsys)["info"]["terminal"]["terminal"] == TERMINAL
    assert bench.ask("health", "--json") == 0
    assert set(said(capsys)) == {"devices", "faults", "at"}
    code = bench.ask("ready", "--json")
    assert code == (0 if said(capsys)["ready"] else 1)


def test_a_transaction_is_listed_shown_summed_up_and_verified(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    transaction_id = uuid7()
    for state in ("sent", "approved"):
        assert "result" in bench.record(transaction_id, state)
    capsys.readouterr()
    assert bench.ask("txn", "list", "--limit", "1", "--json") == 0
    newest = said(capsys)["items"]
    assert [(one["record"]["transaction_id"], one["record"]["state"]) for one in newest] == [
        (transaction_id, "approved")
    ]
    for which in (transaction_id, "000731"):
        assert bench.ask("txn", "show", which) == 0
        assert "sale  123.45 CNY  approved" in capsys.readouterr().out
    assert bench.ask("txn", "summary") == 0
    assert "123.45 CNY" in capsys.readouterr().out
    assert bench.ask("journal", "verify") == 0
    assert capsys.readouterr().out.startswith("INTACT")
    assert bench.ask("txn", "show", uuid7()) == 1
    assert bench.ask("txn", "show", "no-uuid") == 2


def test_an_order_at_the_terminal_is_carried_out_and_recorded(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    command_id = uuid7()
    capsys.readouterr()
    words = ["command", "run", "ping", "--command-id", command_id, "--reason", "ticket 4711", "--wait", "20", "--json"]
    for _ in range(2):  # the same id is the same order
        assert bench.ask(*words) == 0
        state = said(capsys)
        assert (state["command_id"], state["state"]) == (command_id, "succeeded")
    assert bench.ask("command", "show", command_id) == 0
    assert "succeeded" in capsys.readouterr().out
    assert bench.ask("command", "list", "--json") == 0
    assert command_id in [one["command_id"] for one in said(capsys)["items"]]
    assert bench.ask("command", "show", uuid7()) == 1


def test_an_order_that_the_terminal_does_not_take_exits_4(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["nonsense"], ["check_device", "device=nobody", "level=internal"], ["ping", "extra=1"]):
        assert bench.ask("command", "run", *words, "--wait", "20") == 4, words


def test_a_signed_order_comes_back_succeeded_and_once(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    command_id = uuid7()
    for _ in range(2):
        assert bench.send("ping", "--command-id", command_id, "--wait", "20s") == 0
    capsys.readouterr()
    assert bench.ask("command", "show", command_id, "--json") == 0
    assert said(capsys)["state"] == "succeeded"


def test_a_signed_order_can_be_carried_in_by_hand(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert bench.send("ping", "--print") == 0
    file = bench.folder / "order.json"
    file.write_text(capsys.readouterr().out)
    assert bench.ask("command", "run", "--envelope", str(file), "--wait", "20") == 0


def test_a_stranger_is_met_with_silence_and_a_person_without_the_role_with_refusal(bench: Bench) -> None:
    stranger = bench.new_key("mallory", "support")
    assert bench.send("ping", "--wait", "1s", key=stranger) == 1
    assert bench.send("lock", "reason=x", "--wait", "20s") == 4  # needs the role security


def test_watching_shows_the_terminals_own_truth(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    where = ["--broker", f"127.0.0.1:{bench.broker.port}", "--site", SITE]
    assert main(["fleet", "watch", *where, "--for", "1.5", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    below = {line["topic"].removeprefix(f"pos/v1/{SITE}/{TERMINAL}/"): line["payload"] for line in lines}
    assert below["agent/status"]["online"] is True
    assert {"agent/birth", "agent/readiness", "agent/faults"} <= set(below)
    assert main(["fleet", "watch", *where, "--for", "1.5"]) == 0
    text = capsys.readouterr().out
    assert "not of a form" not in text
    assert f"{TERMINAL}  status  online" in text
