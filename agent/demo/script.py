"""The unattended tour: everything the demo shows, each step proved by a witness that is not the agent.

A step returns what the witness saw; it raises `DemoFailed` when the witness disagrees.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from agent.demo import evidence
from agent.demo.parts import DemoFailed, wait_until
from agent.demo.terminal import SITE, TERMINAL, DemoTerminal
from agent.payment_app.client import AgentSilent, RecordRefused
from agent.runtime.identifiers import uuid7

FORBIDDEN_MODULES = frozenset(
    ("pip", "click", "rich", "pydantic", "urllib3", "http.client", "email", "cryptography", "tuf", "sqlite_utils")
)
CARD_NUMBER = "4111111111111111"


@dataclass
class Tour:
    """The terminal and its witnesses, and what was learnt on the way."""

    terminal: DemoTerminal
    broker: evidence.BrokerWitness

    def posctl(self, *arguments: str, expect: int = 0) -> str:
        """Run ``posctl`` as a technician would; its output.

        Raises:
            DemoFailed: Another exit code than ``expect``.
        """
        command = [sys.executable, "-m", "agent.ctl", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
        if done.returncode != expect:
            text = (done.stdout + done.stderr).strip()
            raise DemoFailed(f"posctl {' '.join(arguments)}: exit {done.returncode}, expected {expect}: {text}")
        self.check_imports()
        return done.stdout

    def send(self, command_id: str, name: str, *arguments: str, expect: int = 0) -> None:
        """A signed order through the broker, awaited to its final state."""
        broker = f"127.0.0.1:{self.terminal.broker.port}"
        where = ["--broker", broker, "--site", SITE, "--terminal", TERMINAL, "--key", str(self.terminal.key_file)]
        order = ["--command-id", command_id, "--wait", "30s", name, *arguments]
        self.posctl("fleet", "send", *where, *order, expect=expect)

    def check_imports(self) -> None:
        """The running daemon, by its interpreter's own account, has loaded nothing that does not belong there."""
        if importlib.util.find_spec("rich") is not None:
            raise DemoFailed("rich is installed beside the daemon: structlog would load it, 5 MB for ever")
        tried = {name for name in self.terminal.agent.imported() if _is_forbidden(name)}
        found = {name for name in tried if importlib.util.find_spec(name.partition(".")[0]) is not None}
        if found:  # what is not installed was only asked for, by a library that can do without
            raise DemoFailed(f"the daemon imported {sorted(found)}")

    def printer(self, **state: object) -> dict[str, Any]:
        """Change the emulator's state; its answer: state and counters."""
        return self.terminal.printer.ask({"set": state} if state else {"get": True})


def _is_forbidden(module: str) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in FORBIDDEN_MODULES)


def birth(tour: Tour) -> str:
    status = tour.broker.wait_retained(f"{tour.terminal.prefix}agent/status", {"online": True})
    found = tour.broker.retained(f"{tour.terminal.prefix}agent/birth")
    if not found:
        raise DemoFailed("the broker holds no agent/birth")
    tour.broker.wait_retained(f"{tour.terminal.prefix}dev/printer-0/health", {"state": "ok"})
    return f"broker: online, connection {status['conn']}, birth retained, printer-0 ok"


def sales(tour: Tour) -> str:
    for _ in range(20):
        tour.terminal.shop.sell()
    length = evidence.check_chain(tour.terminal.database)
    _all_acknowledged_are_there(tour)
    return f"SQLite file: {length} entries, chain recomputed from the formula"


def _all_acknowledged_are_there(tour: Tour) -> int:
    stored = {(entry.transaction_id, entry.sequence) for entry in evidence.entries(tour.terminal.database)}
    missing = set(tour.terminal.shop.acknowledged) - stored
    if missing:
        raise DemoFailed(f"{len(missing)} acknowledged records are missing: {sorted(missing)[:3]}")
    return len(tour.terminal.shop.acknowledged)


def duplicates(tour: Tour) -> str:
    record = tour.terminal.shop.next_record()
    first = tour.terminal.shop.record(record)
    if tour.terminal.shop.record(record) != first:
        raise DemoFailed("the same record was given another sequence")
    count = sum(entry.transaction_id == record["transaction_id"] for entry in evidence.entries(tour.terminal.database))
    if count != 1:
        raise DemoFailed(f"the same record stands {count} times in the file")
    return f"SQLite file: the record handed over twice stands once, sequence {first}"


def card_data(tour: Tour) -> str:
    for field in ("memo", "auth_code", "card_no"):
        try:
            tour.terminal.shop.sell(**{field: CARD_NUMBER})
        except RecordRefused as err:
            if err.code != "CARD_DATA_REJECTED":
                raise DemoFailed(f"card data in {field} was answered {err.code}") from err
        else:
            raise DemoFailed(f"card data in {field} was taken")
    for file in [*tour.terminal.database.parent.iterdir(), tour.terminal.agent.log_file]:
        if file.is_file() and CARD_NUMBER.encode() in file.read_bytes():
            raise DemoFailed(f"the card number is in {file}")
    return "refused in 3 fields; the number is in no file of the state folder and not in the log"


def paper_end(tour: Tour) -> str:
    asked = _queries(tour)
    tour.printer(paper_end=True)
    tour.broker.wait_retained(f"{tour.terminal.prefix}dev/printer-0/health", {"state": "failed"})
    faults = tour.broker.retained(f"{tour.terminal.prefix}agent/faults")[f"{tour.terminal.prefix}agent/faults"]
    if "HW-PRN-002" not in json.dumps(faults):
        raise DemoFailed(f"the broker's list of faults lacks HW-PRN-002: {faults}")
    tour.broker.wait_retained(f"{tour.terminal.prefix}agent/readiness", {"ready": False})
    tour.posctl("ready", "--socket", str(tour.terminal.control_socket), expect=1)
    tour.printer(paper_end=False)
    tour.broker.wait_retained(f"{tour.terminal.prefix}dev/printer-0/health", {"state": "ok"})
    tour.broker.wait_retained(f"{tour.terminal.prefix}agent/readiness", {"ready": True})
    tour.posctl("ready", "--socket", str(tour.terminal.control_socket))
    return (
        f"broker: HW-PRN-002, not ready, then ok and ready; emulator: {_queries(tour) - asked} status queries answered"
    )


def unplugged(tour: Tour) -> str:
    tour.printer(unplugged=True)
    wanted = {"state": "failed", "power_state": "off"}
    tour.broker.wait_retained(f"{tour.terminal.prefix}dev/printer-0/health", wanted)
    tour.printer(unplugged=False)
    tour.broker.wait_retained(f"{tour.terminal.prefix}dev/printer-0/health", {"state": "ok"})
    return "broker: failed and off while the port was gone, ok after it came back"


def keypad_and_screen(tour: Tour) -> str:
    for fault, device, code in (
        ("keypad_gone", "keypad-0", "HW-KPD-001"),
        ("screen_disconnected", "screen-0", "HW-SCR-001"),
    ):
        topic = f"{tour.terminal.prefix}dev/{device}/health"
        tour.terminal.board.ask({"set": {fault: True}})
        tour.broker.wait_retained(topic, {"state": "failed", "power_state": "off"})
        if code not in json.dumps(tour.broker.retained(f"{tour.terminal.prefix}agent/faults")):
            raise DemoFailed(f"the broker's list of faults lacks {code}")
        tour.terminal.board.ask({"set": {fault: False}})
        tour.broker.wait_retained(topic, {"state": "ok"})
    return "broker: HW-KPD-001 and HW-SCR-001 while they were gone, ok after they came back"


def _counter(tour: Tour, name: str) -> int:
    counters = tour.printer()["counters"]
    return int(counters[name])


def _queries(tour: Tour) -> int:
    return _counter(tour, "queries")


def ping(tour: Tour) -> str:
    command_id = uuid7()
    tour.send(command_id, "ping")
    topic = f"{tour.terminal.prefix}agent/op/ping/{command_id}"
    tour.broker.wait_retained(topic, {"state": "succeeded"})
    state = evidence.command_states(tour.terminal.database).get(command_id)
    if state != "succeeded":
        raise DemoFailed(f"the file says {state} of the ping")
    return "broker and SQLite file: succeeded"


def test_slip_once(tour: Tour) -> str:
    command_id, before = uuid7(), _counter(tour, "slips")
    for _ in range(2):  # the same order a second time: the recorded state is answered, nothing is printed
        tour.send(command_id, "check_device", "device=printer-0", "level=external")
    tour.send(uuid7(), "ping")  # orders are taken one after the other: the second one above is done with by now
    printed = _counter(tour, "slips") - before
    if printed != 1:
        raise DemoFailed(f"the emulator printed {printed} slips for one order sent twice")
    return "emulator: 1 slip for one order sent twice"


def forged(tour: Tour) -> str:
    topic = f"{tour.terminal.prefix}in/req/ping"
    before = evidence.command_states(tour.terminal.database)
    tour.broker.publish(topic, b"not an envelope")
    tour.broker.publish(topic, json.dumps({"payload": "e30=", "payloadType": "x", "signatures": []}).encode())
    tour.send(uuid7(), "ping")  # what came after the rubbish is carried out: nothing stalls
    added = set(evidence.command_states(tour.terminal.database)) - set(before)
    if len(added) != 1:
        raise DemoFailed(f"{len(added)} commands were journalled for two forgeries and one order")
    return "SQLite file: two forgeries left no row, the order after them was carried out"


def local_order(tour: Tour) -> str:
    command_id = uuid7()
    socket = ["--socket", str(tour.terminal.control_socket)]
    tour.posctl("command", "run", "ping", "--command-id", command_id, "--wait", "30", *socket)
    tour.broker.wait_retained(f"{tour.terminal.prefix}agent/op/ping/{command_id}", {"state": "succeeded"})
    for verb in (["status"], ["txn", "list"], ["command", "show", command_id]):
        json.loads(tour.posctl(*verb, "--json", *socket))
    return "broker: the same command through control.sock, succeeded"


def _sell_until_it_fails(tour: Tour) -> None:
    with contextlib.suppress(AgentSilent):
        while True:
            tour.terminal.shop.sell()


def killed(tour: Tour) -> str:
    before = len(tour.terminal.shop.acknowledged)
    seller = threading.Thread(target=_sell_until_it_fails, args=(tour,))
    seller.start()
    wait_until("30 sales under way", lambda: len(tour.terminal.shop.acknowledged) >= before + 30)
    tour.terminal.agent.kill()
    seller.join()
    tour.terminal.agent.start()
    tour.terminal.shop.sell()
    survived = _all_acknowledged_are_there(tour)
    evidence.check_chain(tour.terminal.database)
    tour.broker.wait_retained(f"{tour.terminal.prefix}agent/status", {"online": True})
    return f"SQLite file: {survived} acknowledged, {survived} there after SIGKILL, chain whole"


def broker_gone(tour: Tour) -> str:
    tour.terminal.broker.kill()
    for _ in range(5):
        tour.terminal.shop.sell()
    tour.printer(cover_open=True)
    tour.terminal.broker.start()
    health = f"{tour.terminal.prefix}dev/printer-0/health"
    tour.broker.wait_retained(health, {"state": "failed"}, timeout_s=60)
    tour.printer(cover_open=False)
    tour.broker.wait_retained(health, {"state": "ok"})
    _all_acknowledged_are_there(tour)
    return "5 sales without a broker; broker: the cover opened meanwhile is told after its return"


def orderly_stop(tour: Tour) -> str:
    code = tour.terminal.agent.stop()
    if code != 0:
        raise DemoFailed(f"the agent ended with {code}; log: {tour.terminal.agent.log_file}")
    tour.broker.wait_retained(f"{tour.terminal.prefix}agent/status", {"online": False})
    wait_until("sockets to be gone", lambda: not tour.terminal.payment_socket.exists(), 5)
    length = evidence.check_chain(tour.terminal.database)
    return f"exit 0; broker: online false; SQLite file: {length} entries, chain whole"


STEPS: tuple[tuple[str, Callable[[Tour], str]], ...] = (
    ("The terminal is born: status, birth, health at the broker", birth),
    ("Sales are durable before they are acknowledged", sales),
    ("The same record twice is one record", duplicates),
    ("Card data is refused and left nowhere", card_data),
    ("Paper runs out, readiness falls, a new roll brings it back", paper_end),
    ("The printer is unplugged and plugged in again", unplugged),
    ("The keypad goes and comes back, and the screen's cable", keypad_and_screen),
    ("A signed order is carried out", ping),
    ("One order sent twice happens once", test_slip_once),
    ("Forged orders are dropped and stall nothing", forged),
    ("The technician orders the same by hand", local_order),
    ("SIGKILL in the middle of business loses nothing", killed),
    ("The broker dies and comes back", broker_gone),
    ("An orderly stop", orderly_stop),
)


def run_script(terminal: DemoTerminal) -> int:
    """All steps in order, one line each; returns the exit code. The first failure ends the tour."""
    tour = Tour(terminal, evidence.BrokerWitness(terminal.broker.port))
    for number, (title, step) in enumerate(STEPS, start=1):
        try:
            seen = step(tour)
            tour.check_imports()
        except DemoFailed as err:
            print(f"{number:2}/{len(STEPS)} FAILED {title}\n       {err}", flush=True)
            return 1
        print(f"{number:2}/{len(STEPS)} ok     {title}\n       {seen}", flush=True)
    print(f"all {len(STEPS)} steps happened")
    return 0
