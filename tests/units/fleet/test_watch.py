"""`posctl fleet watch` on a real broker: what is retained first, then what comes, for people or as NDJSON."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
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
