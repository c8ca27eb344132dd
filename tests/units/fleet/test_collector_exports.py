"""`posctl fleet collect export`: the same entries in every form, money exact, nothing a spreadsheet would run."""

from __future__ import annotations

import csv
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agent.backup import age
from agent.backup.file_format import Entry, Header, Trailer, read_compressed
from agent.backup.file_names import parse_name
from agent.contract.currencies import CURRENCIES, decimal_text
from agent.ctl.__main__ import main
from agent.ctl.render.money import money
from agent.fleet.collector.export_rows import COLUMNS, csv_cell
from tests.kit.swarm import Book
from tests.units.fleet.collector_store import Post
from tests.units.fleet.test_collector_parts import message, record


def export(store: str, out: Path, form: str, *words: str) -> int:
    return main(["fleet", "collect", "export", "--store", store, "--format", form, "--out", str(out), *words])


@pytest.fixture
def filled(store: str) -> str:
    """Two terminals: one with plain sales, one with records that are awkward."""
    post = Post(store)
    book = Book("T-1")
    book.write(30)
    post.send((book, 1, 30))
    awkward = [
        record(memo="=HYPERLINK(1)"),
        record(merchant_order_no="+1", currency="392", amount_minor=1234),
        record(currency="414", amount_minor=1234, tip_minor=5),
        record(currency="999", amount_minor=1234),
        record(loyalty="gold", batch_no="000777"),
        record(local_at="2026-11-21T01:00:00+08:00", dcc={"amount_minor": 5, "currency": "840"}),
    ]
    post.raw([("T-2", message(*awkward, at="2026-11-20T23:30:00.5Z"))])
    post.close()
    return store


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_csv_has_every_field_money_as_decimals_and_no_formula(filled: str, tmp_path: Path) -> None:
    out = tmp_path / "all.csv"
    assert export(filled, out, "csv") == 0
    rows = rows_of(out)
    assert len(rows) == 36
    assert list(rows[0]) == list(COLUMNS)
    assert rows[0]["stan"] == "000001"  # digits stay text
    assert rows[0]["amount"] == "0.07"
    two = [row for row in rows if row["terminal"] == "T-2"]
    assert two[0]["memo"] == "'=HYPERLINK(1)"
    assert two[1]["merchant_order_no"] == "'+1"
    assert (two[1]["amount"], two[1]["currency_name"]) == ("1234", "JPY")
    assert (two[2]["amount"], two[2]["tip"]) == ("1.234", "0.005")
    assert (two[3]["amount"], two[3]["amount_minor"]) == ("", "1234")  # a currency whose decimals nobody knows
    assert two[4]["other_fields"] == '{"loyalty":"gold"}'
    assert two[5]["local_at_utc"] == "2026-11-20T17:00:00Z"
    assert two[5]["recorded_at"] == "2026-11-20T23:30:00.500000Z"
    assert two[5]["dcc"] == '{"amount_minor":5,"currency":"840"}'


def test_ndjson_is_what_the_terminal_sent(filled: str, tmp_path: Path) -> None:
    out = tmp_path / "all.ndjson"
    assert export(filled, out, "ndjson", "--terminal", "T-1") == 0
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    book = Book("T-1")
    book.write(30)
    assert [line["record"] for line in lines] == [json.loads(book.record(number)) for number in range(1, 31)]
    assert [line["hash"] for line in lines] == [hash_.hex() for hash_ in book.hashes[1:]]
    assert lines[0]["amounts"] == {"amount": "0.07", "currency": "CNY"}


def test_sqlite_holds_the_same_rows(filled: str, tmp_path: Path) -> None:
    out, as_csv = tmp_path / "all.db", tmp_path / "all.csv"
    assert export(filled, out, "sqlite") == 0
    assert export(filled, as_csv, "csv") == 0
    with closing(sqlite3.connect(out)) as database:
        database.row_factory = sqlite3.Row
        rows: list[dict[str, Any]] = [dict(row) for row in database.execute("SELECT * FROM entries ORDER BY rowid")]
    assert [{name: csv_cell(value) for name, value in row.items()} for row in rows] == rows_of(as_csv)
    assert rows[0]["amount_minor"] == 7


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--terminal", "T-2"], 6),
        (["--terminal", "T-1", "--terminal", "T-2"], 36),
        (["--from", "2026-11-21"], 30),
        (["--until", "2026-11-21"], 6),
        (["--from", "2026-11-21T07:30:00.5+08:00", "--until", "2026-11-21T07:30:01+08:00"], 6),
        (["--batch", "000777"], 1),
        (["--site", "S-09"], 0),
    ],
)
def test_only_what_was_asked_for(filled: str, tmp_path: Path, words: list[str], expected: int) -> None:
    assert export(filled, tmp_path / "some.csv", "csv", *words) == 0
    assert len(rows_of(tmp_path / "some.csv")) == expected


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ("csv", ["--terminal", "T-9"]),
        ("csv", ["--from", "yesterday"]),
        ("csv", ["--from", "2026-11-21T10:00:00"]),
        ("csv", ["--recipient", "age1x"]),
        ("segments", []),
        ("segments", ["--recipient", "age1x"]),
        ("segments", ["--recipient", "age1x", "--batch", "000001"]),
        ("xml", []),
    ],
)
def test_wrong_use_is_told(filled: str, tmp_path: Path, form: str, words: list[str]) -> None:
    assert export(filled, tmp_path / "out", form, *words) == 2
    assert not (tmp_path / "out").exists()


def test_an_export_replaces_a_file_whole_or_not_at_all(filled: str, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    out.write_text("before")
    assert export(filled, out, "csv", "--terminal", "T-9") == 2
    assert out.read_text() == "before"
    assert export(filled, out, "csv") == 0
    assert len(rows_of(out)) == 36
    assert not list(tmp_path.glob(".*.new"))
    assert export(filled, tmp_path / "none" / "out.csv", "csv") == 2


def test_segments_are_backup_files_that_prove_themselves(store: str, tmp_path: Path) -> None:
    post = Post(store)
    book = Book("T-1")
    book.write(60)
    post.send((book, 1, 20))
    for _asked in range(2):  # 21 to 30 are gone for good
        post.send((book, 31, 50))
        post.later(7)
    post.send((book, 31, 50))
    child = Book("T-1", "0192f6d0-0000-7000-8000-0000000000cc", shop="restored", parent=book, base=45)
    child.write(10)
    post.send((child, 46, 55))
    post.close()
    keys = age.present().generate()
    out = tmp_path / "stick"
    assert export(store, out, "segments", "--recipient", keys.public) == 0
    files = sorted((out / "S-01" / "T-1").rglob("*.age"))
    headers: list[Header] = []
    sequences: dict[str, list[int]] = {}
    for file in files:
        assert parse_name(file.name) is not None
        with file.open("rb") as source, age.present().decrypting(source, [keys.secret]) as plain:
            parts = list(read_compressed(plain))
        (header,) = [part for part in parts if isinstance(part, Header)]
        headers.append(header)
        assert file.parent.name == header.journal_id
        assert isinstance(parts[-1], Trailer)
        found = [part for part in parts if isinstance(part, Entry)]
        sequences[header.journal_id] = [entry.seq for entry in found]
        hashes = (child if header.journal_id == child.journal_id else book).hashes
        assert [entry.hash for entry in found] == [hashes[entry.seq].hex() for entry in found]
    assert sequences == {
        book.journal_id: [*range(1, 21), *range(31, 51)],
        child.journal_id: list(range(46, 56)),
    }
    of_child = next(header for header in headers if header.journal_id == child.journal_id)
    assert [line.journal_id for line in of_child.journals] == [book.journal_id, child.journal_id]
    of_book = next(header for header in headers if header.journal_id == book.journal_id)
    assert [(gap.from_seq, gap.upto_seq) for gap in of_book.missing] == [(21, 30)]


def test_segments_of_a_journal_whose_parent_never_came_name_it_as_the_first(store: str, tmp_path: Path) -> None:
    parent = Book("T-1")
    parent.write(30)
    child = Book("T-1", "0192f6d0-0000-7000-8000-0000000000cc", shop="restored", parent=parent, base=30)
    child.write(10)
    origin = {"parent": parent.journal_id, "base_sequence": 30, "base_hash": parent.hashes[30].hex()}
    post = Post(store)
    post.birth("T-1", json.dumps({**json.loads(child.birth("S-01")), "origin": origin}).encode())
    post.send((child, 1, 40))
    post.close()
    keys = age.present().generate()
    assert export(store, tmp_path / "stick", "segments", "--recipient", keys.public) == 0
    (file,) = (tmp_path / "stick").rglob("*.age")
    with file.open("rb") as source, age.present().decrypting(source, [keys.secret]) as plain:
        header, *entries, _trailer = list(read_compressed(plain))
    assert isinstance(header, Header)
    assert [(line.journal_id, line.parent) for line in header.journals] == [
        (parent.journal_id, None),
        (child.journal_id, parent.journal_id),
    ]
    assert header.anchor.hash == header.journals[0].base_hash == parent.hashes[0].hex()
    assert len(entries) == 40


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@a", "\t=1", "\r=1"])
def test_no_cell_is_a_formula(cell: str) -> None:
    assert csv_cell(cell) == f"'{cell}"


@pytest.mark.parametrize(("amount", "currency"), [(0, "156"), (5, "156"), (-1234567, "156"), (7, "392"), (1, "990")])
def test_decimals_are_those_that_people_are_shown(amount: int, currency: str) -> None:
    assert f"{decimal_text(amount, currency)} {CURRENCIES[currency][0]}" == money(amount, currency).replace(",", "")


def test_no_decimals_are_guessed() -> None:
    assert decimal_text(5, "999") is None
    assert decimal_text(5, None) is None
