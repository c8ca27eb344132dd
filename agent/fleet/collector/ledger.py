"""Messages of many terminals → one commit in the store, and what each terminal is told after it.

Everything that a group of messages changes is in one transaction, with the journals' rows locked first and in order:
so any number of collectors may work on one store, and what one of them signs for is durable and proven.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import msgspec

from agent.errors import AgentError
from agent.fleet.collector.database import Database, Session
from agent.fleet.collector.parts import Kind, Refusal, Source, check_batch, check_birth
from agent.fleet.collector.posting import Arrived, Happened, Posting, Told
from agent.fleet.collector.rules import ASK_AGAIN_MS, ASK_SELDOM_MS, new_journal

MAX_ASKED: Final = 200
"""Journals of one commit: a terminal that invents journals must not fill the memory with what waits of them."""
_bindings: Final = msgspec.json.Decoder(tuple[tuple[str, str, str], ...])


class Message(NamedTuple):
    """One message as it came; ``kind`` None: a birth."""

    source: Source
    kind: Kind | None
    payload: bytes


class Posted(NamedTuple):
    """What one commit did. ``held``: entries that are durable now and were not before."""

    told: list[Told]
    happened: list[Happened]
    held: int


class _Place(NamedTuple):
    source: Source
    kind: Kind
    journal_id: str


class Ledger:
    """Works on one store; not for several threads at once."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._terminals: dict[Source, int] = {}
        self._journals: dict[_Place, int] = {}
        self._bindings: dict[Source, frozenset[tuple[str, str, str]]] = {}

    def post(self, messages: Sequence[Message], now_ms: int) -> Posted:
        """Take a group of messages in one commit; once it returns, everything in ``told`` is durable.

        Raises:
            StoreUnavailable, StoreFull: Nothing was taken; the same group may be posted again.
        """
        try:
            with self._database.transaction() as session:
                posted = self._post(session, messages, now_ms)
        except AgentError:
            # Ids that a transaction gave which was not committed are no ids.
            self._terminals.clear()
            self._journals.clear()
            self._bindings.clear()
            raise
        return posted

    def _post(self, session: Session, messages: Sequence[Message], now_ms: int) -> Posted:
        self._know_terminals(session, {one.source for one in messages}, now_ms)
        posting = Posting(session, self._terminals, now_ms)
        # In one order, here as wherever rows are locked: collectors that meet must not wait for each other in a ring.
        for one in sorted((one for one in messages if one.kind is None), key=lambda one: one.source):
            self._take_birth(posting, session, one, now_ms)
        arrived: dict[_Place, Arrived] = {}
        for one in messages:
            if one.kind is None:
                continue
            checked = check_batch(one.payload, one.kind, self._bindings[one.source])
            if checked.refusal is not None:
                posting.refuse(one.source, checked.refusal)
            if checked.journal_id is None:
                continue
            into = arrived.setdefault(_Place(one.source, one.kind, checked.journal_id), Arrived())
            into.take(checked)
        self._know_journals(session, arrived, now_ms)
        told = posting.settle({self._journals[place]: one for place, one in arrived.items()})
        posting.write_refusals()
        return Posted(told, posting.happened, posting.held)

    def ask(self, now_ms: int, waiting_since_ms: int) -> Posted:
        """Look after journals whose parts have waited since ``waiting_since_ms`` or longer: who is to be asked.

        Raises:
            StoreUnavailable, StoreFull: Nothing was done.
        """
        with self._database.transaction() as session:
            # As `rules` pauses (2: answered once): what it would not ask for is not even read.
            due = session.rows(
                "SELECT id FROM journals WHERE since_ms <= ? AND (asked_ms IS NULL OR asked_ms <= ? AND"
                " (asks = 2 OR ? - asked_ms >= asked_ms - since_ms OR asked_ms <= ?))"
                " ORDER BY COALESCE(asked_ms, since_ms), id LIMIT ?",
                (waiting_since_ms, now_ms - ASK_AGAIN_MS, now_ms, now_ms - ASK_SELDOM_MS, MAX_ASKED),
            )
            posting = Posting(session, self._terminals, now_ms)
            answers = posting.settle({journal: Arrived() for (journal,) in due})
        return Posted(answers, posting.happened, posting.held)

    def _know_terminals(self, session: Session, sources: Iterable[Source], now_ms: int) -> None:
        new = sorted(source for source in sources if source not in self._terminals)
        if not new:
            return
        session.run_many(
            "INSERT INTO terminals (site, terminal, first_ms) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            [(source.site, source.terminal, now_ms) for source in new],
        )
        for source in new:
            for number, bindings in session.rows(
                "SELECT id, bindings FROM terminals WHERE site = ? AND terminal = ?", (source.site, source.terminal)
            ):
                self._terminals[source] = number
                self._bindings[source] = frozenset(_bindings.decode(bindings)) if bindings else frozenset()

    def _take_birth(self, posting: Posting, session: Session, message: Message, now_ms: int) -> None:
        born = check_birth(message.payload)
        if isinstance(born, Refusal):
            posting.refuse(message.source, born)
            return
        terminal = self._terminals[message.source]
        self._bindings[message.source] = frozenset(born.bindings)
        session.run(
            "UPDATE terminals SET serial = ?, bindings = ?, born_ms = ? WHERE id = ?",
            (born.serial, msgspec.json.encode(born.bindings).decode(), now_ms, terminal),
        )
        origin = born.origin
        if origin is not None and origin.parent is not None:
            session.run(
                "INSERT INTO origins (terminal, journal_id, parent, base, base_hash) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT DO NOTHING",
                (terminal, born.journal_id, origin.parent, origin.base_sequence, bytes.fromhex(origin.base_hash)),
            )

    def _know_journals(self, session: Session, places: Iterable[_Place], now_ms: int) -> None:
        new = sorted(place for place in places if place not in self._journals)
        for place in new:
            fresh = new_journal(place.journal_id)
            key = (self._terminals[place.source], place.kind, place.journal_id)
            session.run(
                "INSERT INTO journals (terminal, kind, journal_id, base, upto, hash, begun, forked, entries,"
                " unknown_form, asks, first_ms, last_ms) VALUES (?, ?, ?, 0, 0, ?, 0, 0, 0, 0, 0, ?, ?)"
                " ON CONFLICT DO NOTHING",
                (*key, fresh.head.hash, now_ms, now_ms),
            )
            for (number,) in session.rows(
                "SELECT id FROM journals WHERE terminal = ? AND kind = ? AND journal_id = ?", key
            ):
                self._journals[place] = number
