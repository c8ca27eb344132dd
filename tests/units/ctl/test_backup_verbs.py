"""`posctl backup list | run | verify` against a control socket that answers as the contract says."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
import pytest

from agent.contract.backup_views import BackupPage
from agent.ctl.__main__ import main
from tests.kit.control_stub import ControlStub, RawAnswer, RpcError
from tests.units.ctl.answers_for_tests import BACKUP_ID, BACKUPS, BROKEN, COMMAND_ID, SEGMENT, TARGETS, operation


def test_places_come_first_with_what_is_wrong_then_their_files(
    stub: ControlStub, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["backup", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["PLACE", "STATE", "ENTRIES", "UPTO", "SNAPSHOT", "VERIFIED", "WHERE"]
    assert lines[1].startswith("card   ✓ usable")
    assert " 412 " in lines[1]
    assert lines[2].startswith("vault  ✗ not usable")
    assert "never" in lines[2]
    assert lines[3] == "  vault: no answer within 10 s"
    assert lines[5].split() == ["MADE", "KIND", "PLACE", "ENTRIES", "SIZE", "VERIFIED", "ID"]
    assert "snapshot  card   1-412    23 KiB  ✗ problem" in lines[6]
    assert lines[7].endswith(BACKUP_ID[-8:])
    assert re.search(r"segment   card   1-412    23 KiB  11-2\d ", lines[7])
    assert "snapshot" not in lines[8]
    assert f"{BROKEN['backup_id'][-8:]} segment-000000000001-000000000412-0011aabb.age: the file is gone" in " ".join(
        line.strip() for line in lines[8:]
    )


def test_a_terminal_without_places_says_what_to_do(stub: ControlStub, capsys: pytest.CaptureFixture[str]) -> None:
    stub.answers["backup.list"] = {"items": [], "next_cursor": None, "targets": []}
    assert main(["backup", "list"]) == 0
    out = capsys.readouterr().out
    assert "none: no backup is made" in out
    assert "[backup] of the configuration" in out
    assert "no backups recorded" in out


def test_the_list_turns_pages_and_json_holds_all_of_it(stub: ControlStub, capsys: pytest.CaptureFixture[str]) -> None:
    stub.answers["backup.list"] = lambda params: {
        "items": [SEGMENT] * params["limit"],
        "next_cursor": "c",
        "targets": TARGETS,
    }
    assert main(["backup", "list", "--limit", "120", "--target", "card", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (len(shown["items"]), shown["more"], shown["targets"]) == (120, True, TARGETS)
    asked = stub.asked("backup.list")
    assert [(params["limit"], params["target"]) for params in asked] == [(100, "card"), (20, "card")]
    assert main(["backup", "list"]) == 0
    assert "there are more: --limit 100" in capsys.readouterr().err


def test_a_place_that_is_none_is_told_from_one_without_files(
    stub: ControlStub, capsys: pytest.CaptureFixture[str]
) -> None:
    stub.answers["backup.list"] = {"items": [], "next_cursor": None, "targets": TARGETS}
    assert main(["backup", "list", "--target", "vault"]) == 0
    assert main(["backup", "list", "--target", "cart"]) == 1
    assert "it has: card, vault" in capsys.readouterr().err


def test_what_is_tested_here_is_what_the_agent_answers() -> None:
    page = msgspec.json.decode(msgspec.json.encode(BACKUPS), type=BackupPage)
    assert len(page.items) == 2


@pytest.mark.parametrize(
    ("words", "method", "order"),
    [
        (["run"], "backup.run", {"kind": "segment"}),
        (
            ["run", "--kind", "snapshot", "--target", "card", "--reason", "ticket 4711"],
            "backup.run",
            {"kind": "snapshot", "target": "card", "reason": "ticket 4711"},
        ),
        (["verify"], "backup.verify", {}),
        (["verify", BACKUP_ID], "backup.verify", {"backup_id": BACKUP_ID}),
        (["verify", BACKUP_ID[-8:]], "backup.verify", {"backup_id": BACKUP_ID}),
    ],
)
def test_it_is_an_order_with_an_id_of_its_own(
    words: list[str], method: str, order: dict[str, object], stub: ControlStub
) -> None:
    assert main(["backup", *words]) == 0
    asked = stub.asked(method)[0]
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", asked.pop("command_id"))
    assert asked == order


@pytest.mark.parametrize("words", [["run"], ["verify"], ["run", "--kind", "snapshot"]])
@pytest.mark.parametrize(
    ("final", "code"),
    [("succeeded", 0), ("failed", 1), ("rolled_back", 1), ("expired", 1), ("cancelled", 1), ("rejected", 4)],
)
def test_it_is_seen_to_its_end_and_exits_by_it(
    words: list[str], final: str, code: int, stub: ControlStub, capsys: pytest.CaptureFixture[str]
) -> None:
    states = iter([operation("running", 2, progress=40), operation(final, 3)])
    stub.answers["command.get"] = lambda _params: next(states)
    assert main(["backup", *words]) == code
    out = capsys.readouterr().out
    assert "accepted" in out
    assert "40 %" in out
    assert final in out


PROBLEM = {"target": "vault", "problem": "no answer within 10 s"}


@pytest.mark.parametrize(
    ("result", "code", "said"),
    [
        ({"files": [SEGMENT], "problems": []}, 0, "MADE  segment of entries 1-412 at card, 23 KiB, read back"),
        ({"files": [], "problems": []}, 0, "NOTHING NEW  every entry is in a backup already"),
        ({"files": [SEGMENT], "problems": [PROBLEM]}, 1, "  ✗ vault: no answer within 10 s"),
        ({"something": "newer"}, 0, "succeeded"),
    ],
)
def test_what_was_made_is_told_and_a_place_that_failed_counts(
    result: dict[str, Any], code: int, said: str, stub: ControlStub, capsys: pytest.CaptureFixture[str]
) -> None:
    stub.answers["backup.run"] = operation("succeeded", 3, name="backup", result=result)
    assert main(["backup", "run"]) == code
    assert said in capsys.readouterr().out
    assert main(["backup", "run", "--json"]) == code
    assert json.loads(capsys.readouterr().out)["result"] == result


@pytest.mark.parametrize(
    ("result", "code", "said"),
    [
        ({"right": 412, "wrong": [], "problems": []}, 0, "RIGHT  412 files are as written"),
        ({"right": 1, "wrong": [], "problems": []}, 0, "RIGHT  1 file is as written"),
        ({"right": 0, "wrong": [], "problems": []}, 1, "there is no backup to verify"),
        ({"right": 1, "wrong": [BROKEN], "problems": []}, 1, "0011aabb.age: the file is gone"),
        ({"right": 1, "wrong": [], "problems": [PROBLEM]}, 1, "  ✗ vault: no answer within 10 s"),
    ],
)
def test_what_was_read_is_told_and_a_wrong_file_counts(
    result: dict[str, Any], code: int, said: str, stub: ControlStub, capsys: pytest.CaptureFixture[str]
) -> None:
    stub.answers["backup.verify"] = operation("succeeded", 3, name="verify_backup", result=result)
    assert main(["backup", "verify"]) == code
    assert said in capsys.readouterr().out
    assert main(["backup", "verify", "--json"]) == code
    assert json.loads(capsys.readouterr().out)["result"] == result


def test_one_that_does_not_end_is_left_to_itself(stub: ControlStub, capsys: pytest.CaptureFixture[str]) -> None:
    stub.answers["command.get"] = operation("running", 2)
    assert main(["backup", "run", "--wait", "0.2"]) == 1
    assert "the order goes on" in capsys.readouterr().err


def test_a_retry_keeps_its_id_and_whoever_gets_no_answer_is_told_it(
    stub: ControlStub, capsys: pytest.CaptureFixture[str]
) -> None:
    stub.answers["backup.run"] = RawAnswer(b"")
    assert main(["backup", "run"]) == 3
    said = re.search(r"--command-id (\S+)", capsys.readouterr().err)
    assert said is not None
    stub.answers["backup.run"] = operation("succeeded", 3, name="backup")
    assert main(["backup", "run", "--command-id", said[1]]) == 0
    assert {params["command_id"] for params in stub.asked("backup.run")} == {said[1]}


def test_a_refusal_exits_4(stub: ControlStub) -> None:
    stub.answers["backup.run"] = RpcError(message="not yours", data={"code": "NOT_AUTHORISED"})
    assert main(["backup", "run"]) == 4
    stub.answers["backup.verify"] = operation("rejected", reason={"code": "INVALID_ARGUMENTS", "text": "no such place"})
    assert main(["backup", "verify", "--json"]) == 4


def test_an_end_of_an_id_that_fits_none_or_several_asks_for_nothing(
    stub: ControlStub, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["backup", "verify", "ffffffff"]) == 1
    assert "no backup has an id that ends so" in capsys.readouterr().err
    twin: dict[str, Any] = {**SEGMENT, "backup_id": BACKUP_ID.replace("019a", "019b", 1)}
    stub.answers["backup.list"] = {**BACKUPS, "items": [SEGMENT, twin]}
    assert main(["backup", "verify", BACKUP_ID[-8:]]) == 2
    assert stub.asked("backup.verify") == []


def test_an_agent_that_knows_no_backups_says_so(stub: ControlStub, capsys: pytest.CaptureFixture[str]) -> None:
    for method in ("backup.list", "backup.run", "backup.verify"):
        del stub.answers[method]
    assert main(["backup", "list"]) == 1
    assert main(["backup", "run", "--command-id", COMMAND_ID]) == 1
    assert main(["backup", "verify"]) == 1
    assert "does not know backup.verify" in capsys.readouterr().err
