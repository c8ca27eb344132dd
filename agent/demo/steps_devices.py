"""Steps of the tour about hardware: what is wrong is seen, said with a code, and over when it is over."""

from __future__ import annotations

from agent.demo.witnessed import Tour


def birth(tour: Tour) -> str:
    status = tour.broker.wait_retained(f"{tour.terminal.prefix}agent/status", {"online": True})
    tour.broker.wait_retained(f"{tour.terminal.prefix}agent/birth", {"serial": "SN-DEMO-1"})
    for device in ("printer-0", "keypad-0", "screen-0", "touch-0"):
        tour.await_health(device, state="ok")
    tour.await_ready(True)
    return f"broker: online, connection {status['conn']}; printer, keypad, screen and touch panel ok; ready to sell"


def paper_end(tour: Tour) -> str:
    asked = tour.printed("queries")
    tour.printer(paper_end=True)
    tour.await_health("printer-0", state="failed")
    tour.must_have_fault("HW-PRN-002")
    tour.await_ready(False)
    tour.posctl("ready", "--socket", str(tour.terminal.control_socket), expect=1)
    tour.printer(paper_end=False)
    tour.await_health("printer-0", state="ok")
    tour.await_ready(True)
    tour.posctl("ready", "--socket", str(tour.terminal.control_socket))
    answered = tour.printed("queries") - asked
    return f"broker: HW-PRN-002, not ready, then ok and ready; emulator: {answered} status queries answered"


def cover(tour: Tour) -> str:
    tour.printer(cover_open=True)
    tour.await_health("printer-0", state="failed")
    tour.must_have_fault("HW-PRN-004")
    tour.await_ready(False)
    tour.printer(cover_open=False)
    tour.await_health("printer-0", state="ok")
    tour.await_ready(True)
    return "broker: HW-PRN-004 and not ready, then ok and ready"


def unplugged(tour: Tour) -> str:
    tour.printer(unplugged=True)
    tour.await_health("printer-0", state="failed", power_state="off")
    tour.printer(unplugged=False)
    tour.await_health("printer-0", state="ok")
    return "broker: failed and off while the port was gone, ok after it came back"


def keypad_stuck(tour: Tour) -> str:
    tour.terminal.keypad.set(stuck=True)
    tour.must_have_fault("HW-KPD-002")
    tour.terminal.keypad.set(stuck=False)
    tour.await_health("keypad-0", state="ok")
    report = tour.terminal.keypad_report.read_text()
    return f"broker: HW-KPD-002, then ok; all that the reader process tells: {report.strip()}"


def keypad_and_screen_gone(tour: Tour) -> str:
    for fault, device, code in (
        ("keypad_gone", "keypad-0", "HW-KPD-001"),
        ("screen_disconnected", "screen-0", "HW-SCR-001"),
    ):
        tour.terminal.board.set(**{fault: True})
        tour.await_health(device, state="failed", power_state="off")
        tour.must_have_fault(code)
        tour.terminal.board.set(**{fault: False})
        tour.await_health(device, state="ok")
    return "broker: HW-KPD-001 and HW-SCR-001 while they were gone, ok after they came back"


def screen_off(tour: Tour) -> str:
    tour.terminal.board.set(backlight_off=True)
    tour.must_have_fault("HW-SCR-002")
    tour.terminal.board.set(backlight_off=False)
    tour.await_health("screen-0", state="ok")
    return "broker: HW-SCR-002 while the lamp behind the picture was off, then ok"


def board(tour: Tour) -> str:
    tour.terminal.board.set(carrier=False)
    tour.must_have_fault("NET-LNK-001")
    tour.terminal.board.set(carrier=True)
    tour.await_health("link", state="ok")
    tour.terminal.board.set(block="proc/meminfo")
    tour.await_health("memory", state="unknown")
    tour.terminal.shop.sell()
    tour.terminal.board.set(block="")
    tour.await_health("memory", state="ok")
    return "broker: NET-LNK-001 without a cable; a file that blocks its reader makes memory unknown, and a sale goes on"
