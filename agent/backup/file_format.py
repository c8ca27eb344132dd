"""What stands in a backup file: the writer, and the strict reader that proves it. Pure: streams in and out, no files.

UTF-8 NDJSON, one object a line: the header; entries in order, as they are shown and sent (`EntryItem`); in a snapshot
then every other table (`{"table","columns"}`, then `{"row":[…]}`, a blob as `{"b64":…}`); last the trailer with counts,
the chain so far, and the SHA-256 of every byte before it. A reader that came to the end without an error has proved
all of it; whatever it gave before that is not proved yet. Compression is here, encryption in ``age.py``.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import IO, Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Raw, Struct

from agent.contract.backup_views import BackupKind
from agent.contract.journal_upload import Hash
from agent.contract.journal_upload import Sequence as SequenceNumber
from agent.contract.journal_views import EntryItem, Mark
from agent.errors import BackupUnusable
from agent.store import chain

FORMAT: Final = 1
_MAX_LINE_BYTES: Final = 8 * 1024 * 1024
_COMPRESS_LEVEL: Final = 6
_ENTRY: Final = b'{"seq":'
_TABLE: Final = b'{"table":'
_ROW: Final = b'{"row":'
_TRAILER: Final = b'{"end":'

Value = int | float | str | bytes | None
"""What a column of SQLite can hold."""


class AnchorPoint(Struct, frozen=True, forbid_unknown_fields=True):
    """The chain before the first entry: ``sequence`` of the entry that is not here any more (0: none), its ``hash``."""

    sequence: SequenceNumber
    hash: Hash


class JournalLine(Struct, frozen=True, forbid_unknown_fields=True):
    """One row of table ``journals``: the present journal and its ancestors."""

    journal_id: str
    base_sequence: SequenceNumber
    base_hash: Hash
    parent: str | None
    began_at: int
    cause: str


class Gap(Struct, frozen=True, forbid_unknown_fields=True):
    """Sequences that the journal itself has no entries for, both ends included. ``cause``: damage, backup."""

    from_seq: SequenceNumber
    upto_seq: SequenceNumber
    cause: str


class Header(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The first line.

    Attributes:
        journals: Oldest first; the last is the present one, ``journal_id``.
        from_seq: The first entry, but for a gap there; ``anchor.sequence + 1``.
        upto_seq: The last entry; ``from_seq - 1`` where there is none.
        missing: Those gaps of the journal that lie within.
        version: Of the agent that made it. ``schema``: of its store.
    """

    format: Literal[1] = FORMAT
    kind: BackupKind
    site: str
    terminal: str
    serial: str
    journal_id: str
    journals: tuple[JournalLine, ...]
    anchor: AnchorPoint
    from_seq: SequenceNumber
    upto_seq: SequenceNumber
    missing: tuple[Gap, ...]
    made_at: str
    version: str
    schema: int


class Entry(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A journal entry. ``record``: the very bytes that the chain is made of, RFC 8785 JSON."""

    seq: SequenceNumber
    at: str
    record: Raw
    hash: Hash
    mark: Mark | None = None

    @property
    def item(self) -> EntryItem:
        """The same with its record decoded, as `agent.store.entry_rows.put_back` takes it."""
        return EntryItem(self.seq, self.at, msgspec.json.decode(self.record), self.hash, self.mark)


class Table(Struct, frozen=True, forbid_unknown_fields=True):
    """The beginning of a table's rows."""

    table: Annotated[str, Meta(pattern=r"\A[a-z_]{1,64}\Z")]
    columns: tuple[Annotated[str, Meta(pattern=r"\A[a-z0-9_]{1,64}\Z")], ...]


class Row(Struct, frozen=True):
    """A row of the table before it; as many values as that has columns."""

    row: tuple[Value, ...]


class Trailer(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The last line.

    Attributes:
        chain: Hash of the entry ``upto_seq``; the anchor's where there is no entry.
        sha256: Of all lines before this one, with their ends.
    """

    end: bool = True
    entries: int
    rows: int
    chain: Hash
    sha256: Hash


Part = Header | Entry | Table | Row | Trailer


class _Blob(Struct, frozen=True, forbid_unknown_fields=True):
    b64: bytes


class _RowLine(Struct, frozen=True, forbid_unknown_fields=True):
    row: tuple[int | float | str | _Blob | None, ...]


class Writer:
    """Writes one file's lines in their order. ``out`` is what `compressing` gave, or any stream of bytes."""

    def __init__(self, out: IO[bytes], header: Header) -> None:
        self._out = out
        self._digest = sha256()
        self._entries = self._rows = 0
        self._chain = header.anchor.hash
        self._encoder = msgspec.json.Encoder()
        self._line(header)

    def entry(self, entry: Entry) -> None:
        """The next entry; order and chain are the caller's promise, the reader's to prove."""
        self._line(entry)
        self._entries += 1
        self._chain = entry.hash

    def table(self, name: str, columns: Sequence[str]) -> None:
        """From here on rows of this table; after the last entry."""
        self._line(Table(name, tuple(columns)))

    def row(self, values: Sequence[Value]) -> None:
        """The next row of the table, values in the order of its columns."""
        self._line(_RowLine(tuple(_Blob(value) if isinstance(value, bytes) else value for value in values)))
        self._rows += 1

    def end(self) -> Trailer:
        """Write the trailer: the file is whole. ``out`` is left open."""
        trailer = Trailer(entries=self._entries, rows=self._rows, chain=self._chain, sha256=self._digest.hexdigest())
        self._line(trailer)
        return trailer

    def _line(self, content: Struct) -> None:
        line = self._encoder.encode(content) + b"\n"
        self._digest.update(line)
        self._out.write(line)


def compressing(out: IO[bytes]) -> gzip.GzipFile:
    """A stream that compresses into ``out``; closing it writes the end and leaves ``out`` open. No name, no time."""
    return gzip.GzipFile(filename="", mode="wb", compresslevel=_COMPRESS_LEVEL, fileobj=out, mtime=0)


def read_compressed(source: IO[bytes]) -> Iterator[Part]:
    """`read` for a compressed stream."""
    with gzip.GzipFile(mode="rb", fileobj=source) as plain:
        yield from read(plain)  # type: ignore[arg-type]  # a GzipFile is such a stream


def read(source: IO[bytes]) -> Iterator[Part]:
    """Everything in a file, in order: header, entries, tables with their rows, trailer.

    What it yields is of right form and links into the chain; that nothing is altered or missing is known only when
    the iterator ends by itself.

    Raises:
        BackupUnusable: Cut short, altered, out of order, or holding what does not belong there: ``facts['line']``, and
            the entry concerned in ``facts['sequence']`` where there is one.
    """
    return _Reader(source).parts()


class _Reader:
    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self._digest = sha256()
        self._number = 0
        self._entries = self._rows = 0
        self._chain = b""
        self._last = 0
        self._gaps: list[tuple[int, int]] = []

    def parts(self) -> Iterator[Part]:
        line = self._line()
        header: Header = self._decoded(line, Header)
        self._begin(header)
        self._digest.update(line)
        yield header
        columns: int | None = None
        tables: set[str] = set()
        while not (line := self._line()).startswith(_TRAILER):
            if line.startswith(_ENTRY) and columns is None:
                entry = self._decoded(line, Entry)
                self._link(entry, header)
                yield entry
            elif line.startswith(_ROW) and columns is not None:
                yield self._row(line, columns)
            elif line.startswith(_TABLE) and header.kind == "snapshot":
                table = self._decoded(line, Table)
                if table.table in tables or table.table == "entries":
                    raise self._unusable(f"table {table.table} stands twice")
                self._entries_complete(header)
                tables.add(table.table)
                columns = len(table.columns)
                yield table
            else:
                raise self._unusable("what stands there does not belong there")
            self._digest.update(line)
        yield self._end(line, header)

    def _line(self) -> bytes:
        """The next line with its end; not yet part of the digest, because the trailer's is not."""
        self._number += 1
        try:
            line = self._source.readline(_MAX_LINE_BYTES)
        except (EOFError, zlib.error, gzip.BadGzipFile) as err:
            raise self._unusable("the compressed bytes are cut short or altered") from err
        if not line.endswith(b"\n"):
            what = "the line is too long" if len(line) >= _MAX_LINE_BYTES else "the file is cut short"
            raise self._unusable(what)
        return line

    def _decoded(self, line: bytes, kind: type[Any]) -> Any:
        try:
            return msgspec.json.decode(line, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as err:  # its text may quote content: not shown
            raise self._unusable(f"no {kind.__name__.strip('_').lower()} of a form that this release knows") from err

    def _begin(self, header: Header) -> None:
        self._chain = bytes.fromhex(header.anchor.hash)
        self._last = header.anchor.sequence
        if header.from_seq != self._last + 1 or header.upto_seq < self._last:
            raise self._unusable("the header's sequences contradict each other")
        if not header.journals or header.journals[-1].journal_id != header.journal_id:
            raise self._unusable("the header does not say where its journal comes from")
        before = self._last
        for gap in header.missing:
            if not before < gap.from_seq <= gap.upto_seq <= header.upto_seq:
                raise self._unusable("the header's missing sequences contradict each other")
            self._gaps.append((gap.from_seq, gap.upto_seq))
            before = gap.upto_seq

    def _link(self, entry: Entry, header: Header) -> None:
        expected = self._last + 1
        after_gap = False
        while self._gaps and self._gaps[0][0] == expected:
            expected, after_gap = self._gaps.pop(0)[1] + 1, True
        if entry.seq != expected or entry.seq > header.upto_seq:
            raise self._unusable(f"entry {expected} should stand there", sequence=expected)
        digest = bytes.fromhex(entry.hash)
        if not after_gap and digest != chain.link(self._chain, entry.seq, chain.record_digest(bytes(entry.record))):
            raise self._unusable(f"entry {entry.seq} does not link to the one before it", sequence=entry.seq)
        self._chain, self._last = digest, entry.seq
        self._entries += 1

    def _entries_complete(self, header: Header) -> None:
        last = self._last
        while self._gaps and self._gaps[0][0] == last + 1:
            last = self._gaps.pop(0)[1]
        if last != header.upto_seq:
            raise self._unusable(f"entries end at {last}, the header names {header.upto_seq}", sequence=last + 1)
        self._last = last

    def _row(self, line: bytes, columns: int) -> Row:
        values = self._decoded(line, _RowLine).row
        if len(values) != columns:
            raise self._unusable("a row has another number of values than its table has columns")
        self._rows += 1
        return Row(tuple(value.b64 if isinstance(value, _Blob) else value for value in values))

    def _end(self, line: bytes, header: Header) -> Trailer:
        self._entries_complete(header)
        trailer: Trailer = self._decoded(line, Trailer)
        found = Trailer(
            entries=self._entries, rows=self._rows, chain=self._chain.hex(), sha256=self._digest.hexdigest()
        )
        if trailer != found:
            raise self._unusable("what was read is not what was written: the trailer's figures do not agree")
        self._number += 1
        try:
            rest = self._source.read(1)
        except (EOFError, zlib.error, gzip.BadGzipFile) as err:
            raise self._unusable("the compressed bytes are cut short or altered") from err
        if rest:
            raise self._unusable("something stands after the end")
        return trailer

    def _unusable(self, what: str, *, sequence: int | None = None) -> BackupUnusable:
        return BackupUnusable(
            f"line {self._number}: {what}",
            hint="use another file: an older snapshot, or the segments beside it",
            line=self._number,
            sequence=sequence,
        )
