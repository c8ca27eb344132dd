"""`posctl fleet watch` on a real broker: what is retained first, then what comes, for people or as NDJSON."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import IO

from tests.kit.broker import Broker, free_port
from tests.units.fleet.fake_terminal import FakeTerminal

STATUS = {"online": True, "conn": 7, "boot_id": "b", "journal_id": "j", "at": "2026-11-21T02:00:00Z"}
RETAINED = {
    "agent/status": STATUS,
    "agent/readiness": {"ready": True, "reasons": [], "at": "2026-11-21T02:00:00Z"},
    "dev/printer-0/health": {"device": "printer-0", "category": "pos_printer", "state": "ok"},
}


@contextmanager
def watching(port: int, site: str, *words: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-u", "-m", "agent.ctl", "fleet", "watch", "--broker", f"127.0.0.1:{port}"]
    process = subprocess.Popen(
        [*command, "--site", site, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=20)


def out(process: subprocess.Popen[str]) -> IO[str]:
    assert process.stdout is not None
    return process.stdout


def read_until(process: subprocess.Popen[str], wanted: str) -> list[str]:
    """Lines up to the one that holds ``wanted``; the whole test has pytest's deadline."""
    lines = []
    for line in out(process):
        lines.append(line.rstrip("\n"))
        if wanted in line:
            return lines
    raise AssertionError(f"{wanted!r} never came: {lines}")


def test_retained_truth_comes_first_then_what_happens_until_ctrl_c(broker_port: int) -> None:
    with (
        FakeTerminal(broker_port, "T-1", [], site="S-11", retained=RETAINED) as terminal,
        watching(broker_port, "S-11") as process,
    ):
        lines = [out(process).readline() for _ in RETAINED]
        assert all(line.startswith("retained  T-1  ") for line in lines)
        assert any("online (connection 7)" in line for line in lines)
        terminal.publish("agent/faults", {"faults": [{"code": "HW-PRN-002", "device": "printer-0"}]}, retain=True)
        assert read_until(process, "HW-PRN-002")[-1].split()[1:] == ["T-1", "faults", "HW-PRN-002", "printer-0"]
        terminal.publish("agent/m/host", {"cpu_pct": 3})  # figures are not shown
        terminal.publish("agent/status", b"\x00rubbish")
        assert len(read_until(process, "not of a form")) == 1
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()


def test_json_is_one_document_a_line_and_the_time_given_ends_it(broker_port: int) -> None:
    with (
        FakeTerminal(broker_port, "T-1", [], site="S-12", retained=RETAINED),
        watching(broker_port, "S-12", "--json", "--for", "1.5") as process,
    ):
        text, _errors = process.communicate(timeout=60)
        assert process.returncode == 0
    lines = [json.loads(line) for line in text.splitlines()]
    assert {line["topic"] for line in lines} == {f"pos/v1/S-12/T-1/{below}" for below in RETAINED}
    assert all(line["retained"] for line in lines)
    assert STATUS in [line["payload"] for line in lines]


def test_only_the_terminals_asked_for_are_shown(broker_port: int) -> None:
    with (
        FakeTerminal(broker_port, "T-1", [], site="S-13", retained=RETAINED),
        FakeTerminal(broker_port, "T-2", [], site="S-13", retained=RETAINED),
        watching(broker_port, "S-13", "--terminal", "T-2", "--for", "1.5") as process,
    ):
        text, _errors = process.communicate(timeout=60)
    assert " T-2 " in text
    assert " T-1 " not in text


def test_watching_without_a_broker_exits_3() -> None:
    with watching(free_port(), "S-01", "--for", "1") as process:
        _text, errors = process.communicate(timeout=60)
        assert process.returncode == 3
        assert "Traceback" not in errors


def test_watching_outlives_the_broker(own_broker: Broker) -> None:
    with watching(own_broker.port, "S-01") as process:
        with FakeTerminal(own_broker.port, "T-1", [], retained=RETAINED):
            read_until(process, "online (connection 7)")
        own_broker.kill()
        assert process.stderr is not None
        for line in process.stderr:
            if "trying again" in line:
                break
        own_broker.start()
        later = {"agent/status": {**STATUS, "conn": 8}}
        with FakeTerminal(own_broker.port, "T-1", [], retained=later):
            read_until(process, "online (connection 8)")
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0


def test_terminals_that_are_silent_offline_or_late_are_all_shown(broker_port: int) -> None:
    offline = {"agent/status": {**STATUS, "online": False}, "agent/readiness": RETAINED["agent/readiness"]}
    with FakeTerminal(broker_port, "T-OFF", [], site="S-14", retained=offline):
        pass
    words = ["T-ON", "T-OFF,T-LATE", "T-NEVER"]
    with (
        FakeTerminal(broker_port, "T-ON", [], site="S-14", retained=RETAINED),
        watching(broker_port, "S-14", *words) as process,
    ):
        lines = read_until(process, "T-NEVER")
        text = "\n".join(lines)
        assert "T-OFF  status  offline" in text
        assert "T-LATE  status  never heard of" in text
        assert lines[-1].endswith("T-NEVER  status  never heard of at this broker")
        with FakeTerminal(broker_port, "T-LATE", [], site="S-14", retained=RETAINED) as late:
            read_until(process, "T-LATE  status  online (connection 7)")
            late.publish("agent/op/reset/c-1", {"command_id": "c-1", "name": "reset", "state": "running"}, retain=True)
            late.publish("agent/faults", {"faults": [{"code": "NET-MQT-001"}]}, retain=True)
            read_until(process, "NET-MQT-001")
            process.send_signal(signal.SIGINT)
            text, _errors = process.communicate(timeout=20)
    rows = {line.split()[0]: " ".join(line.split()[1:]) for line in text.splitlines() if line.startswith("T-")}
    assert rows["T-ON"] == "online ready none none"
    assert rows["T-OFF"] == "offline ready, when last heard none none"
    assert rows["T-LATE"] == "online ready NET-MQT-001 reset running"
    assert rows["T-NEVER"] == "never heard of ? none none"


def test_json_tells_of_silent_terminals_in_the_same_form(broker_port: int) -> None:
    with watching(broker_port, "S-15", "T-1", "--json", "--for", "1") as process:
        text, _errors = process.communicate(timeout=60)
        assert process.returncode == 0
    (line,) = [json.loads(line) for line in text.splitlines()]
    assert line["topic"] == "pos/v1/S-15/T-1/agent/status"
    assert (line["payload"], line["retained"], line["heard"]) == (None, False, False)


def test_twenty_terminals_are_watched_over_a_broker_that_restarts(own_broker: Broker) -> None:
    names = [f"T-{n:02}" for n in range(20)]
    with ExitStack() as stack:
        terminals = [
            stack.enter_context(FakeTerminal(own_broker.port, name, [], site="S-16", retained=RETAINED))
            for name in names
        ]
        process = stack.enter_context(watching(own_broker.port, "S-16"))
        lines = [out(process).readline() for _ in range(60)]
        assert {line.split()[1] for line in lines} == set(names)
        own_broker.restart()
        assert process.stderr is not None
        for line in process.stderr:
            if "trying again" in line:
                break
        for terminal in terminals:
            terminal.publish("agent/status", {**STATUS, "conn": 8}, retain=True)
        said = [out(process).readline() for _ in range(20)]
        assert all("online (connection 8)" in line for line in said)  # and nothing that was shown before
        process.send_signal(signal.SIGINT)
        text, _errors = process.communicate(timeout=20)
    assert sum(line.startswith("T-") for line in text.splitlines()) == 20


def test_what_no_topic_can_hold_is_not_watched(broker_port: int) -> None:
    for word in ("T/1", "+", "_all", "@/nowhere"):
        with watching(broker_port, "S-17", word, "--for", "1") as process:
            process.communicate(timeout=60)
            assert process.returncode == 2
