"""A backup file says everything or is refused: nothing altered, cut, swapped or added goes through as a backup."""

from __future__ import annotations

import io
import json
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.backup.file_format import AnchorPoint, Entry, Gap, Header, Row, Table, Trailer, Writer, read, read_compressed
from agent.errors import BackupUnusable
from tests.kit.backup_parts import JOURNAL_ID, compressed, entries, header, segment, snapshot


def _end(lines: bytes) -> bytes:
    """The trailer for lines that were altered by somebody who can compute it, with the figures as they were."""
    *before, last = lines.splitlines(keepends=True)
    trailer = json.loads(last)
    trailer["sha256"] = sha256(b"".join(before)).hexdigest()
    return b"".join(before) + json.dumps(trailer, separators=(",", ":")).encode() + b"\n"


def _refused(lines: bytes) -> BackupUnusable:
    with pytest.raises(BackupUnusable) as caught:
        list(read(io.BytesIO(lines)))
    return caught.value


def test_what_was_written_is_read_again() -> None:
    first, *parts, last = read_compressed(io.BytesIO(compressed(segment(5))))
    assert first == header(5)
    assert parts == entries(5)
    assert isinstance(last, Trailer)
    assert (last.entries, last.rows, last.chain) == (5, 0, entries(5)[-1].hash)
    assert [part.item.mark is not None for part in parts if isinstance(part, Entry)] == [
        False,
        False,
        True,
        False,
        False,
    ]


def test_a_snapshots_tables_keep_every_kind_of_value() -> None:
    parts = list(read(io.BytesIO(snapshot())))
    assert parts[4:] == [
        Table("meta", ("name", "value")),
        Row(("journal_id", JOURNAL_ID)),
        Row((b"\x00\xff", 1.5)),
        Row((None, -3)),
        Table("outbox", ("id",)),
        parts[-1],
    ]


def test_a_file_without_entries_is_a_file() -> None:
    kinds = [type(part) for part in read(io.BytesIO(segment(0)))]
    assert kinds == [Header, Trailer]


@given(st.data())
def test_a_file_cut_anywhere_is_noticed(data: st.DataObject) -> None:
    whole = compressed(snapshot())
    length = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(BackupUnusable):
        list(read_compressed(io.BytesIO(whole[:length])))


@given(st.data())
def test_lines_cut_anywhere_are_noticed(data: st.DataObject) -> None:
    whole = snapshot()
    _refused(whole[: data.draw(st.integers(0, len(whole) - 1))])


@given(st.data())
def test_one_flipped_bit_is_noticed(data: st.DataObject) -> None:
    for whole, reader in ((snapshot(), read), (segment(), read)):
        altered = bytearray(whole)
        altered[data.draw(st.integers(0, len(whole) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        with pytest.raises(BackupUnusable):
            list(reader(io.BytesIO(bytes(altered))))


@given(st.data())
def test_lines_in_another_order_are_noticed_even_under_a_right_checksum(data: st.DataObject) -> None:
    *lines, last = segment(5).splitlines(keepends=True)
    order = data.draw(st.permutations(range(len(lines))))
    if order == list(range(len(lines))):
        return
    _refused(_end(b"".join(lines[index] for index in order) + last))


@pytest.mark.parametrize("line", range(1, 6))
def test_an_entry_that_is_left_out_or_stands_twice_is_named(line: int) -> None:
    lines = segment(5).splitlines(keepends=True)
    assert _refused(_end(b"".join(lines[:line] + lines[line + 1 :]))).facts["sequence"] == line
    assert "should stand there" in str(_refused(_end(b"".join(lines[: line + 1] + lines[line:]))))


def test_another_record_under_the_same_hash_is_named() -> None:
    error = _refused(_end(segment(5).replace(b'"amount_minor":4', b'"amount_minor":40')))
    assert error.facts == {"line": 5, "sequence": 4}


@pytest.mark.parametrize(
    "foreign",
    [
        b'{"row":[1]}\n',
        b"{}\n",
        b"\n",
        b'{"table":"meta","columns":[]}\n',
        b"\xff\xfe\n",
        b'{"seq":6}\n',
        b"[" * 3000 + b"\n",
        b'{"seq":6,"at":"","record":{},"hash":"00","more":1}\n',
    ],
)
def test_a_line_that_does_not_belong_into_a_segment_is_refused(foreign: bytes) -> None:
    *lines, last = segment(5).splitlines(keepends=True)
    assert _refused(_end(b"".join(lines) + foreign + last)).facts["line"] == 7


def test_nothing_may_stand_after_the_end() -> None:
    assert "after the end" in str(_refused(segment() + b"\n"))
    assert "after the end" in str(_refused(segment() + segment()))
    with pytest.raises(BackupUnusable, match="after the end"):
        list(read_compressed(io.BytesIO(compressed(segment()) + compressed(b"more"))))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"row":[null,-3]', b'"row":[null]'),
        (b'"row":[null,-3]', b'"row":[null,[]]'),
        (b'"row":[null,-3]', b'"row":[null,{"b64":"!"}]'),
        (b'"table":"outbox"', b'"table":"meta"'),
        (b'"table":"outbox"', b'"table":"entries"'),
        (b'"table":"outbox"', b'"table":"out; drop"'),
        (b'{"table":"outbox","columns":["id"]}', b'{"seq":4}'),
        (b'"format":1', b'"format":2'),
        (b'"upto_seq":3', b'"upto_seq":4'),
        (b'"upto_seq":3', b'"upto_seq":2'),
        (b'"from_seq":1', b'"from_seq":2'),
        (b'"missing":[]', b'"missing":[{"from_seq":3,"upto_seq":2,"cause":"damage"}]'),
        (b'"journals":[', b'"journals":[],"more":['),
        (b'"rows":3', b'"rows":2'),
    ],
)
def test_a_contradiction_is_refused_even_under_a_right_checksum(old: bytes, new: bytes) -> None:
    whole = snapshot()
    assert old in whole
    _refused(_end(whole.replace(old, new)))


def test_a_line_without_end_does_not_fill_the_memory() -> None:
    class Endless(io.RawIOBase):
        read_bytes = 0

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
            buffer[:] = b"x" * len(buffer)
            self.read_bytes += len(buffer)
            return len(buffer)

    endless = Endless()
    with pytest.raises(BackupUnusable, match="too long"):
        list(read(io.BufferedReader(endless)))
    assert endless.read_bytes <= 16 * 1024 * 1024


def _with_gaps(*gaps: Gap) -> bytes:
    left_out = {sequence for gap in gaps for sequence in range(gap.from_seq, gap.upto_seq + 1)}
    out = io.BytesIO()
    writer = Writer(out, header(6, missing=gaps))
    for one in entries(6):
        if one.seq not in left_out:
            writer.entry(one)
    writer.end()
    return out.getvalue()


@pytest.mark.parametrize("gaps", [[(2, 3)], [(1, 1)], [(2, 2), (3, 3), (5, 5)], [(5, 6)], [(1, 6)]])
def test_sequences_that_the_journal_itself_misses_are_allowed_where_they_are_named(gaps: list[tuple[int, int]]) -> None:
    whole = _with_gaps(*(Gap(first, last, "damage") for first, last in gaps))
    left_out = {sequence for first, last in gaps for sequence in range(first, last + 1)}
    read_again = [part.seq for part in read(io.BytesIO(whole)) if isinstance(part, Entry)]
    assert read_again == [sequence for sequence in range(1, 7) if sequence not in left_out]


def test_a_gap_that_holds_entries_after_all_is_refused() -> None:
    *lines, last = segment(6).splitlines(keepends=True)
    gap = b'"missing":[{"from_seq":2,"upto_seq":3,"cause":"damage"}]'
    _refused(_end(b"".join([lines[0].replace(b'"missing":[]', gap), *lines[1:]]) + last))


def test_a_later_segment_begins_at_its_anchor() -> None:
    before = entries(4)
    anchor = AnchorPoint(4, before[-1].hash)
    out = io.BytesIO()
    writer = Writer(out, header(6, anchor=anchor))
    for one in entries(2, after=4, previous=bytes.fromhex(anchor.hash)):
        writer.entry(one)
    writer.end()
    assert [part.seq for part in read(io.BytesIO(out.getvalue())) if isinstance(part, Entry)] == [5, 6]
    wrong = out.getvalue().replace(anchor.hash.encode(), before[0].hash.encode())
    assert _refused(_end(wrong)).facts["sequence"] == 5
