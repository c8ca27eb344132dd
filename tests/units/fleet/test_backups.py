"""The operator's side: what a folder holds, whether it can be restored, and the same encrypted to a terminal's key."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agent.ctl.__main__ import main
from agent.fleet.backup_list import gaps_between
from tests.kit import backup_folder as kit
from tests.kit.backup_folder import BackupFolder

ENTRIES = 120


@dataclass
class Operator:
    """A private key as ``age-keygen`` makes it, and a folder of backups that it opens."""

    identity: Path
    folder: BackupFolder
    capsys: pytest.CaptureFixture[str]

    def ask(self, verb: str, *words: object, code: int = 0) -> Any:
        """``posctl fleet backup`` with ``--json``; the document."""
        assert self.say(verb, *words, "--json", code=code) == ""
        return json.loads(self._out)

    def say(self, verb: str, *words: object, code: int = 0) -> str:
        """The same for people; what stands beside the result."""
        got = main(["fleet", "backup", verb, *map(str, words)])
        captured = self.capsys.readouterr()
        assert got == code, captured.out + captured.err
        self._out = captured.out
        return captured.err

    @property
    def shown(self) -> str:
        return self._out

    @property
    def key(self) -> list[object]:
        return ["--identity", self.identity]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return kit.fill_journal(tmp_path_factory.mktemp("old"), ENTRIES)


@pytest.fixture
def operator(tmp_path: Path, database: Path, capsys: pytest.CaptureFixture[str]) -> Operator:
    identity = tmp_path / "identity.txt"
    subprocess.run(["age-keygen", "-o", identity], capture_output=True, check=True)
    told = subprocess.run(["age-keygen", "-y", identity], capture_output=True, text=True, check=True)
    return Operator(identity, BackupFolder(tmp_path / "place", database, [told.stdout.strip()]), capsys)


def test_the_names_alone_tell_journals_spans_and_gaps(operator: Operator, database: Path) -> None:
    operator.folder.segments(1, 40, 20)
    operator.folder.segments(61, ENTRIES, 30)
    [item] = operator.ask("list", operator.folder.place)["items"]
    [(journal_id,)] = kit.query(database, "SELECT value FROM meta WHERE name = 'journal_id'")
    assert (item["terminal"], item["journal_id"], item["gaps"]) == ("T-0001", journal_id, [[41, 60]])
    assert (item["from_seq"], item["upto_seq"], item["segments"], item["snapshots"]) == (1, ENTRIES, 4, 0)
    operator.say("list", operator.folder.place)
    assert f"missing entries 41 to 60 of journal {journal_id}" in operator.shown
    operator.folder.snapshot(70)
    assert operator.ask("list", operator.folder.place)["items"][0]["gaps"] == []


def test_with_the_key_every_file_is_read_and_what_is_damaged_is_named(operator: Operator) -> None:
    first, second = operator.folder.segments(1, 80, 40)
    assert operator.ask("list", operator.folder.place, *operator.key)["items"][0]["read"] is True
    second.write_bytes(second.read_bytes()[:-20])
    [item] = operator.ask("list", operator.folder.place, *operator.key, code=1)["items"]
    assert (item["upto_seq"], [Path(one["file"]).name for one in item["unusable"]]) == (40, [second.name])
    assert first.exists()


def test_a_restore_for_a_test_proves_the_chain_and_leaves_nothing(operator: Operator, tmp_path: Path) -> None:
    operator.folder.snapshot(60)
    operator.folder.segments(61, ENTRIES, 20)
    work = tmp_path / "work"
    work.mkdir()
    [item] = operator.ask("verify", *operator.key, operator.folder.place, "--work", work)["items"]
    assert (item["intact"], item["entries"], item["last_seq"], item["used"]) == (True, ENTRIES, ENTRIES, 4)
    assert list(work.iterdir()) == []
    operator.folder.made[2].unlink()
    [item] = operator.ask("verify", *operator.key, operator.folder.place, code=1)["items"]
    assert (item["intact"], item["missing"]) == (False, [[81, 100]])
    operator.say("verify", *operator.key, operator.folder.place, code=1)
    assert "missing 81 to 100" in operator.shown


def test_the_wrong_key_opens_nothing_and_that_is_said(operator: Operator, tmp_path: Path) -> None:
    operator.folder.snapshot(ENTRIES)
    other = tmp_path / "other"
    subprocess.run(["age-keygen", "-o", other], capture_output=True, check=True)
    [item] = operator.ask("verify", "--identity", other, operator.folder.place, code=1)["items"]
    assert "none of the 1 files can be read" in item["problem"]
    to = tmp_path / "to"
    told = operator.ask(
        "reencrypt",
        "--from",
        operator.folder.place,
        "--to",
        to,
        "--identity",
        other,
        "--recipient",
        kit.new_key().public,
        code=1,
    )
    assert (told["done"], told["unusable"]) == (0, 1)
    assert [one for one in to.rglob("*") if one.is_file()] == []


def test_the_same_backups_encrypted_to_another_key_are_read_by_that_one_alone(
    operator: Operator, tmp_path: Path, database: Path
) -> None:
    operator.folder.snapshot(60)
    operator.folder.segments(61, ENTRIES, 30)
    terminal = tmp_path / "terminal"
    subprocess.run(["age-keygen", "-o", terminal], capture_output=True, check=True)
    told = subprocess.run(["age-keygen", "-y", terminal], capture_output=True, text=True, check=True)
    to = tmp_path / "to"
    words = ["--from", operator.folder.place, "--to", to, *operator.key, "--recipient", told.stdout.strip()]
    done = operator.ask("reencrypt", *words)
    assert (done["done"], done["unusable"]) == (3, 0)
    assert sorted(one["to"] for one in done["items"]) == sorted(
        str(one.relative_to(to)) for one in to.rglob("*") if one.is_file()
    )
    [item] = operator.ask("verify", "--identity", terminal, to)["items"]
    assert (item["intact"], item["entries"]) == (True, ENTRIES)
    operator.ask("verify", *operator.key, to, code=1)
    # The age program opens them as well, and the content is the same to the byte.
    for one in done["items"]:
        plain = [
            subprocess.run(["age", "-d", "-i", key, path], capture_output=True, check=True).stdout
            for key, path in ((operator.identity, operator.folder.place / one["file"]), (terminal, to / one["to"]))
        ]
        assert plain[0] == plain[1]


def test_what_is_not_usable_is_named_and_the_rest_goes_on(operator: Operator, tmp_path: Path) -> None:
    made = operator.folder.segments(1, ENTRIES, 40)
    content = bytearray(made[1].read_bytes())
    content[-5] ^= 1
    made[1].write_bytes(content)
    to, key = tmp_path / "to", kit.new_key().public
    words = ["--from", operator.folder.place, "--to", to, *operator.key, "--recipient", key]
    told = operator.ask("reencrypt", *words, code=1)
    assert (told["done"], [Path(one["file"]).name for one in told["items"] if one["to"] is None]) == (2, [made[1].name])
    assert len([one for one in to.rglob("*") if one.is_file()]) == 2
    operator.say("reencrypt", *words, code=1)
    assert made[1].name in operator.shown


def test_one_terminal_or_journal_is_chosen_by_its_name(operator: Operator, database: Path, tmp_path: Path) -> None:
    operator.folder.snapshot(ENTRIES)
    operator.folder.terminal = "T-0002"
    operator.folder.snapshot(ENTRIES)
    items = operator.ask("list", operator.folder.place, "--terminal", "shop-1/T-0002")["items"]
    assert [one["terminal"] for one in items] == ["T-0002"]
    [(journal_id,)] = kit.query(database, "SELECT value FROM meta WHERE name = 'journal_id'")
    assert len(operator.ask("list", operator.folder.place, "--journal", journal_id)["items"]) == 2
    for words in (["--terminal", "T-9"], ["--journal", "none"]):
        assert "holds no backup" in operator.say("list", operator.folder.place, *words, code=1)
    assert "cannot look into" in operator.say("list", tmp_path / "none", code=1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"--recipient": "age1nonsense"}, "no public key"),
        ({"--recipient": "AGE-SECRET-KEY-1QQQQ"}, "no public key"),
        ({"--identity": "/nowhere"}, "cannot read"),
        ({"--to": "SAME"}, "come from there"),
        ({"--to": "/proc/1/nowhere"}, "cannot write"),
    ],
)
def test_wrong_words_are_refused_before_anything_is_written(
    operator: Operator, tmp_path: Path, change: dict[str, str], said: str
) -> None:
    operator.folder.segment(1, 20)
    words = {
        "--from": str(operator.folder.place),
        "--to": str(tmp_path / "to"),
        "--identity": str(operator.identity),
        "--recipient": kit.new_key().public,
        **change,
    }
    words["--to"] = words["--to"].replace("SAME", str(operator.folder.place))
    told = operator.say("reencrypt", *[one for pair in words.items() for one in pair], code=2)
    assert said in " ".join(told.split())
    assert "QQQQ" not in told
    assert not (tmp_path / "to").exists()


@pytest.mark.parametrize(
    ("spans", "gaps"),
    [
        ([], []),
        ([(1, 5)], []),
        ([(6, 9), (1, 5)], []),
        ([(1, 5), (7, 9)], [(6, 6)]),
        ([(1, 9), (2, 3), (12, 12)], [(10, 11)]),
    ],
)
def test_gaps_lie_between_spans(spans: list[tuple[int, int]], gaps: list[tuple[int, int]]) -> None:
    assert gaps_between(spans) == gaps
