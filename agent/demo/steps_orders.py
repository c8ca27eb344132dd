"""Steps of the tour about orders: once, only signed, never in the middle of a sale, and proved by their effect."""

from __future__ import annotations

import json

from agent.demo import evidence
from agent.demo.parts import DemoFailed, wait_until
from agent.demo.witnessed import Tour
from agent.runtime.identifiers import uuid7


def ping(tour: Tour) -> str:
    command_id = uuid7()
    tour.send(command_id, "ping")
    tour.await_order("ping", command_id, state="succeeded")
    state = evidence.command_states(tour.terminal.database).get(command_id)
    if state != "succeeded":
        raise DemoFailed(f"the file says {state} of the ping")
    return "broker and SQLite file: succeeded"


def test_slip_once(tour: Tour) -> str:
    command_id, before = uuid7(), tour.printed("slips")
    for _ in range(2):  # the same order a second time: the recorded state is answered, nothing is printed
        tour.send(command_id, "check_device", "device=printer-0", "level=external")
    tour.send(uuid7(), "ping")  # orders are taken one after the other: the second one above is done with by now
    printed = tour.printed("slips") - before
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
    tour.await_order("ping", command_id, state="succeeded")
    for verb in (["status"], ["txn", "list"], ["command", "show", command_id], ["top"]):
        json.loads(tour.posctl(*verb, "--json", *socket))
    return "broker: the same command through control.sock, succeeded"


def reset_printer(tour: Tour) -> str:
    tour.printer(cutter_error=True)
    tour.await_health("printer-0", state="failed")
    tour.printer(cutter_error=False)  # the jammed paper is taken out; the error stays until it is recovered
    before, command_id = tour.printed("recoveries"), uuid7()
    tour.send(command_id, "reset", "level=device", "device=printer-0")
    tour.await_health("printer-0", state="ok")
    recovered = tour.printed("recoveries") - before
    if recovered != 1:
        raise DemoFailed(f"the emulator was recovered {recovered} times for one order")
    return "broker: the cutter has stopped, the signed reset succeeded, ok; emulator: recovered once"


def sale_holds_reset_back(tour: Tour) -> str:
    tour.terminal.ask_shop({"set": {"customer": True}})
    wait_until("a sale lease", lambda: tour.terminal.ask_shop({"get": True})["counters"]["lease_held"] == 1)
    before, command_id, given_up = tour.printed("recovery_requests"), uuid7(), uuid7()
    tour.send(command_id, "reset", "level=device", "device=printer-0", wait_s=0)
    held = tour.await_order("reset", command_id, state="waiting")
    if held["reason"]["code"] != "SALE_RUNNING" or tour.printed("recovery_requests") != before:
        raise DemoFailed(f"a sale is under way, and the reset says {held['reason']}")
    tour.send(given_up, "reset", "level=device", "device=printer-0", wait_s=0)
    tour.await_order("reset", given_up, state="waiting")
    tour.send(uuid7(), "cancel", f"command_id={given_up}")
    tour.await_order("reset", given_up, state="cancelled")
    tour.terminal.ask_shop({"set": {"customer": False}})
    tour.await_order("reset", command_id, state="succeeded")
    if tour.printed("recovery_requests") != before + 1:
        raise DemoFailed("of one order that waited and one that was cancelled, not exactly one was carried out")
    return "broker: SALE_RUNNING while the customer stood there, then succeeded; a second one was cancelled meanwhile"


def reset_application(tour: Tour) -> str:
    before, order = tour.terminal.shop_unit.starts, uuid7()
    tour.send(order, "reset", "level=app")
    tour.send(order, "reset", "level=app")
    started = tour.terminal.shop_unit.starts - before
    if started != 1:
        raise DemoFailed(f"the application was started {started} times for one order sent twice")
    return "supervisor: shop.service was started once for one order sent twice, and has reported again"


def reinitialise_application(tour: Tour) -> str:
    tour.terminal.shop.sell()
    refused = uuid7()
    tour.send(refused, "reinit", "scope=app", expect=4)
    state = tour.await_order("reinit", refused, state="rejected")
    if state["reason"]["code"] != "BATCH_UNSETTLED":
        raise DemoFailed(f"a batch is not settled, and the order says {state['reason']}")
    tour.terminal.shop.settle()
    tour.terminal.ask_shop({"do": "settle"})
    stale = tour.terminal.shop_cache / "stale"
    stale.write_text("of yesterday")
    tour.send(uuid7(), "reinit", "scope=app")
    if stale.exists():
        raise DemoFailed(f"{stale} is still there")
    return "broker: BATCH_UNSETTLED; after the settlement succeeded; the stale file is gone from the cache"


def reset_agent(tour: Tour) -> str:
    before = tour.terminal.agent.starts
    tour.send(uuid7(), "reset", "level=service")
    started = tour.terminal.agent.starts - before
    if started != 1:
        raise DemoFailed(f"the agent was started {started} times for one order")
    return "supervisor: the agent was started once; the order that ended it was finished by the next one"


def reboot(tour: Tour) -> str:
    before, boot_id = tour.terminal.supervisor.counters()["reboots"], tour.terminal.boot_id_file.read_text()
    command_id = uuid7()
    tour.send(command_id, "reset", "level=reboot", wait_s=90)
    reboots = tour.terminal.supervisor.counters()["reboots"] - before
    if reboots != 1 or tour.terminal.boot_id_file.read_text() == boot_id:
        raise DemoFailed(f"the terminal was rebooted {reboots} times for one order")
    tour.all_acknowledged_are_there()
    return "supervisor: one reboot, another boot id; SQLite file: every acknowledged record is there"
