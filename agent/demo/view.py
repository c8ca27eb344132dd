"""The live view of the demo: one screen a second from control.sock, and what to try in a second shell."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

from agent.demo.terminal import SITE, TERMINAL, DemoTerminal
from agent.payment_app.client import PaymentError

TRIES = "commands-to-try.txt"
_HOME_AND_CLEAR_BELOW = "\x1b[H\x1b[J"


def things_to_try(terminal: DemoTerminal) -> list[str]:
    """Commands for a second shell, whole, ready to be pasted."""
    control = f"--socket {terminal.control_socket}"
    fleet = f"--site {SITE} --terminal {TERMINAL} --key {terminal.key_file} --broker 127.0.0.1:{terminal.broker.port}"
    posctl = shutil.which("posctl", path=f"{sys.exec_prefix}/bin") or f"{sys.executable} -m agent.ctl"
    emulator = f"socat - UNIX-CONNECT:{terminal.printer.control}"
    return [
        f"{posctl} status {control}",
        f"{posctl} txn list {control}",
        f"{posctl} command run check_device device=printer-0 level=external --wait 20 {control}",
        f"{posctl} fleet send {fleet} --wait 20s ping",
        f"{posctl} fleet watch --site {SITE} --broker 127.0.0.1:{terminal.broker.port}",
        f"""echo '{{"set": {{"paper_end": true}}}}' | {emulator}""",
        f"""echo '{{"set": {{"paper_end": false}}}}' | {emulator}""",
        f"""echo '{{"set": {{"keypad_gone": true}}}}' | socat - UNIX-CONNECT:{terminal.board.control}""",
        f"kill -9 {terminal.agent.pid}    # the demo starts it again",
    ]


def _screen(terminal: DemoTerminal) -> str:
    command = [sys.executable, "-m", "agent.ctl", "status", "--socket", str(terminal.control_socket)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=15, check=False)
    return done.stdout or done.stderr


def fit_screen(status: str, sold: str, tries: list[str], folder: Path, size: os.terminal_size) -> str:
    """As much as the terminal holds, the state first; commands that have no room are in a file, which is named."""
    lines = [*status.rstrip("\n").splitlines(), "", sold]
    needed = len(lines) + sum(1 + len(line) // size.columns for line in tries) + 3
    if needed < size.lines:
        lines += ["", "Try in a second shell (Ctrl-C ends the demo):", *tries]
    else:
        lines = [*lines[: size.lines - 3], f"commands to try: cat {folder / TRIES}   Ctrl-C ends the demo"]
    return "\n".join(lines)


def run_view(terminal: DemoTerminal) -> None:
    """Sell now and then and show the terminal, until interrupted. A killed agent is started again, as systemd would."""
    rng = random.Random()  # noqa: S311  # when the next customer comes
    on_screen = sys.stdout.isatty()
    tries = _write_tries(terminal)
    if not on_screen:
        print("Try in a second shell:", *tries, sep="\n  ", flush=True)
    next_sale_at = time.monotonic()
    while True:
        if not terminal.agent.running:
            terminal.agent.start()
            tries = _write_tries(terminal)
        if time.monotonic() >= next_sale_at:
            with contextlib.suppress(PaymentError):
                terminal.shop.sell()
            next_sale_at = time.monotonic() + rng.uniform(1, 4)
        sold = f"shop: {len(terminal.shop.acknowledged)} sales acknowledged   everything below {terminal.folder}"
        if on_screen:
            screen = fit_screen(_screen(terminal), sold, tries, terminal.folder, shutil.get_terminal_size())
            print(_HOME_AND_CLEAR_BELOW + screen, end="", flush=True)
        else:
            print(sold, flush=True)
        time.sleep(1 if on_screen else 5)


def _write_tries(terminal: DemoTerminal) -> list[str]:
    tries = things_to_try(terminal)
    (terminal.folder / TRIES).write_text("\n".join(tries) + "\n")
    return tries
