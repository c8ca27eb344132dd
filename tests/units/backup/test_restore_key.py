"""The terminal's own key: made once, for its owner alone, and read by the age program as well."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.backup.restore_key import FILE, make_key, read_identities, read_key
from agent.errors import BadRequest, NeedsPerson

NOW = datetime(2026, 11, 25, tzinfo=UTC)


def test_a_key_is_made_once_and_kept(tmp_path: Path) -> None:
    assert read_key(tmp_path) is None
    made = make_key(tmp_path, NOW)
    assert make_key(tmp_path, NOW) == made == read_key(tmp_path)
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
    assert [one.name for one in tmp_path.iterdir()] == [FILE]


def test_the_file_is_an_identity_of_the_age_program_and_the_key_shows_nothing_private(tmp_path: Path) -> None:
    made = make_key(tmp_path, NOW)
    told = subprocess.run(["age-keygen", "-y", tmp_path / FILE], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == made.public
    assert made.secret not in repr(made)


def test_a_file_that_others_may_read_or_that_is_no_key_is_refused_and_kept(tmp_path: Path) -> None:
    make_key(tmp_path, NOW)
    (tmp_path / FILE).chmod(0o640)
    with pytest.raises(NeedsPerson, match="may be read by others"):
        read_key(tmp_path)
    (tmp_path / FILE).write_text("something else")
    (tmp_path / FILE).chmod(0o600)
    with pytest.raises(NeedsPerson, match="is no key of age"):
        make_key(tmp_path, NOW)
    assert (tmp_path / FILE).read_text() == "something else"


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(NeedsPerson, match="cannot be written"):
        make_key(tmp_path / "missing", NOW)


def test_an_identity_file_may_hold_several_keys_and_comments(tmp_path: Path) -> None:
    secrets = []
    for name in ("a", "b"):
        subprocess.run(["age-keygen", "-o", tmp_path / name], capture_output=True, check=True)
        secrets.append((tmp_path / name).read_text())
    (tmp_path / "both").write_text("# mine\n\n" + "\n".join(secrets))
    assert len(read_identities(tmp_path / "both")) == 2


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no identity file"),
        (b"# only a comment\n", "no identity file"),
        (b"AGE-SECRET-KEY-1QQQQ\n", "no private key"),
        (b"\xff\xfe\x00", "no identity file"),
        (b"age-encryption.org/v1\n-> scrypt x 18\n", "itself encrypted"),
        (b"-----BEGIN AGE ENCRYPTED FILE-----\n", "itself encrypted"),
    ],
)
def test_a_file_that_is_no_identity_is_refused_and_not_repeated(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(BadRequest, match=said) as caught:
        read_identities(tmp_path / "file")
    assert "QQQQ" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="cannot read"):
        read_identities(tmp_path / "none")
    with pytest.raises(BadRequest, match="cannot read"):
        read_identities(tmp_path)
