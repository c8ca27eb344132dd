"""One transaction's work on journals: lock their rows, let the rules decide, write it down. SQL and rules meet here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from agent.fleet.collector.database import Row, Session
from agent.fleet.collector.held import Place, Rows, facts_for
from agent.fleet.collector.parts import Checked, Kind, Part, Refusal, Source
from agent.fleet.collector.rules import Gap, Head, Journal, Reply, Settlement, settle

MAX_FORKED_ENTRIES: Final = 10_000
"""Of one journal that are kept apart; of more only the first ones are."""
_ENTRY_COLUMNS: Final = ("journal", "sequence", "at", "record", "hash", "mark", "received_ms")
_JOURNAL_COLUMNS: Final = (
    "id, journal_id, upto, hash, begun, parent, base, since_ms, asks, asked_ms, forked, terminal, kind"
)
_parts: Final = msgspec.msgpack.Decoder(Part)


class Told(NamedTuple):
    """What one terminal is told about one journal."""

    source: Source
    kind: Kind
    journal_id: str
    reply: Reply


class Happened(NamedTuple):
    """Something that a person should know. ``what``: gap, filled, fork, refused, unknown_form."""

    source: Source
    what: str
    text: str


class Arrived:
    """What came of one journal in one group of messages; nothing when only time has passed."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.unknown_form = 0
        self.refused = False

    def take(self, checked: Checked) -> None:
        self.parts += [checked.part] if checked.part is not None else []
        self.unknown_form += len(checked.unknown_form)
        self.refused = self.refused or checked.refusal is not None

    @property
    def anything(self) -> bool:
        return bool(self.parts) or self.refused


class Posting:
    """One transaction's work."""

    def __init__(self, session: Session, terminals: Mapping[Source, int], now_ms: int) -> None:
        self._session, self._terminals, self._now_ms = session, terminals, now_ms
        self.happened: list[Happened] = []
        self._refused: dict[tuple[int, str], tuple[Source, int, str]] = {}
        self.held = 0

    def refuse(self, source: Source, refusal: Refusal) -> None:
        """Count it; of many alike in one commit the last one is shown."""
        key = self._terminals[source], refusal.reason
        times = self._refused[key][1] if key in self._refused else 0
        self._refused[key] = source, times + 1, refusal.detail

    def write_refusals(self) -> None:
        """Write down what was counted, in one order."""
        for (terminal, reason), (source, times, detail) in sorted(self._refused.items()):
            self._session.run(
                "INSERT INTO refusals (terminal, reason, detail, messages, first_ms, last_ms) VALUES (?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (terminal, reason) DO UPDATE SET messages = refusals.messages + excluded.messages,"
                " detail = excluded.detail, last_ms = excluded.last_ms",
                (terminal, reason, detail, times, self._now_ms, self._now_ms),
            )
            self.happened.append(Happened(source, "refused", f"{reason}: {detail}"))

    def settle(self, arrived: Mapping[int, Arrived]) -> list[Told]:
        """Lock, decide and write down; what to tell each terminal once this is committed."""
        if not arrived:
            return []
        session, rows = self._session, Rows(self._session)
        condition, ids = session.among("id", sorted(arrived))
        locked = session.rows(
            f"SELECT {_JOURNAL_COLUMNS} FROM journals WHERE {condition} ORDER BY id{session.lock}",  # noqa: S608
            (ids,),
        )
        states = {row[0]: _journal(row) for row in locked}
        places = {row[0]: Place(row[0], row[11], row[12]) for row in locked}
        sources = self._sources({place.terminal for place in places.values()})
        waiting = self._waiting([number for number, journal in states.items() if journal.since_ms is not None])
        done: dict[int, Settlement] = {}
        answers: list[Told] = []
        for number, journal in states.items():
            came, kept = arrived[number], waiting.get(number, [])
            facts = facts_for(rows, places[number], journal, [*came.parts, *kept])
            settled = settle(journal, came.parts, kept, facts, self._now_ms, told=came.refused)
            source = sources[places[number].terminal]
            done[number] = settled
            self._note(source, settled, came.unknown_form)
            if settled.reply is not None:
                kind: Kind = "audit" if places[number].kind == "audit" else "txn"
                answers.append(Told(source, kind, journal.journal_id, settled.reply))
        self._write(done, arrived)
        return answers

    def _sources(self, terminals: set[int]) -> dict[int, Source]:
        condition, ids = self._session.among("id", sorted(terminals))
        found = self._session.rows(f"SELECT id, site, terminal FROM terminals WHERE {condition}", (ids,))  # noqa: S608
        return {number: Source(site, terminal) for number, site, terminal in found}

    def _waiting(self, journals: Sequence[int]) -> dict[int, list[Part]]:
        found: dict[int, list[Part]] = {}
        if journals:
            condition, ids = self._session.among("journal", journals)
            for journal, part in self._session.rows(
                f"SELECT journal, part FROM waiting WHERE {condition}",  # noqa: S608
                (ids,),
            ):
                found.setdefault(journal, []).append(_parts.decode(part))
        return found

    def _note(self, source: Source, settled: Settlement, strange: int) -> None:
        def note(what: str, text: str) -> None:
            self.happened.append(Happened(source, what, f"journal {settled.journal.journal_id}: {text}"))

        for gap in settled.new_gaps:
            note("gap", _gap_text(gap))
        for gap in settled.changed_gaps:
            if gap.from_seq > gap.upto_seq:
                note("filled", f"the gap up to {gap.upto_seq} is filled")
        if settled.forks:
            note("fork", f"another entry {settled.forks[0].theirs.sequence} than the one held, kept apart")
        if strange:
            note("unknown_form", f"{strange} records of a form that this release does not know, kept")

    def _write(self, done: Mapping[int, Settlement], arrived: Mapping[int, Arrived]) -> None:
        now_ms, session = self._now_ms, self._session
        entries = [
            (number, one.sequence, one.at, one.record.decode(), one.hash, _text(one.mark), now_ms)
            for number, settled in done.items()
            for one in settled.added
        ]
        self.held += len(entries)
        if entries:
            session.insert_bulk("entries", _ENTRY_COLUMNS, entries)
        session.run_many(
            "UPDATE journals SET parent = ?, base = ?, upto = ?, hash = ?, begun = ?, forked = ?, since_ms = ?,"
            " asks = ?, asked_ms = ?, entries = entries + ?, unknown_form = unknown_form + ?,"
            " last_ms = CASE WHEN ? THEN ? ELSE last_ms END WHERE id = ?",
            [
                (
                    *(one.parent, one.base, *one.head, int(one.begun), int(one.forked), one.since_ms),
                    *(one.asks, one.asked_ms, len(settled.added), arrived[number].unknown_form),
                    *(arrived[number].anything, now_ms, number),
                )
                for number, settled in done.items()
                for one in [settled.journal]
            ],
        )
        for number, settled in done.items():
            self._write_rare(number, settled)

    def _write_rare(self, number: int, settled: Settlement) -> None:
        now_ms, session = self._now_ms, self._session
        for part in settled.release:
            session.run(
                "DELETE FROM waiting WHERE journal = ? AND from_seq = ? AND upto_seq = ? AND last_hash = ?",
                (number, part.from_seq, part.upto_seq, part.entries[-1].hash),
            )
        for part in settled.keep:
            session.run(
                "INSERT INTO waiting (journal, from_seq, upto_seq, last_hash, part) VALUES (?, ?, ?, ?, ?)",
                (number, part.from_seq, part.upto_seq, part.entries[-1].hash, msgspec.msgpack.encode(part)),
            )
        for gap in settled.new_gaps:
            session.run(
                "INSERT INTO gaps (journal, first_seq, from_seq, upto_seq, before_hash, after_digest, after_hash,"
                " found_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    number,
                    gap.from_seq,
                    gap.from_seq,
                    gap.upto_seq,
                    gap.before,
                    gap.after_digest,
                    gap.after_hash,
                    now_ms,
                ),
            )
        for gap in settled.changed_gaps:
            filled_ms = now_ms if gap.from_seq > gap.upto_seq else None
            session.run(
                "UPDATE gaps SET from_seq = ?, before_hash = ?, filled_ms = ? WHERE id = ?",
                (gap.from_seq, gap.before, filled_ms, gap.row),
            )
        if settled.forks:
            ((kept,),) = session.rows("SELECT count(*) FROM forks WHERE journal = ?", (number,))
            session.run_many(
                "INSERT INTO forks (journal, sequence, hash, held_hash, at, record, mark, received_ms)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                [
                    (number, one.sequence, one.hash, ours, one.at, one.record.decode(), _text(one.mark), now_ms)
                    for ours, one in settled.forks[: max(0, MAX_FORKED_ENTRIES - kept)]
                ],
            )


def _journal(row: Row) -> Journal:
    """A row of `_JOURNAL_COLUMNS`."""
    _number, journal_id, upto, hash_, begun, parent, base, since_ms, asks, asked_ms, forked, *_rest = row
    head = Head(upto, bytes(hash_))
    return Journal(journal_id, head, bool(begun), parent, base, since_ms, asks, asked_ms, bool(forked))


def _text(mark: bytes | None) -> str | None:
    return None if mark is None else mark.decode()


def _gap_text(gap: Gap) -> str:
    if gap.upto_seq < gap.from_seq:
        return f"begins at {gap.from_seq} with nothing that proves what it continues"
    return f"the terminal has {gap.from_seq} to {gap.upto_seq} no more: a gap is on record"
