"""Names of backups: what is written is read again, and nothing else is taken for one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.backup.file_names import FileName, file_name, folder_of, is_in_work, name_in_work, parse_name
from agent.contract.backup_views import BackupKind

AT = datetime(2026, 11, 21, 2, 3, 4, tzinfo=UTC)
DIGEST = "0123456789abcdef" * 4


def test_names_are_as_the_format_says() -> None:
    assert folder_of("shop-1", "T-0001", "id") == "shop-1/T-0001/id"
    assert file_name("segment", 1, 100, AT, DIGEST) == "segment-000000000001-000000000100-01234567.age"
    local = AT.astimezone(timezone(timedelta(hours=8)))
    assert (
        file_name("snapshot", 1, 7, local, DIGEST) == "snapshot-000000000001-000000000007-20261121T020304Z-01234567.age"
    )


@given(st.sampled_from(["segment", "snapshot"]), st.integers(0, 2**62), st.integers(0, 2**62))
def test_a_name_says_what_was_put_into_it(kind: BackupKind, first: int, last: int) -> None:
    made_at = AT if kind == "snapshot" else None
    assert parse_name(file_name(kind, first, last, AT, DIGEST)) == FileName(kind, first, last, made_at, "01234567")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "index.json",
        "segment-1-2-01234567.age",
        "segment-000000000001-000000000100-01234567.age.part",
        "segment-000000000001-000000000100-0123456X.age",
        "segment-000000000001-000000000100-20261121T020304Z-01234567.age",
        "snapshot-000000000001-000000000100-01234567.age",
        "snapshot-000000000001-000000000100-20261321T020304Z-01234567.age",
        "../segment-000000000001-000000000100-01234567.age",
        "segment-000000000001-000000000100-01234567.age\n",
        "segment-9999999999999999998-9999999999999999999-01234567.age",
        "segment-０００000000001-000000000100-01234567.age",
    ],
)
def test_anything_else_is_no_backup(name: str) -> None:
    assert parse_name(name) is None


def test_a_file_in_work_is_known_and_never_a_backup() -> None:
    name = name_in_work("segment", "0192f6d0-7c1e-7000-8000-000000000001")
    assert is_in_work(name)
    assert parse_name(name) is None
    assert not is_in_work(file_name("segment", 1, 100, AT, DIGEST))
    assert not is_in_work(".bashrc")
