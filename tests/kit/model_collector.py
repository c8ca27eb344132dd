"""What a collector does with entries, as the contract words it, in memory: holds them, checks the chain, answers.

Nothing of the agent is imported: the chain is computed here once more. ``tests/kit/collector.py`` puts it behind MQTT.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from tests.kit.contract_peer import chain_after, chain_start


@dataclass
class HeldJournal:
    """One journal as far as it is held without a gap: entry by sequence, and the chain at its end."""

    journal_id: str
    upto: int = 0
    entries: dict[int, dict[str, Any]] = field(default_factory=dict)
    gaps: list[tuple[int, int]] = field(default_factory=list)
    forks: list[int] = field(default_factory=list)

    def chain(self) -> str:
        return str(self.entries[self.upto]["hash"]) if self.upto in self.entries else chain_start(self.journal_id).hex()

    def lose(self, count: int) -> None:
        """The collector's store is set back: the last ``count`` entries are gone."""
        for sequence in range(self.upto - count + 1, self.upto + 1):
            self.entries.pop(sequence, None)
        self.upto -= count


class ModelCollector:
    """Entries of one terminal. ``receive`` takes a message and gives the acknowledgement to sign."""

    def __init__(self, terminal: str = "T-0001") -> None:
        self.terminal = terminal
        self.journals: dict[str, HeldJournal] = {}
        self._asked: dict[str, int] = {}

    def journal(self) -> HeldJournal:
        """The only one."""
        (one,) = self.journals.values()
        return one

    def receive(self, payload: bytes) -> dict[str, Any]:
        """Take what is new, hold it durably (here: keep it), and say how far it is held."""
        batch = json.loads(payload)
        assert set(batch) == {"journal_id", "from_seq", "entries"}, batch
        assert [item["seq"] for item in batch["entries"]] == [
            batch["from_seq"] + number for number in range(len(batch["entries"]))
        ], "in order, without a hole"
        journal = self.journals.setdefault(batch["journal_id"], HeldJournal(batch["journal_id"]))
        again = None
        for item in batch["entries"]:
            again = self._take(journal, item) or again
        return self.ack(journal, again)

    def ack(self, journal: HeldJournal, resend_from: int | None = None) -> dict[str, Any]:
        """The present word for a journal."""
        said = {
            "terminal": self.terminal,
            "journal_id": journal.journal_id,
            "upto_seq": journal.upto,
            "chain": journal.chain(),
        }
        return said if resend_from is None else {**said, "resend_from": resend_from}

    def _take(self, journal: HeldJournal, item: dict[str, Any]) -> int | None:
        """Take one entry; from where the collector must have them again, if it must."""
        sequence, missing = item["seq"], journal.upto + 1
        if sequence <= journal.upto:
            known = journal.entries.get(sequence)
            if known is not None and known["hash"] != item["hash"]:
                journal.forks.append(sequence)
            return None
        if sequence > missing:
            if self._asked.get(journal.journal_id) != missing:
                self._asked[journal.journal_id] = missing
                return missing
            if not self._begins_later(journal, sequence):
                return missing
            journal.gaps.append((missing, sequence - 1))
        elif chain_after(bytes.fromhex(journal.chain()), sequence, item["record"]).hex() != item["hash"]:
            journal.forks.append(sequence)
            return None
        journal.entries[sequence] = item
        journal.upto = sequence
        return None

    def _begins_later(self, journal: HeldJournal, sequence: int) -> bool:
        """Whether the terminal was asked for what is missing and begins later all the same; for `takes_gaps`."""
        return False


class GapTakingCollector(ModelCollector):
    """Asks once for what is missing; when the terminal begins later all the same, takes it and writes the gap down."""

    def _begins_later(self, journal: HeldJournal, sequence: int) -> bool:
        return True
