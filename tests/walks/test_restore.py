"""A terminal gets its journal back from its backups, by the program as people run it: whole, proved, or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pty
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from agent.backup.age import KeyPair
from agent.backup.restore_plan import Until
from agent.boot.restore import read_until
from agent.errors import BadRequest
from tests.kit import backup_folder as kit
from tests.kit.agent_process import ROOT, AgentProcess, call
from tests.kit.backup_folder import BackupFolder
from tests.kit.store_records import sale

ENTRIES = 400
TIMEOUT_S = 60


@dataclass
class Terminal:
    """A unit with its own key and nothing else, and the backups of the one that it takes the place of."""

    agent: AgentProcess
    key: KeyPair
    backups: BackupFolder

    @property
    def database(self) -> Path:
        return self.agent.state / "agent.db"

    def program(self, verb: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
        return run_program([verb, "--config", str(self.agent.config_file), *map(str, words)])

    def restore(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        return self.program("restore", "--from", self.backups.place, *words)

    def report(self, *words: str, code: int = 0) -> Any:
        done = self.restore("--json", *words)
        assert done.returncode == code, done.stdout + done.stderr
        return json.loads(done.stdout)


def run_program(words: list[str]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TZ": "UTC"}
    done = subprocess.run(
        [sys.executable, "-m", "agent", *words], env=environment, capture_output=True, text=True, timeout=TIMEOUT_S
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


@pytest.fixture(scope="module")
def old_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the unit that is no more; tests leave it alone."""
    return kit.fill_journal(tmp_path_factory.mktemp("old"), ENTRIES)


@pytest.fixture
def terminal(tmp_path: Path, old_database: Path) -> Iterator[Terminal]:
    agent = AgentProcess(
        tmp_path,
        {"terminal": {"serial": "SN-NEW"}, "binding": [dict(zip(("provider", "mid", "tid"), BINDING, strict=True))]},
    )
    key = kit.new_key()
    kit.put_key(agent.state, key)
    yield Terminal(agent, key, BackupFolder(tmp_path / "medium", old_database, [key.public]))
    agent.close()


BINDING = ("acquirer-a", "104290070110001", "10000001")


def entries_of(database: Path) -> list[Any]:
    return kit.query(
        database,
        "SELECT sequence, at, transaction_id, binding, stan, natural_rest, conflict_with, duplicate_of, record, hash"
        " FROM entries ORDER BY sequence",
    )


def chain_by_hand(database: Path, before: bytes, upto: int) -> bytes:
    """The published rule, without any code of the product: the hash of entry ``upto``."""
    for sequence, record in kit.query(database, "SELECT sequence, record FROM entries ORDER BY sequence"):
        if sequence <= upto:
            digest = hashlib.sha256(record.encode()).digest()
            before = hashlib.sha256(before + sequence.to_bytes(8, "big") + digest).digest()
    return before


def nothing_in_place(terminal: Terminal) -> bool:
    return sorted(one.name for one in terminal.agent.state.iterdir()) == ["lock", "restore-key"]


def test_a_replacement_unit_goes_on_where_the_old_one_ended(terminal: Terminal, old_database: Path) -> None:
    terminal.backups.snapshot(250)
    terminal.backups.segments(251, ENTRIES, 50)
    report = terminal.report()
    assert (report["restored"], report["entries"], report["missing"], report["lost"]) == (True, ENTRIES, [], None)
    assert (report["first"]["sequence"], report["last"]["sequence"], report["made_on"]) == (1, ENTRIES, "SN123")
    assert entries_of(terminal.database) == entries_of(old_database)
    [(parent,)] = kit.query(old_database, "SELECT value FROM meta WHERE name = 'journal_id'")
    genesis = hashlib.sha256(bytes(32) + parent.encode()).digest()
    assert chain_by_hand(terminal.database, genesis, ENTRIES).hex() == report["chain"]
    assert (report["parent"], report["journal_id"] != parent) == (parent, True)
    assert terminal.database.stat().st_mode & 0o777 == 0o600
    with terminal.agent as agent:
        control, payment = agent.run / "control.sock", agent.run / "payment.sock"
        verified = call(control, "journal.verify")["result"]
        assert verified == {"intact": True, "upto_sequence": ENTRIES, "missing": []}
        assert call(control, "agent.info")["result"]["journal_id"] == report["journal_id"]
        stored = call(payment, "transaction.record", sale(stan="999999"))["result"]
        assert stored == {"sequence": ENTRIES + 1, "duplicate": False}
        [record] = kit.query(old_database, "SELECT record FROM entries WHERE sequence = 7")[0]
        again = call(payment, "transaction.record", json.loads(record))["result"]
        assert again == {"sequence": 7, "duplicate": True}
        assert call(control, "journal.verify")["result"]["upto_sequence"] == ENTRIES + 1
    rows = kit.query(
        terminal.database, "SELECT journal_id, base_sequence, parent, cause FROM journals ORDER BY began_at"
    )
    assert rows == [(parent, 0, None, "new"), (report["journal_id"], ENTRIES, parent, "restored")]


def test_what_people_read_says_what_came_back_and_what_to_do(terminal: Terminal) -> None:
    terminal.backups.snapshot(ENTRIES)
    done = terminal.restore()
    assert done.returncode == 0, done.stderr
    assert (
        f"restored {ENTRIES} entries, 1 to {ENTRIES}, stored 2026-11-21 02:00:00 to 2026-11-21 08:39:00" in done.stdout
    )
    for part in ("proved from the first entry to number 400", "missing  none", "which continues", "this one is SN-NEW"):
        assert part in done.stdout
    assert "systemctl start pos-agent" in done.stderr


def test_on_a_terminal_a_line_that_is_written_over_tells_how_far_it_is(terminal: Terminal) -> None:
    terminal.backups.snapshot(ENTRIES)
    ours, theirs = pty.openpty()
    words = ["restore", "--config", str(terminal.agent.config_file), "--from", str(terminal.backups.place)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm"}
    process = subprocess.Popen(
        [sys.executable, "-m", "agent", *words], env=environment, stdout=subprocess.DEVNULL, stderr=theirs
    )
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # EIO: the other side is closed
        while part := os.read(ours, 65536):
            shown += part
    os.close(ours)
    assert process.wait(TIMEOUT_S) == 0
    assert b"\r\x1b[Krestoring: 400 of 400 entries, 100 %" in shown


def test_the_past_up_to_a_sequence_or_a_time(terminal: Terminal) -> None:
    terminal.backups.snapshot(100)
    terminal.backups.segments(101, ENTRIES, 100)
    assert terminal.report("--until", "150")["last"]["sequence"] == 150
    terminal.database.unlink()
    # Entry n was stored n - 1 minutes after 02:00 UTC: the 200th at 05:19.
    last = terminal.report("--until", "2026-11-21T13:19:30+08:00")["last"]
    assert last == {"sequence": 200, "at": "2026-11-21T05:19:00.000Z"}
    terminal.database.unlink()
    assert terminal.restore("--until", "2026-11-20").returncode == 1
    assert nothing_in_place(terminal)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (None, Until()),
        ("412", Until(sequence=412)),
        ("2026-11-21T05:19:30Z", Until(at=datetime(2026, 11, 21, 5, 19, 30, tzinfo=UTC))),
        ("2026-11-21T13:19+08:00", Until(at=datetime(2026, 11, 21, 5, 19, tzinfo=UTC))),
        ("2026-11-21 05:19", Until(at=datetime(2026, 11, 21, 5, 19).astimezone(UTC))),
        ("2026-11-21", Until(at=datetime(2026, 11, 21, 23, 59, 59, 999000).astimezone(UTC))),
    ],
)
def test_a_point_is_a_sequence_or_a_time_or_a_whole_day(text: str | None, wanted: Until) -> None:
    assert read_until(text) == wanted


@pytest.mark.parametrize("text", ["yesterday", "", "0", "-1", "2026-13-01", "1" * 30, "²", "2026-11-21T25:00"])
def test_what_is_no_point_is_refused(text: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read_until(text)
    assert caught.value.field == "--until"


def test_a_daemon_that_runs_is_never_worked_under(terminal: Terminal) -> None:
    terminal.backups.snapshot(ENTRIES)
    with terminal.agent:
        done = terminal.restore()
        assert (done.returncode, "systemctl stop pos-agent" in " ".join(done.stderr.split())) == (4, True)


def test_a_database_with_entries_is_never_overwritten_and_the_way_out_is_said(terminal: Terminal) -> None:
    terminal.backups.snapshot(ENTRIES)
    with terminal.agent as agent:
        call(agent.run / "payment.sock", "transaction.record", sale())
    before = [terminal.database.read_bytes(), terminal.database.with_name("agent.db-wal").read_bytes()]
    done = terminal.restore()
    said = " ".join(done.stderr.split())
    assert (done.returncode, "holds 1 entry" in said, "mv " in said) == (4, True, True)
    assert [terminal.database.read_bytes(), terminal.database.with_name("agent.db-wal").read_bytes()] == before
    command = said[said.index("mkdir ") : said.rindex("/") + 1]
    subprocess.run(["/bin/sh", "-c", command], check=True)  # as a person would paste it
    assert terminal.report()["entries"] == ENTRIES
    assert (terminal.agent.state / "replaced" / "agent.db").read_bytes() == before[0]
    with terminal.agent as agent:  # what still speaks of the old journal beside it disturbs nobody
        verified = call(agent.run / "control.sock", "journal.verify")["result"]
        assert verified == {"intact": True, "upto_sequence": ENTRIES, "missing": []}


def test_a_database_without_an_entry_gives_way_and_is_kept(terminal: Terminal) -> None:
    terminal.backups.snapshot(ENTRIES)
    with terminal.agent:
        pass
    [(first,)] = kit.query(terminal.database, "SELECT value FROM meta WHERE name = 'journal_id'")
    report = terminal.report()
    [(kept,)] = kit.query(Path(report["kept"]), "SELECT value FROM meta WHERE name = 'journal_id'")
    assert (report["entries"], kept) == (ENTRIES, first)


def test_what_cannot_be_looked_into_stays(terminal: Terminal) -> None:
    terminal.backups.snapshot(ENTRIES)
    terminal.database.write_bytes(b"no database, but somebody's" * 1000)
    before = terminal.database.read_bytes()
    assert terminal.restore().returncode == 4
    assert terminal.database.read_bytes() == before
    terminal.database.rename(terminal.database.with_name("elsewhere"))
    log = terminal.database.with_name("agent.db-wal")
    log.write_bytes(b"frames that a new file would take for its own")
    done = terminal.restore()
    assert (done.returncode, "agent.db-wal" in done.stderr, log.exists()) == (4, True, True)


def test_without_a_key_or_with_another_one_nothing_happens_and_the_next_step_is_said(terminal: Terminal) -> None:
    terminal.backups.snapshot(ENTRIES)
    (terminal.agent.state / "restore-key").unlink()
    done = terminal.restore()
    assert (done.returncode, "pos-agent keys" in done.stderr) == (1, True)
    first = terminal.program("keys")
    assert (first.returncode, first.stdout.startswith("age1")) == (0, True)
    done = terminal.restore()
    assert (done.returncode, "reencrypt" in done.stderr) == (1, True)
    assert nothing_in_place(terminal)


def test_keys_prints_the_same_public_key_every_time_also_while_the_daemon_runs(terminal: Terminal) -> None:
    (terminal.agent.state / "restore-key").unlink()
    with terminal.agent:
        assert terminal.program("keys").returncode == 4  # making it is for a resting terminal
    made = terminal.program("keys").stdout
    with terminal.agent:
        assert terminal.program("keys").stdout == made
    shown = json.loads(terminal.program("keys", "--json").stdout)
    assert shown == {"site": "shop-1", "terminal": "T-0001", "recipient": made.strip()}
    key = (terminal.agent.state / "restore-key").read_text()
    assert "AGE-SECRET-KEY-1" in key
    assert "AGE-SECRET" not in made


def test_another_terminals_backup_is_only_taken_on_purpose(terminal: Terminal) -> None:
    terminal.backups.terminal = "T-0009"
    terminal.backups.snapshot(ENTRIES)
    done = terminal.restore()
    said = " ".join(done.stderr.split())
    assert (done.returncode, "holds no backup of shop-1/T-0001" in said, "shop-1/T-0009" in said) == (1, True, True)
    assert terminal.report("--terminal", "T-0009")["terminal"] == "T-0009"
    # A file that was put into another terminal's folder is not taken for that one's.
    terminal.database.unlink()
    (terminal.backups.place / "shop-1" / "T-0009").rename(terminal.backups.place / "shop-1" / "T-0001")
    done = terminal.restore()
    assert (done.returncode, "not what its name and its folder say" in " ".join(done.stderr.split())) == (1, True)


def test_missing_entries_are_named_first_accepted_then_and_filled_at_last(
    terminal: Terminal, old_database: Path
) -> None:
    terminal.backups.segments(1, 100, 50)
    gone = terminal.backups.segment(101, 150)
    kept_elsewhere = terminal.backups.place.parent / "elsewhere"
    gone.rename(kept_elsewhere)
    terminal.backups.segments(151, ENTRIES, 50)
    refused = terminal.report(code=1)
    assert (refused["restored"], refused["missing"]) == (False, [{"from_seq": 101, "upto_seq": 150}])
    assert nothing_in_place(terminal)
    assert terminal.report("--accept-missing")["missing"] == [{"from_seq": 101, "upto_seq": 150}]
    assert kit.query(terminal.database, "SELECT from_seq, upto_seq, cause FROM missing") == [(101, 150, "backup")]
    with terminal.agent as agent:
        verified = call(agent.run / "control.sock", "journal.verify")["result"]
        assert (verified["intact"], verified["missing"][0]) == (False, 101)
        stored = call(agent.run / "payment.sock", "transaction.record", sale(stan="999999"))["result"]
        assert stored["sequence"] == ENTRIES + 1
    assert terminal.report("--fill", code=1)["missing"] == [{"from_seq": 101, "upto_seq": 150}]
    kept_elsewhere.rename(gone)
    filled = terminal.report("--fill")
    assert (filled["filled"], filled["missing"]) == (50, [])
    assert entries_of(terminal.database)[:ENTRIES] == entries_of(old_database)
    with terminal.agent as agent:
        assert call(agent.run / "control.sock", "journal.verify")["result"]["intact"] is True


def test_the_last_entries_lost_with_their_file_are_named_and_their_numbers_belong_to_the_parent(
    terminal: Terminal,
) -> None:
    terminal.backups.snapshot(300)
    kit.damage(terminal.backups.segment(301, ENTRIES), random.Random(1))
    assert terminal.report(code=1)["lost"] == {"from_seq": 301, "upto_seq": ENTRIES}
    report = terminal.report("--accept-missing")
    assert (report["last"]["sequence"], report["missing"]) == (300, [])
    with terminal.agent as agent:
        stored = call(agent.run / "payment.sock", "transaction.record", sale(stan="999999"))["result"]
        assert stored["sequence"] == 301  # under the new journal_id
        assert call(agent.run / "control.sock", "journal.verify")["result"]["intact"] is True


def test_a_second_restore_knows_both_journals_and_takes_the_one_that_went_on(
    terminal: Terminal, tmp_path: Path
) -> None:
    terminal.backups.snapshot(ENTRIES)
    first = terminal.report("--until", "300")
    moved = tmp_path / "second" / "agent.db"
    moved.parent.mkdir()
    terminal.database.rename(moved)
    kit.add_entries(moved, 20)
    BackupFolder(terminal.backups.place, moved, [terminal.key.public], serial="SN-NEW").segment(301, 320)
    report = terminal.report()
    assert (report["parent"], report["last"]["sequence"]) == (first["journal_id"], 320)
    assert entries_of(terminal.database) == entries_of(moved)
    lineage = kit.query(terminal.database, "SELECT journal_id, base_sequence FROM journals ORDER BY began_at")
    assert lineage == [(first["parent"], 0), (first["journal_id"], 300), (report["journal_id"], 320)]
    terminal.database.unlink()
    other = terminal.report("--journal", first["parent"])
    assert (other["parent"], other["last"]["sequence"]) == (first["parent"], ENTRIES)


def test_after_retention_the_journal_begins_where_its_snapshot_does(terminal: Terminal, tmp_path: Path) -> None:
    trimmed = tmp_path / "trimmed"
    database = kit.fill_journal(trimmed, 100)
    [(before,)] = kit.query(database, "SELECT hash FROM entries WHERE sequence = 40")
    kit.write_meta(database, journal_anchor=f"40:{before.hex()}")
    kit.execute(database, "DELETE FROM entries WHERE sequence <= 40")
    folder = BackupFolder(terminal.backups.place, database, [terminal.key.public])
    folder.snapshot(80)
    folder.segment(81, 100)
    report = terminal.report()
    assert (report["entries"], report["first"]["sequence"], report["missing"]) == (60, 41, [])
    with terminal.agent as agent:
        assert call(agent.run / "control.sock", "journal.verify")["result"]["intact"] is True
        assert call(agent.run / "payment.sock", "transaction.record", sale())["result"]["sequence"] == 101


def test_a_target_of_the_configuration_goes_by_its_name(terminal: Terminal) -> None:
    terminal.backups.snapshot(ENTRIES)
    terminal.agent.write_config(
        {
            "backup": {
                "recipients": [terminal.key.public],
                "folder": [{"name": "stick", "path": str(terminal.backups.place)}],
                "server": [{"name": "vault", "url": "https://127.0.0.1:1/backups/"}],
            }
        }
    )
    for bad, code in (("vault", 2), ("/nowhere/at/all", 1)):
        assert terminal.program("restore", "--from", bad).returncode == code
    done = terminal.program("restore", "--from", "stick", "--json")
    assert json.loads(done.stdout)["entries"] == ENTRIES
