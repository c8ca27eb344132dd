"""One backup from the store to a stream: lines, compressed, tried, encrypted; what goes out is counted and hashed."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import IO, Any, Final, NamedTuple

from agent.backup import age
from agent.backup.contents import Pace, Wanted, read_header, table_forms, write_contents
from agent.backup.file_format import Header, Trailer, Writer, compressing
from agent.backup.trial import Trial
from agent.errors import BackupUnusable, NothingNew
from agent.store.sqlite import Connection

_SYNC_EVERY_BYTES: Final = 512 * 1024


class Made(NamedTuple):
    """What was sealed. ``sha256``: of the encrypted bytes."""

    header: Header
    trailer: Trailer
    size_bytes: int
    sha256: str


class Measured:
    """A file that is written once from its beginning: counts and hashes, and flushes in small portions.

    A large file that is flushed only at its end would hold up every commit of the store on the same disk.
    """

    def __init__(self, file: IO[bytes], watch: Callable[[], None] = lambda: None) -> None:
        """``watch`` is called after each portion, and may raise OSError to end it."""
        self._file = file
        self._watch = watch
        self._digest = sha256()
        self._unsynced = 0
        self.size_bytes = 0

    def write(self, content: bytes) -> int:
        self._file.write(content)
        self._digest.update(content)
        self.size_bytes += len(content)
        self._unsynced += len(content)
        if self._unsynced >= _SYNC_EVERY_BYTES:
            self.sync()
            self._watch()
        return len(content)

    def flush(self) -> None:
        self._file.flush()

    def sync(self) -> None:
        """Make everything so far durable."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._unsynced = 0

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


def seal(
    db: Connection,
    wanted: Wanted,
    recipients: Sequence[str],
    out: Measured,
    *,
    pace: Pace,
    tell: Callable[[int, int], None] = lambda _done, _all: None,
) -> Made:
    """Write one encrypted backup to ``out``, durable when this returns.

    Args:
        tell: Told entries written, and how many there will be.

    Raises:
        NothingNew: No entry follows; nothing was written.
        BackupUnusable: The trial restore failed: what the store holds is not what it should be.
        BadRequest: A recipient.
        OSError: ``out`` cannot be written.
    """
    header = read_header(db, wanted)
    count = header.upto_seq - header.anchor.sequence
    if wanted.kind == "segment" and count == 0:
        raise NothingNew("there is no new entry", hint="nothing needs to be done")
    trial = Trial(table_forms(db))
    try:
        target: Any = out
        with age.present().encrypting(target, recipients) as encrypted:
            with compressing(_Both(trial, encrypted)) as lines:  # type: ignore[arg-type]  # a stream that is only written
                writer = Writer(lines, header)  # type: ignore[arg-type]  # a GzipFile is such a stream
                write_contents(db, header, writer, pace, lambda done: tell(done, count))
                trailer = writer.end()
            if trial.finish() != (header, trailer):
                raise BackupUnusable("the trial restore proved something else", hint="see the log; it is tried again")
    finally:
        trial.close()
    out.sync()
    return Made(header, trailer, out.size_bytes, out.sha256)


class _Both:
    """Compressed bytes on their two ways."""

    def __init__(self, trial: Trial, encrypted: IO[bytes]) -> None:
        self._trial = trial
        self._encrypted = encrypted

    def write(self, compressed: bytes) -> int:
        self._trial.write(compressed)
        self._encrypted.write(compressed)
        return len(compressed)

    def flush(self) -> None:
        self._encrypted.flush()
