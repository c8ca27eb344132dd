"""The unattended tour: everything the demo shows, each step proved by a witness that is not the agent.

A step returns what the witness saw; it raises `DemoFailed` when the witness disagrees.
"""

from __future__ import annotations

from collections.abc import Callable

from agent.demo import evidence, steps_copies, steps_devices, steps_orders, steps_outages, steps_records
from agent.demo.parts import DemoFailed
from agent.demo.terminal import DemoTerminal
from agent.demo.witnessed import Tour

STEPS: tuple[tuple[str, Callable[[Tour], str]], ...] = (
    ("The terminal is born: status, birth, health at the broker", steps_devices.birth),
    ("Sales are durable before they are acknowledged", steps_records.sales),
    ("The same record twice is one record", steps_records.duplicates),
    ("Card data is refused and left nowhere", steps_records.card_data),
    ("Paper runs out, readiness falls, a new roll brings it back", steps_devices.paper_end),
    ("The printer's cover is opened and closed", steps_devices.cover),
    ("The printer is unplugged and plugged in again", steps_devices.unplugged),
    ("A key is stuck, and nobody learns which", steps_devices.keypad_stuck),
    ("The keypad goes and comes back, and the screen's cable", steps_devices.keypad_and_screen_gone),
    ("The screen is off while it should show something", steps_devices.screen_off),
    ("The network cable is pulled, and a kernel file blocks its reader", steps_devices.board),
    ("A signed order is carried out", steps_orders.ping),
    ("One order sent twice happens once", steps_orders.test_slip_once),
    ("Forged orders are dropped and stall nothing", steps_orders.forged),
    ("The technician orders the same by hand", steps_orders.local_order),
    ("A signed reset puts the printer back to work", steps_orders.reset_printer),
    ("A sale holds a reset back, and another one is cancelled", steps_orders.sale_holds_reset_back),
    ("The payment application is restarted, once", steps_orders.reset_application),
    ("It is re-initialised, but not before its batch is settled", steps_orders.reinitialise_application),
    ("The agent is restarted by its own order", steps_orders.reset_agent),
    ("The terminal is rebooted, once, by the boot id", steps_orders.reboot),
    ("SIGKILL in the middle of business loses nothing", steps_outages.killed),
    ("The broker dies and comes back", steps_outages.broker_gone),
    ("Sales are sealed, and the operator's key opens them", steps_copies.sealed),
    ("The card is pulled out and put back", steps_copies.card_pulled_out),
    ("The collector dies, and what it has not signed for counts for nothing", steps_copies.collector_killed),
    ("A bit of the database flips: set aside, rebuilt, nothing missing", steps_copies.bit_flipped),
    ("Another unit restores the journal from the card", steps_copies.restored_elsewhere),
    ("An orderly stop", steps_outages.orderly_stop),
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
