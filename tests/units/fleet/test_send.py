"""`posctl fleet send` through a real broker to terminals that check the signature themselves."""

from __future__ import annotations

import itertools
import json
import socket
from pathlib import Path
from typing import Any

import pytest

from agent.ctl.__main__ import main
from agent.runtime.identifiers import uuid7
from tests.kit.broker import free_port
from tests.units.fleet.fake_terminal import COMMAND_TYPE, FakeTerminal, open_envelope, public_keys

_numbers = itertools.count(1)


@pytest.fixture
def name() -> str:
    """A terminal of its own for each test: retained messages of another never disturb it."""
    return f"T-{next(_numbers):04}"


def send(port: int, key: Path, terminal: str, *words: str) -> int:
    where = ["--broker", f"127.0.0.1:{port}", "--site", "S-01", "--terminal", terminal, "--key", str(key)]
    return main(["fleet", "send", *where, *words])


def test_an_order_arrives_signed_and_is_seen_to_its_end(
    broker_port: int, key: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["check_device", "device=printer-0", "--wait", "20s", "level=internal", "--reason", "ticket 4711"]
    with FakeTerminal(broker_port, name, public_keys([key])) as terminal:
        assert send(broker_port, key, name, *words, "--serial", "SN123", "--window", "02:00-05:00") == 0
    order = terminal.orders[0]
    assert order["target"] == {"terminal": name, "serial": "SN123"}
    assert order["arguments"] == {"device": "printer-0", "level": "internal"}
    assert (order["name"], order["reason"]) == ("check_device", "ticket 4711")
    assert order["window"] == {"from": "02:00", "to": "05:00"}
    assert terminal.was_retained == [False]
    assert terminal.qos == [1]
    out = capsys.readouterr().out
    for said in ("accepted", "running", "succeeded"):
        assert f"{name}: {said}" in out
    assert out.splitlines()[-1].split() == [name, "succeeded"]


def test_without_waiting_it_is_enough_that_the_broker_has_it(
    broker_port: int, key: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert send(broker_port, key, name, "ping", "--json") == 0
    sent = json.loads(capsys.readouterr().out)
    assert sent["sent"] == [name]


def test_a_key_the_terminal_does_not_know_is_met_with_silence(
    broker_port: int, key: Path, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--out", str(tmp_path), "--person", "mallory", "--organisation", "m", "--roles", "operator"]
    assert main(["fleet", "keys", "new", *words]) == 0
    with FakeTerminal(broker_port, name, public_keys([key])) as terminal:
        assert send(broker_port, tmp_path / "mallory.key.json", name, "ping", "--wait", "1s") == 1
    assert terminal.orders == []
    assert terminal.unsigned == 1
    captured = capsys.readouterr()
    assert "no answer" in captured.out
    assert "fleet watch" in captured.err


def test_two_people_sign_one_order(broker_port: int, key: Path, name: str, tmp_path: Path) -> None:
    words = ["--out", str(tmp_path), "--person", "ana", "--organisation", "b", "--roles", "operator"]
    assert main(["fleet", "keys", "new", *words]) == 0
    second = tmp_path / "ana.key.json"
    both = public_keys([key, second])
    with FakeTerminal(broker_port, name, both) as terminal:
        assert send(broker_port, key, name, "--key", str(second), "ping", "--wait", "20s") == 0
    assert open_envelope(terminal.envelopes[0], both, COMMAND_TYPE)[1] == 2


@pytest.mark.parametrize("ending", [("rejected", 4), ("failed", 1), ("expired", 1), ("rolled_back", 1)])
def test_the_exit_code_tells_how_it_ended(
    ending: tuple[str, int], broker_port: int, key: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    reason = {"code": "DEVICE_UNKNOWN", "text": "no such device\x1b[2J"}
    final, code = ending
    answers: list[dict[str, Any]] = [{"state": "accepted"}, {"state": final, "reason": reason}]
    with FakeTerminal(broker_port, name, public_keys([key]), answers=answers):
        assert send(broker_port, key, name, "ping", "--wait", "20s") == code
    out = capsys.readouterr().out
    assert "DEVICE_UNKNOWN" in out
    assert "\x1b" not in out  # a terminal's text steers nobody's screen


def test_only_success_on_every_terminal_is_success(
    broker_port: int, key: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = public_keys([key])
    with FakeTerminal(broker_port, "T-A", keys), FakeTerminal(broker_port, "T-B", keys) as second:
        assert send(broker_port, key, "T-A", "--terminal", "T-B", "ping", "--wait", "20s") == 0
        assert second.orders[0]["target"] == {"terminal": "T-B"}
        words = ["--terminal", "T-B", "--terminal", "T-SILENT", "ping", "--wait", "1s", "--json"]
        capsys.readouterr()
        assert send(broker_port, key, "T-A", *words) == 1
    shown = json.loads(capsys.readouterr().out)
    assert shown["outcome"] == "failed"
    states = {one["terminal"]: one["state"] and one["state"]["state"] for one in shown["terminals"]}
    assert states == {"T-A": "succeeded", "T-B": "succeeded", "T-SILENT": None}


def test_the_same_id_sends_the_very_same_order(broker_port: int, key: Path, name: str) -> None:
    command_id = uuid7()
    with FakeTerminal(broker_port, name, public_keys([key])) as terminal:
        for _ in range(2):
            assert send(broker_port, key, name, "ping", "--command-id", command_id, "--wait", "20s") == 0
    assert terminal.orders[0]["command_id"] == command_id
    assert len(set(terminal.envelopes)) == 1


def test_an_order_to_a_whole_site_gathers_whoever_answers(
    broker_port: int, key: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = public_keys([key])
    with FakeTerminal(broker_port, "T-C", keys, site="S-02"), FakeTerminal(broker_port, "T-D", keys, site="S-02"):
        where = ["--broker", f"127.0.0.1:{broker_port}", "--site", "S-02", "--terminal", "_all", "--key", str(key)]
        assert main(["fleet", "send", *where, "ping", "--wait", "2s"]) == 0
    out = capsys.readouterr().out
    assert "T-C: succeeded" in out
    assert "T-D: succeeded" in out


def test_a_printed_order_is_good_and_nothing_was_sent(key: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert send(free_port(), key, "T-1", "--terminal", "T-2", "ping", "--print") == 0
    orders = [
        open_envelope(line.encode(), public_keys([key]), COMMAND_TYPE) for line in capsys.readouterr().out.splitlines()
    ]
    assert [(order["target"]["terminal"], good) for order, good in orders] == [("T-1", 1), ("T-2", 1)]


def test_rubbish_on_the_answers_topic_is_passed_over(broker_port: int, key: Path, name: str) -> None:
    command_id = uuid7()
    rubbish = {f"agent/op/ping/{command_id}": b"\xff not json"}
    with FakeTerminal(broker_port, name, public_keys([key]), retained=rubbish):
        assert send(broker_port, key, name, "ping", "--command-id", command_id, "--wait", "20s") == 0


def test_no_broker_exits_3(key: Path, capsys: pytest.CaptureFixture[str]) -> None:
    port = free_port()
    assert send(port, key, "T-1", "ping") == 3
    assert f"127.0.0.1:{port}" in capsys.readouterr().err


def test_a_broker_that_never_answers_exits_3(key: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        assert send(silent.getsockname()[1], key, "T-1", "ping", "--connect-timeout", "0.5") == 3


@pytest.mark.parametrize(
    "words",
    [
        ["ping", "--terminal", "T/1"],
        ["ping", "--terminal", "+"],
        ["ping", "--terminal", "_all"],
        ["ping", "--terminal", "T-2", "--serial", "SN1"],
        ["ping", "--expires", "31d"],
        ["ping", "--expires", "soon"],
        ["ping", "--command-id", "cmd-1"],
        ["ping", "--window", "morning"],
        ["ping", "level"],
        ["Ping"],
        ["ping", "--key", "/nonexistent"],
        ["ping", "--wait", "0s"],
    ],
    ids=" ".join,
)
def test_wrong_use_exits_2_and_sends_nothing(words: list[str], key: Path) -> None:
    assert send(free_port(), key, "T-1", *words) == 2


def test_a_port_that_is_none_is_wrong_use(key: Path) -> None:
    for broker in ("localhost", "localhost:0", "localhost:99999", ":1883"):
        where = ["--broker", broker, "--site", "S-01", "--terminal", "T-1", "--key", str(key)]
        assert main(["fleet", "send", *where, "ping"]) == 2
