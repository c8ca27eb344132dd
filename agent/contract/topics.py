"""Topic Names and Topic Filters below ``pos/v1/<site>/<terminal>/``. Rooms use the part after that prefix.

No Topic Name of ours has more than seven slashes, so that every broker takes it.
"""

from __future__ import annotations

from typing import NamedTuple

ROOT = "pos/v1"
EVERY_TERMINAL = "_all"

STATUS = "agent/status"
BIRTH = "agent/birth"
READINESS = "agent/readiness"
FAULTS = "agent/faults"
CONFIG = "agent/cfg"
TRANSACTIONS = "agent/txn"
AUDIT = "agent/audit"
TRANSACTIONS_ACK = "in/ack/txn"
AUDIT_ACK = "in/ack/audit"
REQUESTS = "in/req/"
REQUEST_FILTER = "in/#"


class Address(NamedTuple):
    """Which terminal: its two levels below the root."""

    site: str
    terminal: str

    def topic(self, below: str) -> str:
        """The whole Topic Name of ``below``, e.g. ``agent/status``."""
        return f"{ROOT}/{self.site}/{self.terminal}/{below}"


def metrics(group: str) -> str:
    """``group``: host, store, agent, or a device's name."""
    return f"agent/m/{group}"


def device_health(device: str) -> str:
    return f"dev/{device}/health"


def event(kind: str) -> str:
    return f"agent/e/{kind}"


def operation(command: str, command_id: str) -> str:
    """Where a command's state is published, retained until it is final and its time has passed."""
    return f"agent/op/{command}/{command_id}"


def request(command: str) -> str:
    """Where the operator publishes orders of one command, never retained."""
    return f"{REQUESTS}{command}"


class Incoming(NamedTuple):
    """A received Topic Name taken apart: ``below`` is what follows the terminal's own level."""

    site_wide: bool
    below: str


def parse_incoming(topic: str, address: Address) -> Incoming | None:
    """Take a received Topic Name apart; None when it is for another terminal."""
    for terminal, site_wide in ((address.terminal, False), (EVERY_TERMINAL, True)):
        prefix = f"{ROOT}/{address.site}/{terminal}/"
        if topic.startswith(prefix):
            return Incoming(site_wide, topic[len(prefix) :])
    return None
