"""A whole demo terminal below one folder: writes its configurations and key, starts and stops its parts in order.

Broker and emulators stand for the world around a terminal and are processes of the demo itself. The terminal's own
programs (agent, payment application, keypad reader) are units of the supervisor, which stands for systemd: so orders
can restart an application or "reboot" the terminal, and nothing of the machine that the demo runs on is touched.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

import tomli_w

import agent
from agent.demo.keys import COLLECTOR, PERSON, make_development_trust, make_operator_key
from agent.demo.parts import (
    BrokerPart,
    CollectorPart,
    DemoFailed,
    EmulatorPart,
    PrinterPart,
    SupervisorPart,
    UnitView,
    ask,
)
from agent.demo.shop import Shop

SITE, TERMINAL, SERIAL, MODEL = "demo-shop", "T-0001", "SN-DEMO-1", "countertop"
PROVIDER, MID, TID = "acquirer-a", "104110058120001", "00010001"
AGENT_UNIT, SHOP_UNIT, KEYPAD_UNIT = "pos-agent.service", "shop.service", "pos-agent-keypad@keypad-0.service"
CARD: Final = "card"
"""The place for backups."""
KEYPAD_SCALE: Final = 20
"""The keypad's reader takes time so much faster: a key is stuck after 1.5 s instead of 30."""
BOARD_UPTIME_S: Final = 86_400
"""It has been up for a day: a reboot is not held back for having just started."""


def model_text() -> str:
    """The shipped model file, beside the packages in a checkout, else as installed; with a reader for its keypad.

    Raises:
        DemoFailed: It is not there, or has no such keypad.
    """
    for folder in (Path(agent.__file__).parents[1] / "config" / "models", Path("/etc/pos-agent/models")):
        if (file := folder / f"{MODEL}.toml").is_file():
            with_reader = file.read_text().replace("\nreader = false\n", "\nreader = true\n")
            if "\nreader = true\n" in with_reader:
                return with_reader
            raise DemoFailed(f"{file} describes no keypad that a reader could be given to")
    raise DemoFailed(
        f"no model file {MODEL}.toml: neither in config/models of the checkout nor in /etc/pos-agent/models"
    )


class DemoTerminal:
    """``start`` and ``stop`` are whole; in between parts can be killed alone.

    Args:
        selling: The payment application sells by itself from the start.
    """

    def __init__(self, folder: Path, *, trace_imports: bool = False, selling: bool = False) -> None:
        self.folder = folder
        self.broker = BrokerPart(folder)
        self.printer = PrinterPart(folder)
        board, self.keypad_node = folder / "board", folder / "keypad-0"
        self.board = EmulatorPart(
            folder,
            "board",
            "board",
            ["--folder", str(board), "--uptime", str(BOARD_UPTIME_S)],
            makes=board / "dev/input",
        )
        self.keypad = EmulatorPart(
            folder, "keypad", "keypad", ["--node", str(self.keypad_node)], makes=self.keypad_node
        )
        self.boot_id_file = board / "proc/sys/kernel/random/boot_id"
        self.config_file = folder / "agent.toml"
        self.supervisor = SupervisorPart(folder, folder / "supervisor.toml", folder / "run-machine" / "machine.sock")
        self.agent, self.shop_unit, self.keypad_unit = (
            UnitView(self.supervisor, name, folder / "log" / f"{name}.log")
            for name in (AGENT_UNIT, SHOP_UNIT, KEYPAD_UNIT)
        )
        self.payment_socket = folder / "run" / "payment.sock"
        self.control_socket = folder / "run" / "control.sock"
        self.database = folder / "state" / "agent.db"
        self.key_file = folder / "keys" / f"{PERSON}.key.json"
        self.collector = CollectorPart(folder, SITE, folder / "keys" / f"{COLLECTOR}.key.json")
        self.operator_key = folder / "operator" / "age.key"
        self.card = folder / "card"
        self.policy_file = folder / "trust" / "policy.json"
        self.shop_control = folder / "shop.control"
        self.shop_book = folder / "shop.book"
        self.shop_cache = folder / "cache" / "shop"
        self.keypad_report = folder / "run-keypad" / "keypad-0" / "report.json"
        self.shop = Shop(self.payment_socket, PROVIDER, MID, TID)
        self._trace_imports = trace_imports
        self._selling = selling

    @property
    def prefix(self) -> str:
        """Of every Topic Name of this terminal."""
        return f"pos/v1/{SITE}/{TERMINAL}/"

    def ask_shop(self, request: dict[str, object]) -> dict[str, Any]:
        """One request to the payment application; see ``shopkeeper.py``."""
        answer = ask(self.shop_control, request)
        if not answer.get("ok"):
            raise DemoFailed(f"the shop: {answer.get('error')}")
        return answer

    def acknowledged_by_shop(self) -> set[tuple[str, int]]:
        """(transaction_id, sequence) of everything that the payment application was told is durable."""
        lines = self.shop_book.read_text().splitlines() if self.shop_book.exists() else []
        return {(words[1], int(words[2])) for words in map(str.split, lines)}

    def write(self) -> None:
        """Configurations, model file, development key and policy."""
        for folder in ("models", "run-keypad/keypad-0", "run-machine", "log", "card"):
            (self.folder / folder).mkdir(parents=True, exist_ok=True)
        (self.folder / "models" / f"{MODEL}.toml").write_text(model_text())
        written_by = "# Written by `pos-agent demo`. Every path is below this folder, the broker is on loopback.\n"
        self.config_file.write_text(written_by + tomli_w.dumps(self._agent_settings()))
        (self.folder / "supervisor.toml").write_text(written_by + tomli_w.dumps(self._supervisor_settings()))
        make_development_trust(self.key_file.parent, self.policy_file)

    def start(self) -> None:
        """Everything, each part awaited before the next."""
        self.write()
        self.broker.start()
        for emulator in (self.printer, self.board, self.keypad):
            emulator.start()
        self.supervisor.start()
        self.collector.start(self.broker.port)

    def stop(self) -> None:
        """Everything still running, in the order that loses nothing.

        Raises:
            DemoFailed: The agent did not end with exit code 0.
        """
        self.shop.close()
        try:
            if self.supervisor.running:
                self.supervisor.stop()
                if (code := self.supervisor.last_exit_code(AGENT_UNIT)) != 0:
                    raise DemoFailed(f"the agent ended with {code}; log: {self.agent.log_file}")
        finally:
            for part in (self.collector, self.keypad, self.board, self.printer, self.broker):
                part.stop()

    def _backup_settings(self) -> dict[str, Any]:
        """A folder stands for a card; it is on no device of its own, since nothing is mounted without root."""
        return {
            "recipients": [make_operator_key(self.operator_key)],
            "folder": [{"name": CARD, "path": str(self.card)}],
            "segment_after_s": 1.0,
        }

    def _agent_settings(self) -> dict[str, Any]:
        folder, board = str(self.folder), f"{self.folder}/board"
        return {
            "mode": "development",
            "terminal": {"site": SITE, "terminal": TERMINAL, "serial": SERIAL, "model": MODEL},
            "binding": [{"provider": PROVIDER, "mid": MID, "tid": TID}],
            "application": [{"name": "shop", "unit": SHOP_UNIT}],
            "paths": {
                **{"state": f"{folder}/state", "run": f"{folder}/run", "keypad_reports": f"{folder}/run-keypad"},
                **{"procfs": f"{board}/proc", "sysfs": f"{board}/sys", "dev": f"{board}/dev"},
            },
            "uplink": {
                **{"host": "127.0.0.1", "port": self.broker.port, "tls": False},
                **{"backoff_limit_s": 2.0, "metrics_interval_s": 5.0},
            },
            "trust": {"policy": str(self.policy_file), "tuf_root": f"{folder}/trust/root.json"},
            "clock": {"trust": "assume"},
            "machine": {"kind": "supervisor", "socket": str(self.supervisor.control), "own_unit": AGENT_UNIT},
            "devices": {"printer-0": {"port": str(self.printer.port)}},
            "health": {"interval_s": 1.0},
            "backup": self._backup_settings(),
        }

    def _supervisor_settings(self) -> dict[str, Any]:
        python = sys.executable
        traced = ["-X", "importtime"] if self._trace_imports else []
        reader = ["--node", str(self.keypad_node), "--report", str(self.keypad_report)]
        who = ["--provider", PROVIDER, "--mid", MID, "--tid", TID, *(["--selling"] if self._selling else [])]
        places = ["--socket", str(self.payment_socket), "--control", str(self.shop_control)]
        places += ["--book", str(self.shop_book), "--cache", str(self.shop_cache)]
        return {
            "folder": str(self.folder),
            "socket": str(self.supervisor.control.relative_to(self.folder)),
            "ledger": "run-machine/ledger.json",
            "boot_id": str(self.boot_id_file.relative_to(self.folder)),
            "reboot_interval_s": 0,
            "unit": [
                {
                    "name": AGENT_UNIT,
                    "argv": [
                        *(python, "-OO", *traced, "-m", "agent.demo.daemon"),
                        *(str(self.config_file), str(self.folder)),
                    ],
                    "kind": "notify",
                    "watchdog_s": 60,
                },
                {
                    "name": SHOP_UNIT,
                    "argv": [python, "-m", "agent.demo.shopkeeper", *places, *who],
                    "kind": "notify",
                    "cache": [str(self.shop_cache.relative_to(self.folder))],
                    "after": [AGENT_UNIT],
                },
                {
                    "name": KEYPAD_UNIT,
                    "argv": [python, "-m", "drivers.pos_keyboard.reader", *reader, "--scale", str(KEYPAD_SCALE)],
                },
            ],
        }
