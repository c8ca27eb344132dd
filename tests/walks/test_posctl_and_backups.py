"""A technician and a real agent with a card for backups: made, listed, read back, spoilt, pulled out; and an export.

What is in a file is asked of the ``age`` program with the operator's key, and the chain is computed from the published
formula: nothing of the agent's own code says that it is right.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from agent.ctl.__main__ import main
from tests.kit.agent_process import AgentProcess, call
from tests.kit.contract_peer import chain_after, chain_start, eventually, fresh_stan, sale

KEY = "operator.key"


class Shop:
    """An agent with one place for backups, ``card``; nothing is copied unless somebody orders it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.card = folder, folder / "card"
        self.card.mkdir()
        subprocess.run(["age-keygen", "-o", str(folder / KEY)], check=True, capture_output=True)
        asked = subprocess.run(["age-keygen", "-y", str(folder / KEY)], check=True, capture_output=True, text=True)
        places = {"folder": [{"name": "card", "path": str(self.card)}]}
        rarely = {"segment_entries": 10_000, "segment_after_s": 3600.0}
        self.agent = AgentProcess(folder, {"backup": {"recipients": [asked.stdout.strip()], **places, **rarely}})
        self.control = self.agent.run / "control.sock"
        self.payment = self.agent.run / "payment.sock"

    def posctl(self, *words: str) -> int:
        return main([*words, "--socket", str(self.control)])

    def sell(self, count: int, **changes: Any) -> int:
        """The last sequence."""
        answers = [call(self.payment, "transaction.record", sale(**changes)) for _ in range(count)]
        return int(answers[-1]["result"]["sequence"])

    def decrypted(self, file: str) -> list[dict[str, Any]]:
        """The lines of a backup, by the operator's key."""
        command = ["age", "-d", "-i", str(self.folder / KEY), str(self.card / file)]
        plain = subprocess.run(command, check=True, capture_output=True).stdout
        return [json.loads(line) for line in gzip.decompress(plain).splitlines()]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    shop = Shop(tmp_path_factory.mktemp("shop"))
    with shop.agent:
        yield shop


def listed(shop: Shop, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    assert shop.posctl("backup", "list", "--json") == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_a_backup_is_made_and_the_operators_key_opens_it(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    last = shop.sell(3)
    assert shop.posctl("backup", "run") == 0
    out = capsys.readouterr().out
    assert f"MADE  segment of entries 1-{last} at card" in out
    item = listed(shop, capsys)["items"][0]
    header, *entries, trailer = shop.decrypted(item["file"])
    assert (header["kind"], header["from_seq"], header["upto_seq"]) == ("segment", 1, last)
    chain = chain_start(header["journal_id"])
    for one in entries:
        chain = chain_after(chain, one["seq"], one["record"])
        assert one["hash"] == chain.hex()
    assert (trailer["entries"], trailer["chain"]) == (last, chain.hex())
    assert shop.posctl("backup", "run") == 0
    assert "NOTHING NEW" in capsys.readouterr().out


def test_a_snapshot_is_listed_with_its_place(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    last = shop.sell(1)
    assert shop.posctl("backup", "run", "--kind", "snapshot", "--target", "card", "--reason", "ticket 4711") == 0
    capsys.readouterr()
    assert shop.posctl("backup", "list", "--target", "card", "--limit", "1") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("card   ✓ usable")
    assert f" {last} " in lines[1]
    assert "never" not in lines[1]
    assert "snapshot" in lines[4]
    found = listed(shop, capsys)
    assert found["targets"][0]["backed_up_upto"] == last
    assert shop.posctl("backup", "verify") == 0
    assert "as written" in capsys.readouterr().out


def test_where_a_transaction_has_copies_is_told(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    def said(*words: str) -> str:
        capsys.readouterr()
        assert shop.posctl(*words) == 0
        return capsys.readouterr().out

    def is_said(text: str) -> bool:
        return text in said("status")

    stan = fresh_stan()
    shop.sell(1, stan=stan)
    for backup, copies, protection in (
        (
            False,
            "  copies        this terminal; not yet: backup, collector",
            "1 entry not protected yet, the oldest for",
        ),
        (True, "  copies        this terminal, backup; not yet: collector", "every entry is protected"),
    ):
        if backup:
            assert shop.posctl("backup", "run") == 0
        eventually(partial(is_said, protection), protection)
        assert copies in said("txn", "show", stan)
        (one,) = json.loads(said("txn", "show", stan, "--json"))["items"]
        assert one["copies"] == {"local": True, "backup": backup, "collector": False}


def test_a_spoilt_file_is_found_and_what_it_held_is_copied_again(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.sell(2)
    assert shop.posctl("backup", "run") == 0
    item = listed(shop, capsys)["items"][0]
    path = shop.card / item["file"]
    spoilt = bytearray(path.read_bytes())
    spoilt[len(spoilt) // 2] ^= 1
    path.write_bytes(spoilt)
    assert shop.posctl("backup", "verify", item["backup_id"][-8:]) == 1
    assert f"not as they were written: card {path.name}" in capsys.readouterr().out.replace("\n              ", " ")
    assert shop.posctl("backup", "verify", "--json") == 1
    assert "✗ problem" not in capsys.readouterr().out
    assert shop.posctl("backup", "list") == 0
    assert "✗ problem" in capsys.readouterr().out
    assert shop.posctl("backup", "run") == 0
    header, *_ = shop.decrypted(listed(shop, capsys)["items"][0]["file"])
    assert header["upto_seq"] == item["upto_seq"]


def test_a_medium_that_is_pulled_out_is_said_and_back_again_it_catches_up(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    away = shop.card.rename(shop.folder / "pulled out")
    last = shop.sell(2)
    assert shop.posctl("backup", "run") == 1
    out = capsys.readouterr().out
    assert "STEP_FAILED" in out
    assert str(shop.card) in out.replace("\n", "").replace(" ", "")
    assert shop.posctl("backup", "list") == 0
    assert "✗ not usable" in capsys.readouterr().out
    eventually(lambda: shop.posctl("health") == 0 and "TXN-BKP-002" in capsys.readouterr().out, "TXN-BKP-002")
    away.rename(shop.card)
    assert shop.posctl("backup", "run") == 0
    assert listed(shop, capsys)["targets"][0]["backed_up_upto"] == last
    eventually(lambda: shop.posctl("health") == 0 and "TXN-BKP-002" not in capsys.readouterr().out, "its end")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["backup", "run", "--target", "nobody"], 4),
        (["backup", "verify", "00000000-0000-7000-8000-000000000000"], 1),
        (["backup", "verify", "ffffffffffff"], 1),
        (["backup", "list", "--target", "nobody"], 1),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_what_is_not_there_is_refused(words: list[str], code: int, shop: Shop) -> None:
    assert shop.posctl(*words) == code


def test_the_journal_is_exported_whole_and_its_chain_follows_from_the_file(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    last = shop.sell(250, amount_minor=1234567)
    out = shop.folder / "journal.ndjson"
    capsys.readouterr()
    assert shop.posctl("txn", "export", "--format", "ndjson", "--out", str(out)) == 0
    assert f"{last} entries, sequence 1 to {last}" in capsys.readouterr().out
    journal_id = call(shop.control, "agent.info")["result"]["journal_id"]
    chain = chain_start(journal_id)
    written = [json.loads(line) for line in out.read_text().splitlines()]
    for one in written:
        chain = chain_after(chain, one["seq"], one["record"])
        assert one["hash"] == chain.hex()
    assert written[-1]["seq"] == last
    assert written[-1]["amounts"]["amount"] == "12345.67"
    table = shop.folder / "journal.csv"
    assert shop.posctl("txn", "export", "--out", str(table), "--from", "2020-01-01", "--until", "2099-01-01") == 0
    rows = list(csv.DictReader(io.StringIO(table.read_text(), newline="")))
    assert [int(row["seq"]) for row in rows] == list(range(1, last + 1))
    assert rows[-1]["hash"] == chain.hex()
    assert (rows[-1]["amount_minor"], rows[-1]["amount"]) == ("1234567", "12345.67")
    assert shop.posctl("txn", "export", "--out", str(table), "--from", "2099-01-01") == 0
    assert len(table.read_text().splitlines()) == 1
    assert shop.posctl("journal", "verify") == 0


def test_a_time_picks_entries_out(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    first = shop.sell(1)
    at = call(shop.control, "transaction.list", {"newest_first": True, "limit": 1})["result"]["items"][0]["at"]
    second = shop.sell(1)
    capsys.readouterr()
    assert shop.posctl("txn", "list", "--from", at, "--json") == 0
    assert [one["seq"] for one in json.loads(capsys.readouterr().out)["items"]] == [second, first]
    assert shop.posctl("txn", "list", "--until", at, "--limit", "1", "--json") == 0
    assert [one["seq"] for one in json.loads(capsys.readouterr().out)["items"]] == [first - 1]
