"""What happened, from witnesses other than the agent: the SQLite file, the broker, the emulator.

The chain is computed here a second time from the published formula, with nothing of the store's own code, so that the
tour proves the file and not the program that wrote it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from agent.demo.parts import DemoFailed


@dataclass(frozen=True)
class Entry:
    """One row of the journal as it lies in the file."""

    sequence: int
    record: bytes
    hash: bytes

    @property
    def transaction_id(self) -> str:
        return str(json.loads(self.record)["transaction_id"])


@contextmanager
def _opened(database: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=5)) as connection:
        yield connection


def entries(database: Path) -> list[Entry]:
    """Every entry of the journal, in order."""
    with _opened(database) as connection:
        rows = connection.execute("SELECT sequence, record, hash FROM entries ORDER BY sequence").fetchall()
    return [
        Entry(seq, record.encode() if isinstance(record, str) else bytes(record), bytes(h)) for seq, record, h in rows
    ]


def journal_id(database: Path) -> str:
    with _opened(database) as connection:
        (value,) = connection.execute("SELECT value FROM meta WHERE name = 'journal_id'").fetchone()
    return str(value)


def first_journal_id(database: Path) -> str:
    """The journal whose chain began the one in the file: its oldest ancestor, by whose name the first hash is made."""
    with _opened(database) as connection:
        (value,) = connection.execute("SELECT journal_id FROM journals WHERE parent IS NULL").fetchone()
    return str(value)


def collected(store: Path) -> dict[int, bytes]:
    """Sequence → hash of everything that the collector holds in its own database."""
    with _opened(store) as connection:
        return {seq: bytes(h) for seq, h in connection.execute("SELECT sequence, hash FROM entries").fetchall()}


def delivered_upto(database: Path) -> int:
    """Up to where the terminal believes that the collector has everything, as it lies in the file."""
    with _opened(database) as connection:
        row = connection.execute("SELECT value FROM meta WHERE name = 'delivered_upto'").fetchone()
    return int(row[0]) if row else 0


def flip_a_bit(database: Path, near: bytes) -> None:
    """Spoil the file as a medium does that forgets: one bit of ``near``, wherever the file has it.

    Raises:
        DemoFailed: It is not in the file.
    """
    content = database.read_bytes()
    place = content.find(near)
    if place < 0:
        raise DemoFailed(f"{database} does not hold what is to be spoilt")
    with database.open("r+b") as file:
        while place >= 0:
            file.seek(place)
            file.write(bytes([content[place] ^ 1]))
            place = content.find(near, place + 1)


def command_states(database: Path) -> dict[str, str]:
    """command_id → state, as journalled."""
    with _opened(database) as connection:
        return dict(connection.execute("SELECT command_id, phase FROM commands").fetchall())


def check_chain(database: Path) -> int:
    """Recompute the chain; returns its length.

    Raises:
        DemoFailed: A hole in the sequence or a hash that does not follow.
    """
    found = entries(database)
    follow_chain(found, chain_start(first_journal_id(database)))
    return len(found)


def chain_start(journal_id: str) -> bytes:
    """The hash before the first entry of a journal."""
    return hashlib.sha256(bytes(32) + journal_id.encode("ascii")).digest()


def follow_chain(found: Sequence[Entry], previous: bytes, after: int = 0) -> bytes:
    """Recompute the chain over entries that follow the one numbered ``after``, whose hash is ``previous``.

    Raises:
        DemoFailed: A hole in the sequence or a hash that does not follow.
    """
    for sequence, entry in enumerate(found, start=after + 1):
        if entry.sequence != sequence:
            raise DemoFailed(f"there is a hole before sequence {entry.sequence}")
        canonical = json.dumps(json.loads(entry.record), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        content = hashlib.sha256(canonical.encode()).digest()
        previous = hashlib.sha256(previous + entry.sequence.to_bytes(8, "big") + content).digest()
        if previous != entry.hash:
            raise DemoFailed(f"the hash of sequence {entry.sequence} does not follow from its record")
    return previous


class BrokerWitness:
    """What the broker says, asked with Mosquitto's own client."""

    def __init__(self, port: int) -> None:
        self._port = str(port)
        path = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"
        self._subscribe = shutil.which("mosquitto_sub", path=path)
        self._publish = shutil.which("mosquitto_pub", path=path)
        if not self._subscribe or not self._publish:
            raise DemoFailed(
                "mosquitto_sub is not installed; `make run` installs it, or: apt-get install mosquitto-clients"
            )

    def retained(self, topic_filter: str) -> dict[str, object]:
        """Topic Name → decoded payload of every retained message that matches."""
        command = [str(self._subscribe), "-h", "127.0.0.1", "-p", self._port, "-t", topic_filter, "--retained-only"]
        enough = [] if "+" in topic_filter or "#" in topic_filter else ["-C", "1"]
        done = subprocess.run(
            [*command, *enough, "-W", "1", "-F", "%t %p"], capture_output=True, text=True, check=False
        )
        found: dict[str, object] = {}
        for line in done.stdout.splitlines():
            topic, _, payload = line.partition(" ")
            found[topic] = json.loads(payload)
        return found

    def wait_retained(self, topic: str, wanted: Mapping[str, object], timeout_s: float = 30.0) -> dict[str, object]:
        """Return the retained message of ``topic`` once it holds every item of ``wanted``.

        Raises:
            DemoFailed: It did not in time; the message shows what was there.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            message = self.retained(topic).get(topic)
            if isinstance(message, dict) and wanted.items() <= message.items():
                return message
            time.sleep(0.02)
            if time.monotonic() > deadline:
                raise DemoFailed(f"{topic}: waited {timeout_s:g} s for {wanted}, the broker holds {message}")

    def publish(self, topic: str, payload: bytes) -> None:
        """Publish with QoS 1, not retained."""
        command = [str(self._publish), "-h", "127.0.0.1", "-p", self._port, "-q", "1", "-t", topic, "-s"]
        subprocess.run(command, input=payload, check=True)
