"""Who is meant, what their orders may say, and the file that keeps it all for a second run."""

from __future__ import annotations

import io
import json
import tempfile
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.commands.catalog import build_commands
from agent.contract.command import Window
from agent.errors import BadRequest
from agent.fleet import batch as batches
from agent.fleet.arguments import check_arguments, needs_serial, people_by_default
from agent.fleet.messages import OperationState
from agent.fleet.orders import Wish
from agent.fleet.recipients import read_terminals, with_serials
from agent.runtime.identifiers import uuid7

PING = Wish("ping", {}, timedelta(hours=1), "ticket 4711", Window("22:00", "05:00"))


def test_terminals_are_words_lists_and_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "terminals"
    file.write_text("# the shop downstairs\nT-3 SN3\n\n  T-4  # new\n")
    assert read_terminals(["T-1,T-2", "T-1", f"@{file}"]) == {"T-1": None, "T-2": None, "T-3": "SN3", "T-4": None}
    assert read_terminals(["_all"]) == {"_all": None}
    monkeypatch.setattr("sys.stdin", io.StringIO("T-9\n"))
    assert read_terminals(["@-"]) == {"T-9": None}
    assert read_terminals([]) == {}


@pytest.mark.parametrize("words", [["T/1"], ["+"], ["#"], [""], ["T-1,"], ["_all", "T-1"], ["_other"], ["@/nowhere"]])
def test_what_no_topic_could_hold_is_refused(words: list[str]) -> None:
    with pytest.raises(BadRequest):
        read_terminals(words)


@pytest.mark.parametrize(
    "content", [b"", b"# nobody\n", b"T-1 SN1 more\n", b"T-1 SN/1\n", b"\xff\xfe\n", b"T-1 A\nT-1 B\n"]
)
def test_a_list_of_another_form_is_refused(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "terminals"
    file.write_bytes(content)
    with pytest.raises(BadRequest):
        read_terminals([f"@{file}"])


def test_serials_are_laid_over_the_terminals() -> None:
    assert with_serials({"T-1": None}, ["SN1"]) == {"T-1": "SN1"}
    assert with_serials({"T-1": None, "T-2": "SN2"}, ["T-1=SN1", "T-2=SN2"]) == {"T-1": "SN1", "T-2": "SN2"}


@pytest.mark.parametrize("serials", [["SN1"], ["T-3=SN1"], ["T-2=SN9"], ["T-1=S/1"], ["T-1="]])
def test_a_serial_of_nobody_or_of_two_is_refused(serials: list[str]) -> None:
    with pytest.raises(BadRequest):
        with_serials({"T-1": None, "T-2": "SN2"}, serials)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("ping", {}),
        ("rebirth", {}),
        ("check_device", {"device": "printer-0", "level": "external"}),
        ("cancel", {"command_id": uuid7()}),
        ("reset", {"level": "device", "device": "printer-0"}),
        ("reset", {"level": "reread", "device": "printer-0"}),
        ("reset", {"level": "app"}),
        ("reset", {"level": "service", "unit": "payment.service"}),
        ("reset", {"level": "reboot", "force": True}),
        ("reinit", {"scope": "device", "device": "printer-0"}),
        ("reinit", {"scope": "terminal"}),
        ("lock", {"reason": "lost"}),
        ("something_newer", {"any": ["thing"]}),
    ],
)
def test_arguments_of_the_contract_are_taken(name: str, arguments: dict[str, object]) -> None:
    check_arguments(name, arguments)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("ping", {"level": "x"}),
        ("check_device", {}),
        ("check_device", {"device": "printer-0", "level": "interactive"}),
        ("check_device", {"device": "../x", "level": "internal"}),
        ("cancel", {}),
        ("reset", {}),
        ("reset", {"level": "everything"}),
        ("reset", {"level": "reboot", "force": "yes"}),
        ("reset", {"level": "reread"}),
        ("reset", {"level": "reboot", "device": "printer-0"}),
        ("reset", {"level": "app", "unit": "sh -c"}),
        ("reset", {"level": "reboot", "unit": "payment.service"}),
        ("reinit", {"scope": "device"}),
        ("reinit", {"scope": "terminal", "device": "printer-0"}),
        ("lock", {}),
    ],
)
def test_arguments_that_every_terminal_would_refuse_are_not_signed(name: str, arguments: dict[str, object]) -> None:
    with pytest.raises(BadRequest) as refused:
        check_arguments(name, arguments)
    assert refused.value.hint is not None


def test_every_command_of_this_release_is_checked() -> None:
    for name in build_commands(None):  # type: ignore[arg-type]  # only their names are read
        with pytest.raises(BadRequest):
            check_arguments(name, {"no_command_has_this": True})


def test_hardware_is_named_where_the_contract_wants_it() -> None:
    assert needs_serial("reinit", {"scope": "terminal"})
    assert not needs_serial("reinit", {"scope": "app"})
    assert needs_serial("activate", {})
    assert needs_serial("switch_provider", {})
    assert people_by_default("reset", {"level": "reboot", "force": True}) == 2
    assert people_by_default("reset", {"level": "reboot"}) == 1
    with pytest.raises(BadRequest, match="serial"):
        new_batch(Wish("reinit", {"scope": "terminal"}, timedelta(hours=1)), {"T-1": None})
    whole = new_batch(Wish("reinit", {"scope": "terminal"}, timedelta(hours=1)), {"T-1": "SN1"})
    assert whole.recipients[0].serial == "SN1"


def new_batch(wish: Wish = PING, terminals: dict[str, str | None] | None = None) -> batches.Batch:
    return batches.new_batch("S-01", wish, terminals or {"T-1": "SN1", "T-2": None}, uuid7, None)


def test_every_terminal_has_an_order_of_its_own() -> None:
    batch = new_batch(PING, {f"T-{n}": None for n in range(50)})
    ids = [one.command_id for one in batch.recipients]
    assert len(set(ids)) == 50


def test_a_batch_file_keeps_the_order_and_what_became_of_it(tmp_path: Path) -> None:
    path = tmp_path / "batch"
    batch = new_batch()
    file = batches.create(path, batch)
    assert path.stat().st_mode & 0o777 == 0o600
    done = OperationState(batch.recipients[0].command_id, "ping", "succeeded", 3)
    file.note("T-1", done)
    file.note("T-1", done)
    again = batches.read(path)
    assert again is not None
    assert again.batch == batch
    assert again.ended == {"T-1": done}
    assert len(path.read_text().splitlines()) == 2
    assert batches.read(tmp_path / "none") is None
    with pytest.raises(BadRequest, match="cannot write"):
        batches.create(path, batch)


@given(st.integers(0, 400))
def test_a_batch_file_cut_off_anywhere_loses_no_id(kept: int) -> None:
    batch = new_batch()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "batch"
        file = batches.create(path, batch)
        head = len(path.read_bytes())
        for one in batch.recipients:
            file.note(one.terminal, OperationState(one.command_id, "ping", "succeeded", 3))
        path.write_bytes(path.read_bytes()[: head + kept])
        again = batches.read(path)
        assert again is not None
        assert again.batch == batch
        for one in batch.recipients:
            again.note(one.terminal, OperationState(one.command_id, "ping", "succeeded", 3))
        whole = batches.read(path)
        assert whole is not None
        assert set(whole.ended) == {"T-1", "T-2"}  # nothing was glued to the torn line


@pytest.mark.parametrize("content", [b"", b"{}", b"\x00\xff", b"[]\n", b'{"form":9}\n'])
def test_a_file_that_is_no_batch_is_not_touched(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "batch"
    path.write_bytes(content)
    with pytest.raises(BadRequest, match="no batch file"):
        batches.read(path)
    assert path.read_bytes() == content


def test_a_batch_file_of_a_newer_form_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "batch"
    batches.create(path, new_batch())
    head = json.loads(path.read_text())
    path.write_text(json.dumps({**head, "form": 2}) + "\n")
    with pytest.raises(BadRequest, match="no batch file"):
        batches.read(path)
