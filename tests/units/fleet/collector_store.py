"""What a collector's store holds, asked in plain SQL without the product's own reading; and messages for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from agent.fleet.collector.database import Database, open_store
from agent.fleet.collector.ledger import Ledger, Message, Posted
from agent.fleet.collector.parts import Source
from tests.kit.swarm import Book

NewStore = Callable[[], str]


def held_hashes(database: Database) -> dict[tuple[str, str], dict[int, bytes]]:
    """(terminal, journal_id) → sequence → hash."""
    found: dict[tuple[str, str], dict[int, bytes]] = {}
    with database.reading() as session:
        for terminal, journal_id, sequence, hash_ in session.rows(
            "SELECT t.terminal, j.journal_id, e.sequence, e.hash FROM entries e JOIN journals j ON j.id = e.journal"
            " JOIN terminals t ON t.id = j.terminal"
        ):
            found.setdefault((terminal, journal_id), {})[sequence] = bytes(hash_)
    return found


class Post:
    """A ledger over a store, and a clock that a test moves."""

    def __init__(self, store: str, site: str = "S-01") -> None:
        self.database = open_store(store)
        self.ledger = Ledger(self.database)
        self.site, self.now_ms = site, 1_700_000_000_000

    def send(self, *parts: tuple[Book, int, int]) -> Posted:
        """Messages with entries ``first`` to ``last`` of a book, in one commit."""
        return self.raw([(book.terminal, book.message(first, last)) for book, first, last in parts])

    def raw(self, payloads: Sequence[tuple[str, bytes]], kind: str = "txn") -> Posted:
        assert kind in {"txn", "audit"}
        messages = [
            Message(Source(self.site, terminal), "txn" if kind == "txn" else "audit", payload)
            for terminal, payload in payloads
        ]
        return self.ledger.post(messages, self.now_ms)

    def birth(self, terminal: str, payload: bytes) -> Posted:
        return self.ledger.post([Message(Source(self.site, terminal), None, payload)], self.now_ms)

    def later(self, seconds: float) -> Posted:
        """Time passes, and the collector looks after what waits."""
        self.now_ms += int(seconds * 1000)
        return self.ledger.ask(self.now_ms, self.now_ms - 1_000)

    def heads(self, posted: Posted) -> list[tuple[int, int | None]]:
        return [(told.reply.head.sequence, told.reply.resend_from) for told in posted.told]

    def close(self) -> None:
        self.database.close()
