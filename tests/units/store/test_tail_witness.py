"""The witness of the journal's end: what was committed is told, whatever half of the file is spoilt."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.store.tail_witness import BLOCK, TailWitness, Witness, read_witness
from tests.kit.store_records import open_journal, sale

JOURNAL, BOOT = "0" * 36, "1" * 36


def test_the_last_entry_is_told_and_sequences_are_reserved_before_they_are_given_out(tmp_path: Path) -> None:
    path = tmp_path / "agent.tail"
    assert read_witness(path) is None
    witness = TailWitness(path, BOOT)
    witness.begin(JOURNAL, 0, bytes(32))
    witness.reserve(1)
    assert read_witness(path) == Witness(JOURNAL, BOOT, 0, 1 + BLOCK, bytes(32))
    witness.note(1, b"h" * 32)
    assert read_witness(path) == Witness(JOURNAL, BOOT, 1, 1 + BLOCK, b"h" * 32)
    witness.reserve(2 + BLOCK)
    witness.close()
    again = TailWitness(path, BOOT)
    again.begin(JOURNAL, 1, b"h" * 32)
    assert read_witness(path) == Witness(JOURNAL, BOOT, 1, 2 + 2 * BLOCK, b"h" * 32)
    again.begin("2" * 36, 7, b"i" * 32)  # another journal has its own
    assert read_witness(path) == Witness("2" * 36, BOOT, 7, 7, b"i" * 32)
    again.close()


@pytest.mark.parametrize("spoilt", [0, 512])
def test_a_torn_write_costs_one_step_at_most(tmp_path: Path, spoilt: int) -> None:
    path = tmp_path / "agent.tail"
    witness = TailWitness(path, BOOT)
    witness.begin(JOURNAL, 0, bytes(32))
    for sequence in range(1, 6):
        witness.note(sequence, bytes([sequence]) * 32)
    witness.close()
    content = bytearray(path.read_bytes())
    content[spoilt + 100] ^= 1
    path.write_bytes(content)
    found = read_witness(path)
    assert found is not None
    assert found.sequence in (4, 5)
    path.write_bytes(b"anything" * 200)
    assert read_witness(path) is None


async def test_a_folder_that_does_not_take_it_costs_no_record(tmp_path: Path) -> None:
    (tmp_path / "agent.tail").mkdir()
    async with open_journal(tmp_path) as opened:
        assert await opened.store(sale()) == 1


async def test_it_tells_of_entries_that_the_file_has_no_more(tmp_path: Path) -> None:
    async with open_journal(tmp_path) as opened:
        for number in range(5):
            await opened.store(sale(stan=f"{number:06d}"))
        files = {name: (tmp_path / name).read_bytes() for name in ("agent.db", "agent.db-wal")}  # an older state
        for number in range(5, 9):
            await opened.store(sale(stan=f"{number:06d}"))
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    async with open_journal(tmp_path) as opened:
        assert await opened.store(sale(stan="000099")) == 10  # 6 to 9 were acknowledged: never given out again
        missing = await opened.database.read(lambda db: db.execute("SELECT from_seq, upto_seq FROM missing").fetchall())
        assert missing[0][1] == 9
