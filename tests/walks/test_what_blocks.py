"""A port that takes no more bytes and a file of the board that never answers: everything else goes on."""

from __future__ import annotations

import os
import time
import tty
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit.agent_process import AgentProcess, call
from tests.kit.contract_peer import Peer, eventually, sale
from tests.kit.emulator_process import EmulatedPrinter
from tests.kit.host_tree import HostTree

MODEL = """
schema = 1
title = "Two printers"
[devices.printer-0]
category = "pos_printer"
driver = "escpos"
sensors = ["paper_end"]
[devices.printer-1]
category = "pos_printer"
driver = "escpos"
sensors = ["paper_end"]
"""
WATCHDOG_S = 0.6


class FullPort:
    """A pty whose other side never reads, filled to the brim: whoever writes to it waits."""

    def __init__(self) -> None:
        self.master, self._slave = os.openpty()
        tty.setraw(self._slave)
        self.path = Path(os.ttyname(self._slave))
        os.set_blocking(self._slave, False)
        self.held_bytes = 0
        try:
            while True:
                self.held_bytes += os.write(self._slave, b"x" * 512)
        except BlockingIOError:
            os.set_blocking(self._slave, True)

    def close(self) -> None:
        os.close(self.master)
        os.close(self._slave)


@pytest.fixture
def port() -> Iterator[FullPort]:
    full = FullPort()
    try:
        yield full
    finally:
        full.close()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[HostTree]:
    tree = HostTree(tmp_path)
    try:
        yield tree
    finally:
        tree.close()


def _agent(folder: Path, port: FullPort, printer: EmulatedPrinter, host: HostTree) -> AgentProcess:
    config = {
        "terminal": {"site": "shop-1", "terminal": "T-0001", "serial": "SN123", "model": "two"},
        "devices": {"printer-0": {"port": str(port.path)}, "printer-1": {"port": str(printer.port)}},
        "paths": {"procfs": str(host.procfs), "sysfs": str(host.sysfs)},
        "health": {"interval_s": 0.2, "read_deadline_s": 0.3},
    }
    agent = AgentProcess(folder, config)
    (agent.config_file.parent / "models").mkdir()
    (agent.config_file.parent / "models" / "two.toml").write_text(MODEL)
    return agent


def _states(agent: AgentProcess) -> dict[str, tuple[str, str]]:
    devices = call(agent.run / "control.sock", "health.get")["result"]["devices"]
    return {one["device"]: (one["state"], one["power_state"]) for one in devices}


def _is_fed(agent: AgentProcess, for_s: float) -> bool:
    """Whether watchdog pings come as often as they must, and none says that a part is stuck."""
    agent.drain_notifications()
    agent.collect_notifications(for_s)
    stuck = [line for line in agent.notifications if line.startswith("STATUS=no progress")]
    return agent.notifications.count("WATCHDOG=1") >= 2 and not stuck


def test_a_full_port_and_a_silent_file_hold_up_nobody(tmp_path: Path, port: FullPort, host: HostTree) -> None:
    assert port.held_bytes > 1000
    with EmulatedPrinter(tmp_path) as printer:
        agent = _agent(tmp_path / "agent", port, printer, host)
        try:
            agent.start(watchdog_s=WATCHDOG_S)
            eventually(lambda: _states(agent)["memory"][0] == "ok", "memory is read")
            host.fifo("meminfo", silent_writer=True)
            expected = {
                "printer-0": ("failed", "offline"),
                "printer-1": ("ok", "online"),
                "memory": ("unknown", "unknown"),
                "cpu": ("ok", "online"),
            }

            def as_it_is() -> dict[str, Any]:
                return {name: state for name, state in _states(agent).items() if name in expected}

            eventually(lambda: as_it_is() == expected, "each is as it is", timeout_s=30.0)
            assert _is_fed(agent, 4 * WATCHDOG_S)
            # Sales are recorded, the other printer's troubles are seen, orders for the blocked one come to an end.
            with Peer(agent.run / "payment.sock") as payment:
                assert [payment.record(sale())["sequence"] for _ in range(20)] == list(range(1, 21))
            printer.control.set(paper_end=True)
            eventually(lambda: _states(agent)["printer-1"][0] == "failed", "no paper")
            printer.control.set(paper_end=False)
            for device in ("printer-0", "printer-1", "memory"):
                arguments = {"device": device, "level": "internal"}
                order = {"command_id": f"check-{device}", "name": "check_device", "arguments": arguments}
                call(agent.run / "control.sock", "command.run", order)
            eventually(lambda: all(_ended(agent, f"check-{one}") for one in expected if one != "cpu"), "all ended")
            assert _is_fed(agent, 4 * WATCHDOG_S)
            began_s = time.monotonic()
            assert agent.stop() == 0
            assert time.monotonic() - began_s < 15  # what systemd gives it
        finally:
            agent.close()


def _ended(agent: AgentProcess, command_id: str) -> bool:
    state = call(agent.run / "control.sock", "command.get", {"command_id": command_id})["result"]["state"]
    return state in {"succeeded", "failed"}


def test_what_no_longer_blocks_is_well_again(tmp_path: Path, host: HostTree) -> None:
    port = FullPort()
    try:
        with EmulatedPrinter(tmp_path) as printer:
            agent = _agent(tmp_path / "agent", port, printer, host)
            host.fifo("meminfo")
            with agent:
                eventually(lambda: _states(agent)["memory"][0] == "unknown", "its file blocks")
                eventually(lambda: _states(agent)["printer-0"] == ("failed", "offline"), "its port blocks")
                host.let_go("meminfo")
                host.memory(available_pct=60)
                eventually(lambda: _states(agent)["memory"][0] == "ok", "memory is read again", timeout_s=30.0)
                assert agent.stop() == 0
    finally:
        port.close()
