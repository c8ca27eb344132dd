"""`posctl txn export` as a program: CSV and NDJSON, whole files only, bounded memory, nothing a spreadsheet runs."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.contract.canonical_json import canonical
from agent.contract.transaction_form import RecordFields
from agent.ctl.__main__ import main
from agent.ctl.render.export import COLUMNS
from tests.kit.control_stub import ControlStub, RpcError, Silence
from tests.kit.tmux import Tmux
from tests.units.ctl.answers_for_tests import INFO, entry

FULL: dict[str, Any] = {
    "amount_minor": 1234567,
    "tip_minor": 5,
    "dcc": {"amount_minor": 1500, "currency": "392"},
    "original": {"transaction_id": "019aa43e-0c00-7000-8000-000000000009", "stan": "000001"},
    "memo": 'two\nlines, "quoted" 打印机',
    "balanced": True,
}


def journal(stub: ControlStub, entries: list[dict[str, Any]], last: int | None = None) -> None:
    """The stub holds ``entries`` and gives them by pages, as the agent does."""

    def listing(params: Any) -> dict[str, Any]:
        assert params["newest_first"] is False
        after, limit = int(params.get("cursor", "0")), params["limit"]
        left = [one for one in entries if one["seq"] > after]
        more = len(left) > limit
        return {"items": left[:limit], "next_cursor": str(left[limit - 1]["seq"]) if more else None}

    upto = last if last is not None else max((one["seq"] for one in entries), default=0)
    stub.answers["agent.info"] = {**INFO, "journal": {"entries": upto, "last_sequence": upto}}
    stub.answers["transaction.list"] = listing


def export(stub: ControlStub, *words: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "agent.ctl", "txn", "export", "--socket", str(stub.path), *words]
    environment = {**os.environ, "TZ": "Asia/Shanghai", **options.pop("env", {})}
    return subprocess.run(command, capture_output=True, timeout=60, env=environment, check=False, **options)


def rows_of(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode(), newline="")))


def test_csv_has_amounts_as_people_write_them_beside_the_minor_units(stub: ControlStub) -> None:
    journal(
        stub, [entry(1, "sent", **FULL), entry(2, "approved", {"conflict_with": 1}), entry(3, "sent", currency="999")]
    )
    done = export(stub)
    assert done.returncode == 0
    assert done.stdout.startswith(b"seq,at,at_here,transaction_id,state,")
    assert done.stdout.endswith(b"\r\n")
    first, second, third = rows_of(done.stdout)
    shown = {name: first[name] for name in ("amount_minor", "amount", "currency", "currency_code", "tip_minor", "tip")}
    assert list(shown.values()) == ["1234567", "12345.67", "156", "CNY", "5", "0.05"]
    assert (first["dcc_amount_minor"], first["dcc_amount"], first["dcc_currency_code"]) == ("1500", "1500", "JPY")
    assert (first["original_stan"], first["original_batch_no"], first["balanced"]) == ("000001", "", "true")
    assert first["memo"] == FULL["memo"]
    assert (first["at"], first["at_here"]) == ("2026-11-21T02:00:00.000Z", "2026-11-21T10:00:00.000+08:00")
    assert first["local_at"] == "2026-11-21T10:00:00+08:00"
    assert (second["seq"], second["conflict_with"]) == ("2", "1")
    assert (third["amount_minor"], third["amount"], third["currency_code"]) == ("12345", "", "")  # nobody's currency
    assert "3 entries, sequence 1 to 3" in done.stderr.decode()


def test_every_field_of_a_record_has_its_column_and_an_unknown_one_is_kept(stub: ControlStub) -> None:
    assert set(RecordFields.__struct_fields__) - {"dcc", "original"} <= set(COLUMNS)
    assert len(set(COLUMNS)) == len(COLUMNS)
    journal(stub, [entry(1, "sent", something_newer=[1], dcc={"amount_minor": 1, "rate": "7"})])
    (row,) = rows_of(export(stub).stdout)
    assert json.loads(row["other"]) == {"something_newer": [1], "dcc": {"rate": "7"}}


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1+cmd|' /C calc'!A0", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1"])
def test_no_cell_is_a_formula(text: str, stub: ControlStub) -> None:
    hostile = entry(1, "sent", memo=text, receipt_no=text, original={"merchant_order_no": text})
    journal(stub, [{**hostile, "hash": text, "at": text}])
    (row,) = rows_of(export(stub).stdout)
    assert {row[name] for name in ("memo", "receipt_no", "original_merchant_order_no", "hash", "at")} == {f"'{text}"}
    (line,) = export(stub, "--format", "ndjson").stdout.splitlines()
    assert json.loads(line)["record"]["memo"] == text  # there it is exact


def test_ndjson_keeps_the_record_so_that_the_chain_can_be_computed_from_the_file(
    stub: ControlStub, tmp_path: Path
) -> None:
    journal_id = "019aa43e-0c00-7000-8000-000000000000"
    previous = hashlib.sha256(bytes(32) + journal_id.encode()).digest()
    entries = []
    for seq in range(1, 451):
        made = entry(seq, "sent", **FULL, stan=f"{seq:06}")
        content = hashlib.sha256(canonical(made["record"])).digest()
        previous = hashlib.sha256(previous + seq.to_bytes(8, "big") + content).digest()
        entries.append({**made, "hash": previous.hex()})
    journal(stub, entries)
    out = tmp_path / "journal.ndjson"
    done = export(stub, "--format", "ndjson", "--out", str(out), "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout) == {
        **{"file": str(out), "format": "ndjson", "entries": 450, "from_seq": 1, "upto_seq": 450, "missing": []}
    }
    previous = hashlib.sha256(bytes(32) + journal_id.encode()).digest()
    written = [json.loads(line) for line in out.read_text().splitlines()]
    for one in written:
        content = hashlib.sha256(canonical(one["record"])).digest()
        previous = hashlib.sha256(previous + one["seq"].to_bytes(8, "big") + content).digest()
        assert one["hash"] == previous.hex()
        assert one["amounts"] == {"currency": "CNY", "amount": "12345.67", "tip": "0.05"}
    assert (written[-1]["seq"], written[-1]["at_here"]) == (450, "2026-11-21T10:00:00.000+08:00")
    assert [params["limit"] for params in stub.asked("transaction.list")] == [200, 200, 200]
    assert out.stat().st_mode & 0o777 == 0o600


def test_filters_go_to_the_agent_and_what_is_recorded_meanwhile_is_left_for_the_next_time(stub: ControlStub) -> None:
    journal(stub, [entry(seq, "approved") for seq in (3, 7, 9)], last=8)
    words = ["--from", "2026-11-21", "--until", "2026-11-21", "--batch", "000002", "--state", "approved"]
    done = export(stub, *words, "--stan", "000731", "--format", "ndjson")
    assert [json.loads(line)["seq"] for line in done.stdout.splitlines()] == [3, 7]
    assert "not in this journal" not in done.stderr.decode()  # a filter chose them
    asked = stub.asked("transaction.list")[0]
    assert (asked["from_at"], asked["to_at"]) == ("2026-11-20T16:00:00.000Z", "2026-11-21T16:00:00.000Z")
    assert (asked["batch_no"], asked["state"], asked["stan"]) == ("000002", "approved", "000731")


def test_a_page_with_nothing_in_it_is_not_the_end(stub: ControlStub) -> None:
    """An agent that has to search answers in between."""
    pages: dict[str | None, tuple[list[int], str | None]] = {
        None: ([], "10"),
        "10": ([12], "20"),
        "20": ([], "30"),
        "30": ([31, 33], None),
    }

    def listing(params: Any) -> dict[str, Any]:
        seqs, cursor = pages[params.get("cursor")]
        return {"items": [entry(seq, "unknown") for seq in seqs], "next_cursor": cursor}

    journal(stub, [], last=40)
    stub.answers["transaction.list"] = listing
    done = export(stub, "--format", "ndjson", "--state", "unknown")
    assert [json.loads(line)["seq"] for line in done.stdout.splitlines()] == [12, 31, 33]


def test_a_journal_with_holes_says_which(stub: ControlStub, tmp_path: Path) -> None:
    journal(stub, [entry(seq, "sent") for seq in (11, 12, 15, 20)])
    out = tmp_path / "j.csv"
    done = export(stub, "--out", str(out), "--json")
    assert json.loads(done.stdout)["missing"] == [[13, 14], [16, 19]]
    assert "not in this journal: 13-14, 16-19; posctl journal verify" in done.stderr.decode()


def test_an_empty_journal_is_a_file_with_its_heading(stub: ControlStub, tmp_path: Path) -> None:
    journal(stub, [])
    out = tmp_path / "j.csv"
    assert export(stub, "--out", str(out)).stdout.decode() == f"0 entries in {out}\n"
    assert out.read_text().strip().split(",") == list(COLUMNS)
    assert export(stub, "--format", "ndjson").stdout == b""


def test_with_json_standard_output_is_json_alone(stub: ControlStub) -> None:
    journal(stub, [entry(1, "sent"), entry(2, "approved")])
    done = export(stub, "--json")
    assert [json.loads(line)["seq"] for line in done.stdout.splitlines()] == [1, 2]
    assert export(stub, "--json", "--format", "csv").returncode == 2


def breaks_off(answer: object) -> Callable[[ControlStub], None]:
    """The second page is ``answer``."""

    def prepare(stub: ControlStub) -> None:
        journal(stub, [entry(seq, "sent") for seq in range(1, 401)])
        whole = stub.answers["transaction.list"]
        assert callable(whole)
        stub.answers["transaction.list"] = lambda params: answer if "cursor" in params else whole(params)

    return prepare


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (RpcError(-32000, "unavailable", {"code": "STORE_UNAVAILABLE"}), 1),
        (RpcError(-32000, "not yours", {"code": "NOT_AUTHORISED"}), 4),
        (Silence(), 3),
        ({"items": [entry(1, "sent")], "next_cursor": "1"}, 1),  # the same page for ever
        ({"items": [], "next_cursor": "200"}, 1),  # nothing, and to be continued there
        ({"items": "none"}, 3),
    ],
)
def test_what_breaks_off_leaves_the_file_as_it_was(
    answer: object, code: int, stub: ControlStub, tmp_path: Path
) -> None:
    breaks_off(answer)(stub)
    folder = tmp_path / "out"
    folder.mkdir()
    out = folder / "j.csv"
    out.write_text("of yesterday")
    assert export(stub, "--out", str(out), "--timeout", "0.5").returncode == code
    assert [file.name for file in folder.iterdir()] == ["j.csv"]
    assert out.read_text() == "of yesterday"


def test_an_interruption_leaves_no_trace(stub: ControlStub, tmp_path: Path) -> None:
    breaks_off(Silence())(stub)
    folder = tmp_path / "out"
    folder.mkdir()
    command = [sys.executable, "-m", "agent.ctl", "txn", "export", "--socket", str(stub.path)]
    with subprocess.Popen([*command, "--out", str(folder / "j.csv")], stderr=subprocess.PIPE) as program:
        deadline_s = time.monotonic() + 30
        while not list(folder.iterdir()) and time.monotonic() < deadline_s:
            time.sleep(0.01)
        assert list(folder.iterdir())
        program.send_signal(signal.SIGINT)
        assert program.wait(30) == 1
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("out", "code"), [("no-folder/j.csv", 2), ("", 2), (".", 2), ("/dev/full", 2), ("/dev/null/x", 2), ("a\x00b", 2)]
)
def test_a_place_where_no_file_can_be_is_wrong_use(
    out: str, code: int, stub: ControlStub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal(stub, [entry(1, "sent")])
    monkeypatch.chdir(tmp_path)
    assert main(["txn", "export", "--out", out]) == code
    assert [file.name for file in tmp_path.iterdir() if file.name != "control.sock"] == []


def test_a_full_disk_is_a_failure_and_leaves_nothing(stub: ControlStub, tmp_path: Path) -> None:
    journal(stub, [entry(seq, "sent", **FULL) for seq in range(1, 2001)])
    folder = tmp_path / "out"
    folder.mkdir()

    def no_room() -> None:  # a write past this size fails, as on a full disk
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    done = export(stub, "--out", str(folder / "j.csv"), preexec_fn=no_room)
    assert done.returncode == 1
    assert "OUTPUT_FAILED" in done.stderr.decode()
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [
        ["--format", "xml"],
        ["--from", "yesterday"],
        ["--until", "2026-13-01"],
        ["--from", "2026-11-21", "--until", "2026-11-21T00:00"],
        ["--batch", "1"],
        ["--stan", "abcdef"],
        ["--state", "APPROVED!"],
        ["--limit", "5"],
        ["extra"],
    ],
    ids=" ".join,
)
def test_wrong_use_exits_2_and_asks_nothing(words: list[str], stub: ControlStub) -> None:
    assert main(["txn", "export", *words]) == 2
    assert stub.asked("transaction.list") == []


def test_memory_does_not_grow_with_the_journal(stub: ControlStub, tmp_path: Path) -> None:
    def peak_kib(entries: int) -> int:
        def listing(params: Any) -> dict[str, Any]:
            begin, limit = int(params.get("cursor", "0")), params["limit"]
            items = [entry(seq, "sent", **FULL) for seq in range(begin + 1, min(begin + limit, entries) + 1)]
            return {"items": items, "next_cursor": str(begin + limit) if begin + limit < entries else None}

        stub.answers["agent.info"] = {**INFO, "journal": {"entries": entries, "last_sequence": entries}}
        stub.answers["transaction.list"] = listing
        script = (
            "import resource, sys; from agent.ctl.__main__ import main; code = main(sys.argv[1:]);"
            "print(code, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
        )
        words = ["txn", "export", "--out", str(tmp_path / "j.csv"), "--socket", str(stub.path), "--json"]
        done = subprocess.run(
            [sys.executable, "-c", script, *words], capture_output=True, text=True, timeout=60, check=True
        )
        code, peak = done.stdout.splitlines()[-1].split()
        assert code == "0"
        return int(peak)

    few, many = peak_kib(400), peak_kib(12_000)
    assert (tmp_path / "j.csv").read_bytes().count(b"\r\n") == 12_001
    assert many < few + 3 * 1024  # the file alone has 5 MiB


def test_on_a_terminal_it_tells_how_far_it_is(stub: ControlStub, tmp_path: Path) -> None:
    breaks_off(Silence())(stub)
    out = str(tmp_path / "j.csv")
    command = [sys.executable, "-m", "agent.ctl", "txn", "export", "--out", out, "--socket", str(stub.path)]
    with Tmux(tmp_path, [*command, "--timeout", "5"]) as terminal:
        terminal.wait_for("200 of 400 entries looked through, 50 %: 200 written")
        terminal.wait_for("ended with 3")
