"""The live view of the demo: ``posctl top`` on this terminal, and what to try in a second shell."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

from agent.demo.parts import DemoFailed
from agent.demo.terminal import SHOP_UNIT, SITE, TERMINAL, DemoTerminal

TRIES = "try"
_READ_S = 4.0


def things_to_try(terminal: DemoTerminal) -> list[tuple[str, list[str]]]:
    """What one might want to see, and the commands for a second shell, whole, ready to be pasted."""
    control = f"--socket {terminal.control_socket}"
    broker = f"--broker 127.0.0.1:{terminal.broker.port} --site {SITE}"
    fleet = f"fleet send {broker} --terminal {TERMINAL} --key {terminal.key_file} --wait 60s"
    posctl = shutil.which("posctl", path=f"{sys.exec_prefix}/bin") or f"{sys.executable} -m agent.ctl"

    def switch(emulator: str, name: str) -> list[str]:
        path = terminal.folder / f"{emulator}.control"
        return [
            f"""echo '{{"set": {{"{name}": {value}}}}}' | socat - UNIX-CONNECT:{path}""" for value in ("true", "false")
        ]

    printer, away = "device=printer-0", terminal.folder / "card-pulled-out"
    return [
        ("the paper ends; a new roll", switch("printer", "paper_end")),
        ("the printer's cover is opened; closed", switch("printer", "cover_open")),
        ("a key of the keypad is stuck; released", switch("keypad", "stuck")),
        ("the screen's cable is pulled; plugged in", switch("board", "screen_disconnected")),
        ("the screen is off; on", switch("board", "backlight_off")),
        (
            "the cutter jams; the paper is taken out; a signed reset",
            [*switch("printer", "cutter_error"), f"{posctl} {fleet} reset level=device {printer}"],
        ),
        ("a customer stands at the counter, and a reset waits; they leave", switch("shop", "customer")),
        ("the payment application is restarted", [f"{posctl} {fleet} reset level=app"]),
        ("the terminal is rebooted (this demo's own programs)", [f"{posctl} {fleet} reset level=reboot"]),
        ("a test slip, ordered at the counter", [f"{posctl} check printer-0 --external {control}"]),
        ("the journal", [f"{posctl} txn list {control}", f"{posctl} txn summary {control}"]),
        ("the card for backups is pulled out; put back", [f"mv {terminal.card} {away}", f"mv {away} {terminal.card}"]),
        ("the backups", [f"{posctl} backup list {control}", f"{posctl} backup run --kind snapshot {control}"]),
        (
            "what only the operator can read",
            [f"{posctl} fleet backup verify {terminal.card} --identity {terminal.operator_key}"],
        ),
        ("what the collector holds", [f"{posctl} fleet collect status --store {terminal.collector.store}"]),
        ("the journal as a table", [f"{posctl} txn export --out {terminal.folder}/journal.csv {control}"]),
        ("what the operator sees", [f"{posctl} fleet watch {broker}"]),
        ("kill the agent: the supervisor starts it again", [f"kill -9 {terminal.agent.pid}"]),
        ("kill the payment application", [f"kill -9 {terminal.shop_unit.pid}    # {SHOP_UNIT}"]),
    ]


def written(tries: Sequence[tuple[str, list[str]]]) -> str:
    """As a text for people."""
    parts = ["\n".join([f"# {what}", *commands]) for what, commands in tries]
    return "\n\n".join(parts) + "\n"


def run_view(terminal: DemoTerminal) -> None:
    """Show the terminal until it is left with ``q`` or interrupted; the broker is started again when it is killed.

    Raises:
        DemoFailed: The live screen ended by itself.
    """
    tries = terminal.folder / TRIES
    tries.write_text(written(things_to_try(terminal)))
    if not sys.stdout.isatty():
        print("Try in a second shell:", written(things_to_try(terminal)), sep="\n", flush=True)
        _run_without_terminal(terminal)
    print(f"things to try, in a second shell:  cat {tries}", flush=True)
    time.sleep(_READ_S)  # to be read before the screen is taken
    command = [sys.executable, "-m", "agent.ctl", "top", "--socket", str(terminal.control_socket)]
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the screen; when it ends, so does the demo
    try:
        done = subprocess.run([*command, "--note", f"to try: cat {tries}"], check=False)
    finally:
        signal.signal(signal.SIGINT, before)
    if done.returncode not in {0, -signal.SIGINT, 130}:
        raise DemoFailed(f"posctl top ended with {done.returncode}")


def _run_without_terminal(terminal: DemoTerminal) -> None:
    while True:
        sold = terminal.ask_shop({"get": True})["counters"]["sold"]
        print(f"shop: {sold} sales acknowledged   everything below {terminal.folder}", flush=True)
        time.sleep(5)
