"""age by the library and by the program: the same keys, the same files, and no way to lose what went wrong."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from agent.backup import age as age_module
from agent.backup.age import Age, Library, Program, present
from agent.backup.file_format import read_compressed
from agent.errors import AgentError, BackupUnusable, BadRequest, NeedsPerson
from tests.kit.backup_parts import compressed, segment

PROGRAM = pytest.param(Program(), id="program", marks=pytest.mark.skipif(not shutil.which("age"), reason="no age"))
BOTH = pytest.mark.parametrize("age", [pytest.param(present(), id="library"), PROGRAM])
TEXT = os.urandom(300_000)


@pytest.fixture(name="file")
def _file(tmp_path: Path) -> Iterator[IO[bytes]]:
    with (tmp_path / "file").open("w+b") as file:
        yield file


def _encrypt(age: Age, file: IO[bytes], text: bytes, *recipients: str) -> None:
    with age.encrypting(file, recipients) as stream:
        stream.write(text)
    file.seek(0)


def _decrypt(age: Age, file: IO[bytes], *secrets: str) -> bytes:
    file.seek(0)
    with age.decrypting(file, secrets) as stream:
        return stream.read()


@BOTH
def test_each_recipient_can_read_it_and_nobody_else(age: Age, file: IO[bytes]) -> None:
    first, second, other = (age.generate() for _ in range(3))
    _encrypt(age, file, TEXT, first.public, second.public)
    assert TEXT[:100] not in file.read()
    assert _decrypt(age, file, first.secret) == TEXT
    assert _decrypt(age, file, other.secret, second.secret) == TEXT
    with pytest.raises(BackupUnusable, match="other keys"):
        _decrypt(age, file, other.secret)


@pytest.mark.skipif(not shutil.which("age"), reason="no age")
def test_the_library_and_the_program_read_each_others_files(file: IO[bytes]) -> None:
    library, program = present(), Program()
    pair = library.generate()
    assert program.public_of(pair.secret) == pair.public == library.public_of(f" {pair.secret}\n")
    _encrypt(library, file, TEXT, pair.public)
    assert _decrypt(program, file, pair.secret) == TEXT
    file.seek(0)
    file.truncate()
    _encrypt(program, file, TEXT, pair.public)
    assert _decrypt(library, file, pair.secret) == TEXT


@BOTH
@pytest.mark.parametrize("cut", [0, 10, 150, 70_000, 300_100])
def test_a_file_that_is_cut_is_unusable(age: Age, file: IO[bytes], cut: int) -> None:
    pair = age.generate()
    _encrypt(age, file, TEXT, pair.public)
    os.truncate(file.fileno(), cut)
    with pytest.raises(BackupUnusable):
        _decrypt(age, file, pair.secret)


@BOTH
@pytest.mark.parametrize("at", [5, 100, 1000, 200_000, -1])
def test_a_file_that_is_altered_is_unusable(age: Age, file: IO[bytes], at: int) -> None:
    pair = age.generate()
    _encrypt(age, file, TEXT, pair.public)
    altered = bytearray(file.read())
    altered[at] ^= 4
    file.seek(0)
    file.write(altered)
    file.flush()
    with pytest.raises(BackupUnusable):
        _decrypt(age, file, pair.secret)


@BOTH
def test_the_reason_is_the_encryptions_where_the_reader_saw_the_end_alone(age: Age, file: IO[bytes]) -> None:
    pair = age.generate()
    _encrypt(age, file, compressed(segment(2000)), pair.public)
    os.truncate(file.fileno(), 70_000)
    with pytest.raises(BackupUnusable, match="decrypted"), age.decrypting(file, [pair.secret]) as stream:
        list(read_compressed(stream))


@BOTH
def test_an_error_of_the_reader_stays_the_readers(age: Age, file: IO[bytes]) -> None:
    pair = age.generate()
    _encrypt(age, file, b"no gzip at all" * 100_000, pair.public)
    with pytest.raises(BackupUnusable, match="compressed"), age.decrypting(file, [pair.secret]) as stream:
        list(read_compressed(stream))


@BOTH
def test_reading_only_the_beginning_is_allowed_and_leaves_nothing_behind(age: Age, file: IO[bytes]) -> None:
    pair = age.generate()
    _encrypt(age, file, TEXT * 10, pair.public)
    before = set(os.listdir("/proc/self/fd"))
    with age.decrypting(file, [pair.secret]) as stream:
        assert stream.read(10) == TEXT[:10]
    assert set(os.listdir("/proc/self/fd")) == before


@BOTH
def test_a_full_medium_is_said_to_be_full(age: Age) -> None:
    def fill() -> None:
        with open("/dev/full", "wb", buffering=0) as full, age.encrypting(full, [age.generate().public]) as stream:
            for _ in range(100):
                stream.write(TEXT)

    with pytest.raises(OSError, match="space") as caught:
        fill()
    assert caught.value.errno == errno.ENOSPC


@BOTH
def test_an_error_while_writing_goes_through_as_it_is(age: Age, file: IO[bytes]) -> None:
    def fail() -> None:
        with age.encrypting(file, [age.generate().public]) as stream:
            stream.write(TEXT)
            raise KeyError

    with pytest.raises(KeyError):
        fail()


@BOTH
def test_a_source_that_cannot_be_read_is_no_encrypted_file(age: Age, tmp_path: Path) -> None:
    pair = age.generate()
    descriptor = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises((OSError, BackupUnusable)), open(descriptor, "rb", buffering=0) as folder:
        _ = _decrypt(age, _Unseekable(folder), pair.secret)  # type: ignore[arg-type]


class _Unseekable:
    """A folder opened like a file: reading it fails with EISDIR."""

    def __init__(self, raw: IO[bytes]) -> None:
        self.read = raw.read
        self.fileno = raw.fileno

    def seek(self, _to: int) -> None:
        return


@BOTH
@pytest.mark.parametrize("recipients", [[], ["age1"], ["age1" + "q" * 58], ["AGE-SECRET-KEY-1"], ["ssh-ed25519 AAAA"]])
def test_without_a_right_public_key_nothing_is_encrypted(age: Age, file: IO[bytes], recipients: list[str]) -> None:
    with pytest.raises(BadRequest), age.encrypting(file, recipients) as stream:
        stream.write(b"x")
    assert os.fstat(file.fileno()).st_size == 0
    for one in recipients:
        with pytest.raises(BadRequest):
            age.check_recipient(one)
    age.check_recipient(age.generate().public)


@BOTH
def test_a_wrong_private_key_is_not_repeated(age: Age, file: IO[bytes]) -> None:
    wrong = age.generate().secret[:-1] + "b"
    for refused in (lambda: age.public_of(wrong), lambda: _decrypt(age, file, wrong)):
        with pytest.raises(AgentError) as caught:
            refused()
        assert wrong not in repr(caught.value) + repr(caught.value.__cause__)


def test_pyrage_does_it_where_it_is_installed_and_the_program_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(present(), Library)
    monkeypatch.setattr(age_module, "_library", None)
    assert isinstance(present(), Program)


def test_a_machine_without_age_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(age_module, "_library", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NeedsPerson) as told:
        present()
    assert told.value.hint == "apt install age"
