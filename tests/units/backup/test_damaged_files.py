"""Real encrypted files, cut and with flipped bits anywhere: what another file holds comes back, the rest is named."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.backup.lineage import Source, find_lineage
from agent.backup.place import pieces_of
from agent.backup.restore_plan import Until
from agent.backup.restoring import Restored, Restoring, Wanted
from agent.errors import NeedsPerson, NotFound
from agent.store.building import being_built, building
from agent.store.restored_rows import Gap
from tests.kit import backup_folder as kit
from tests.kit.backup_folder import SITE, TERMINAL, BackupFolder

NOW = datetime(2026, 11, 25, tzinfo=UTC)
ENTRIES, EACH = 240, 40
KEY = kit.new_key()


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return kit.fill_journal(tmp_path_factory.mktemp("old"), ENTRIES)


def restored(place: Path, into: Path) -> tuple[Restored, set[int]]:
    source = Source(place, [KEY.secret], "another key")
    pieces = pieces_of(place, SITE, TERMINAL)
    lineage, _unusable = find_lineage(source, pieces, None)
    into.mkdir()
    with building(into / "agent.db", NOW) as db:
        result = Restoring(db, Wanted(source, pieces, lineage, Until()), lambda _done, _total: None).restore(NOW, "")
    stored = kit.query(being_built(into / "agent.db"), "SELECT sequence FROM entries")
    return result, {row[0] for row in stored}


@pytest.mark.parametrize("seed", range(25))
def test_files_cut_and_bits_flipped_anywhere_cost_nothing_that_another_file_holds(
    tmp_path: Path, database: Path, seed: int
) -> None:
    choice = random.Random(seed)
    folder = BackupFolder(tmp_path / "place", database, [KEY.public])
    made = [folder.snapshot(120), folder.snapshot(ENTRIES), *folder.segments(1, ENTRIES, EACH)]
    hurt = {one: kit.damage(one, choice) for one in choice.sample(made, choice.randrange(1, 6))}
    spans = {one: range(int(one.name.split("-")[1]), int(one.name.split("-")[2]) + 1) for one in made}
    held = {sequence for one in made if one not in hurt for sequence in spans[one]}
    result, stored = restored(folder.place, tmp_path / "new")
    gaps = [*result.missing, *([result.lost_tail] if result.lost_tail else [])]
    assert stored == held, hurt
    assert {one for gap in gaps for one in range(gap.first, gap.last + 1)} == set(range(1, ENTRIES + 1)) - held
    assert {Path(one.file).name for one in result.unusable} <= {one.name for one in hurt}


def test_when_every_file_is_hurt_nothing_comes_back_and_why_is_said(tmp_path: Path, database: Path) -> None:
    folder = BackupFolder(tmp_path / "place", database, [KEY.public])
    for one in [folder.snapshot(ENTRIES), *folder.segments(1, ENTRIES, EACH)]:
        one.write_bytes(one.read_bytes()[:100])
    with pytest.raises(NeedsPerson, match="none of the 7 files can be read"):
        restored(folder.place, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_file_under_another_name_is_not_taken_for_what_it_says(tmp_path: Path, database: Path) -> None:
    folder = BackupFolder(tmp_path / "place", database, [KEY.public])
    segment, other = folder.segments(1, 80, 40)
    other.rename(other.with_name(other.name.replace("000080", "000090")))
    result, stored = restored(folder.place, tmp_path / "new")
    assert (max(stored), result.lost_tail) == (40, (41, 90))
    assert "not what its name and its folder say" in result.unusable[0].problem
    assert segment.exists()


def test_what_bears_a_backups_name_and_is_none_is_named_and_waited_for_never(tmp_path: Path, database: Path) -> None:
    folder = BackupFolder(tmp_path / "place", database, [KEY.public])
    inside = folder.snapshot(ENTRIES).parent
    os.mkfifo(inside / "segment-000000000241-000000000250-01234567.age")
    (inside / "segment-000000000251-000000000260-01234567.age").mkdir()
    (inside / "segment-000000000261-000000000270-01234567.age").symlink_to("/dev/zero")
    (inside / "segment-9999999999999999998-9999999999999999999-01234567.age").write_bytes(b"")
    result, stored = restored(folder.place, tmp_path / "new")
    assert (len(stored), len(result.unusable), result.lost_tail) == (ENTRIES, 3, Gap(ENTRIES + 1, 270))


@pytest.mark.parametrize("closed", ["", SITE, f"{SITE}/{TERMINAL}", "the journal's own"])
def test_a_folder_that_its_reader_may_not_look_into_is_told(database: Path, closed: str) -> None:
    """Put on a stick by root, as often as not, and read by the agent's user."""
    folder = BackupFolder(Path(tempfile.mkdtemp(dir="/tmp")), database, [KEY.public])
    folder.place.chmod(0o755)
    journal = folder.snapshot(ENTRIES).parent
    for one in (folder.place, journal.parent.parent, journal.parent, journal):
        one.chmod(0o755)
    inner = journal if closed.startswith("the") else folder.place / closed
    inner.chmod(0o700 if os.geteuid() == 0 else 0)
    was = os.geteuid()
    try:
        if was == 0:
            os.seteuid(65534)
        with pytest.raises(NotFound, match=r"cannot look into .+ Permission denied") as told:
            pieces_of(folder.place, SITE, TERMINAL)
    finally:
        os.seteuid(was)
        inner.chmod(0o700)
        shutil.rmtree(folder.place)
    assert "chmod -R a+rX" in (told.value.hint or "")


def test_what_lies_beside_backups_is_passed_over(tmp_path: Path, database: Path) -> None:
    folder = BackupFolder(tmp_path / "place", database, [KEY.public])
    made = folder.snapshot(ENTRIES)
    (made.parent / ".snapshot-1.part").write_bytes(b"left over")
    (made.parent / "README.txt").write_text("hello")
    (made.parent.parent / "notes").mkdir()
    (folder.place / "index.json").write_text("{}")
    result, stored = restored(folder.place, tmp_path / "new")
    assert (len(stored), list(result.unusable)) == (ENTRIES, [])
