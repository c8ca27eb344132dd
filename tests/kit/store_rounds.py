"""One life of ``store_child.py`` after another over the same journal, and the look at the file between two of them."""

from __future__ import annotations

import os
import select
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

from agent.store import chain
from tests.kit.agent_process import ROOT

WAIT_S = 30.0


class StoreChild:
    """A running child; ``told`` are the acknowledgements that arrived whole: sequence → transaction_id."""

    def __init__(self, folder: Path, clients: int) -> None:
        self._read_end, write_end = os.pipe()
        self._told = b""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.kit.store_child", str(folder), str(clients)],
            stdout=write_end,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        os.close(write_end)

    def until(self, acknowledgements: int) -> None:
        """Wait for so many."""
        deadline = time.monotonic() + WAIT_S
        while self._told.count(b"\n") <= acknowledgements:
            readable, _, _ = select.select([self._read_end], [], [], max(deadline - time.monotonic(), 0))
            assert readable, "the child said nothing"
            piece = os.read(self._read_end, 65536)
            assert piece, "the child ended by itself"
            self._told += piece

    def rest(self) -> dict[int, str]:
        """Kill it if it lives, read what it still said, and give everything acknowledged."""
        self.process.kill()
        self.process.wait()
        while piece := os.read(self._read_end, 65536):
            self._told += piece
        os.close(self._read_end)
        lines = self._told.decode().splitlines()
        assert lines[:1] in ([], ["R"])
        return {int(line.split()[0]): line.split()[1] for line in lines[1:]}


def check_journal(path: Path, acknowledged: dict[int, str]) -> tuple[int, int]:
    """The chain holds and is whole; returns the journal's length, and how many of the acknowledged are in it."""
    with sqlite3.connect(path) as db:
        (journal_id,) = db.execute("SELECT value FROM meta WHERE name = 'journal_id'").fetchone()
        rows = db.execute("SELECT sequence, record, hash, transaction_id FROM entries ORDER BY sequence").fetchall()
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.close()
    found = chain.verify(
        (chain.Entry(sequence, record.encode(), stored) for sequence, record, stored, _id in rows),
        0,
        chain.genesis(journal_id),
    )
    assert (found.intact, found.upto_sequence) == (True, len(rows))
    stored = {row[0]: row[3] for row in rows}
    return len(rows), sum(stored.get(sequence) == identifier for sequence, identifier in acknowledged.items())
