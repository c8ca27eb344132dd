"""A whole demo terminal below one folder: writes its configuration and key, starts and stops its parts in order."""

from __future__ import annotations

import shutil
from pathlib import Path

import agent
from agent.demo.keys import PERSON, make_development_trust
from agent.demo.parts import AgentPart, BoardPart, BrokerPart, DemoFailed, PrinterPart
from agent.demo.shop import Shop

SITE, TERMINAL, SERIAL, MODEL = "demo-shop", "T-0001", "SN-DEMO-1", "countertop"
PROVIDER, MID, TID = "acquirer-a", "104110058120001", "00010001"
_CONFIG = """\
# Written by `pos-agent demo`. Every path is below this folder, the broker is on loopback.
mode = "development"

[terminal]
site = "{site}"
terminal = "{terminal}"
serial = "{serial}"
model = "{model}"

[[binding]]
provider = "{provider}"
mid = "{mid}"
tid = "{tid}"

[paths]
state = "{folder}/state"
run = "{folder}/run"
procfs = "{board}/proc"
sysfs = "{board}/sys"
dev = "{board}/dev"

[uplink]
host = "127.0.0.1"
port = {port}
tls = false
backoff_limit_s = 2.0
metrics_interval_s = 5.0

[trust]
policy = "{folder}/trust/policy.json"
tuf_root = "{folder}/trust/root.json"

[clock]
trust = "assume"

[devices.printer-0]
port = "{printer}"

[health]
interval_s = 1.0
"""


def model_folder() -> Path:
    """Where the shipped model files are: beside the packages in a checkout, else as installed.

    Raises:
        DemoFailed: Neither exists.
    """
    for folder in (Path(agent.__file__).parents[1] / "config" / "models", Path("/etc/pos-agent/models")):
        if (folder / f"{MODEL}.toml").is_file():
            return folder
    raise DemoFailed(
        f"no model file {MODEL}.toml: neither in config/models of the checkout nor in /etc/pos-agent/models"
    )


class DemoTerminal:
    """Broker, printer, board, agent, shop. ``start`` and ``stop`` are whole; in between parts can be killed alone."""

    def __init__(self, folder: Path, *, trace_imports: bool = False) -> None:
        self.folder = folder
        self.broker = BrokerPart(folder)
        self.printer = PrinterPart(folder)
        self.board = BoardPart(folder)
        self.config_file = folder / "agent.toml"
        self.agent = AgentPart(folder, self.config_file, trace_imports=trace_imports)
        self.payment_socket = folder / "run" / "payment.sock"
        self.control_socket = folder / "run" / "control.sock"
        self.database = folder / "state" / "agent.db"
        self.key_file = folder / "keys" / f"{PERSON}.key.json"
        self.policy_file = folder / "trust" / "policy.json"
        self.shop = Shop(self.payment_socket, PROVIDER, MID, TID)

    @property
    def prefix(self) -> str:
        """Of every Topic Name of this terminal."""
        return f"pos/v1/{SITE}/{TERMINAL}/"

    def write(self) -> None:
        """Configuration, model file, development key and policy."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "models").mkdir(exist_ok=True)
        shutil.copy(model_folder() / f"{MODEL}.toml", self.folder / "models" / f"{MODEL}.toml")
        self.config_file.write_text(
            _CONFIG.format(
                site=SITE,
                terminal=TERMINAL,
                serial=SERIAL,
                model=MODEL,
                provider=PROVIDER,
                mid=MID,
                tid=TID,
                folder=self.folder,
                port=self.broker.port,
                printer=self.printer.port,
                board=self.board.folder,
            )
        )
        make_development_trust(self.key_file.parent, self.policy_file)

    def start(self) -> None:
        """Everything, each part awaited before the next."""
        self.write()
        self.broker.start()
        self.printer.start()
        self.board.start()
        self.agent.start()

    def stop(self) -> None:
        """Everything still running, in the order that loses nothing.

        Raises:
            DemoFailed: The agent did not end with exit code 0.
        """
        self.shop.close()
        try:
            if self.agent.running and (code := self.agent.stop()) != 0:
                raise DemoFailed(f"the agent ended with {code}; log: {self.agent.log_file}")
        finally:
            self.board.stop()
            self.printer.stop()
            self.broker.stop()
