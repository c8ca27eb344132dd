"""The whole agent over an emulated board and hosts to reach: parts, faults, readiness, history, as its socket tells."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.kit.agent_process import AgentProcess, call
from tests.kit.broker import Broker, free_port
from tests.kit.host_tree import HostTree

MODEL = 'schema = 1\ntitle = "A terminal with a battery"\n[host]\nrequired = ["power"]\n'
PARTS = {"memory", "cpu", "filesystem", "thermal", "link", "route", "clock", "power", "storage"}


class _Terminal:
    """``agent`` watches ``tree``."""

    def __init__(self, agent: AgentProcess, tree: HostTree) -> None:
        self.tree = tree
        self.control = agent.run / "control.sock"

    def ask(self, method: str, **params: Any) -> Any:
        answer = call(self.control, method, params)
        assert "result" in answer, answer
        return answer["result"]

    def states(self) -> dict[str, str]:
        return {one["device"]: one["state"] for one in self.ask("health.get")["devices"]}

    def faults(self) -> set[tuple[str, str, str]]:
        return {(one["code"], one["device"], one["impact"]) for one in self.ask("health.get")["faults"]}

    def ready(self) -> bool:
        return bool(self.ask("readiness.get")["ready"])


@contextlib.contextmanager
def _terminal(folder: Path, config: dict[str, Any], *, model: str | None = None) -> Iterator[_Terminal]:
    tree = HostTree(folder / "board")
    (tree.procfs / "sys/kernel/random").mkdir(parents=True)
    (tree.procfs / "sys/kernel/random/boot_id").write_bytes(Path("/proc/sys/kernel/random/boot_id").read_bytes())
    if model is not None:
        (folder / "etc/models").mkdir(parents=True)
        (folder / "etc/models/mobile.toml").write_text(model)
        config = {**config, "terminal": {"model": "mobile"}}
    paths = {"procfs": str(tree.procfs), "sysfs": str(tree.sysfs)}
    quick = {"interval_s": 0.1, "read_deadline_s": 1.0}
    with AgentProcess(folder, {"paths": paths, "health": quick, **config}) as agent:
        yield _Terminal(agent, tree)
    tree.close()


def _until(condition: Callable[[], object], timeout_s: float = 40.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_every_part_of_the_board_is_told_and_what_it_does_not_have_is_no_fault(tmp_path: Path) -> None:
    with _terminal(tmp_path, {}) as terminal:
        _until(lambda: set(terminal.states().values()) == {"ok", "unknown"})
        assert {part for part, state in terminal.states().items() if state == "unknown"} == {"power"}
        assert terminal.states().keys() == PARTS
        assert (terminal.faults(), terminal.ready()) == (set(), True)
        metrics = terminal.ask("metrics.get")["host"]
        assert (metrics["temperature_c"], metrics["links_up"]) == (45.0, 1)


def test_heat_a_lost_link_and_a_missing_battery_are_faults_and_history(tmp_path: Path) -> None:
    with _terminal(tmp_path, {}, model=MODEL) as terminal:
        _until(lambda: ("HW-PWR-002", "power", "sale") in terminal.faults())
        assert not terminal.ready()
        terminal.tree.battery(capacity=80)
        terminal.tree.interface("eth0", carrier=False)
        _until(terminal.ready)
        _until(lambda: terminal.faults() == {("NET-LNK-001", "link", "none")})
        terminal.tree.interface("eth0")
        _until(lambda: terminal.faults() == set())
        raised = [
            (one["code"], one["device"])
            for one in terminal.ask("health.history", limit=100)["items"]
            if one["kind"] == "fault_raised"
        ]
        assert raised == [("NET-LNK-001", "link"), ("HW-PWR-002", "power")]


def test_a_host_that_refuses_is_a_fault_of_its_own_and_is_asked_for_nothing(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        hosts = [
            {"name": "acquirer", "host": "localhost", "port": listening.getsockname()[1], "tls": False},
            {"name": "wallet", "host": "127.0.0.1", "port": closed.getsockname()[1], "tls": False, "required": True},
            {"name": "pinned", "host": "localhost", "port": listening.getsockname()[1], "tls": False},
        ]
        hosts[2]["expected"] = ["203.0.113.0/24"]
        with _terminal(tmp_path, {"reach": hosts, "network": {"reach_interval_s": 1.0}}) as terminal:
            _until(
                lambda: {"ok", "failed"} <= set(terminal.states().values()) and terminal.states()["acquirer"] == "ok"
            )
            expected = {("NET-TCP-001", "wallet", "sale"), ("NET-DNS-002", "pinned", "none")}
            _until(lambda: terminal.faults() == expected)
            assert not terminal.ready()
            closed.listen()
            _until(lambda: terminal.states()["wallet"] == "ok" and terminal.ready())
            connection, _address = listening.accept()
            with connection:
                assert connection.recv(100) == b""


def test_a_terminal_whose_files_all_break_is_unknown_and_goes_on(tmp_path: Path) -> None:
    with _terminal(tmp_path, {}) as terminal:
        _until(lambda: terminal.states()["link"] == "ok")
        terminal.tree.fifo("sys/class/net/eth0/carrier")
        terminal.tree.fifo("meminfo", silent_writer=True)
        terminal.tree.write("net/route", b"\xff" * 10_000)
        terminal.tree.write("sys/class/thermal/thermal_zone0/temp", "hot\n")
        for part in ("link", "memory", "route", "thermal"):
            _until(lambda part=part: terminal.states()[part] == "unknown")  # type: ignore[misc]
        assert terminal.faults() == set()
        assert terminal.ready()
        assert terminal.states()["filesystem"] == "ok"


def test_a_cable_that_is_back_ends_the_waiting_for_the_broker(tmp_path: Path) -> None:
    port, day_s = free_port(), 86_400.0
    uplink = {"host": "127.0.0.1", "port": port, "tls": False, "backoff_first_s": day_s, "backoff_limit_s": day_s}
    with _terminal(tmp_path, {"uplink": uplink}) as terminal:

        def link() -> dict[str, Any]:
            found: dict[str, Any] = terminal.ask("agent.info")["uplink"]
            return found

        _until(lambda: terminal.states()["link"] == "ok" and link()["detail"] != "not connected yet")
        with Broker(tmp_path / "broker", port=port):
            terminal.tree.interface("eth0", carrier=False)
            _until(lambda: terminal.states()["link"] != "ok")
            assert not link()["connected"]
            terminal.tree.interface("eth0")
            _until(lambda: link()["connected"])
