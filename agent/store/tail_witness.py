"""Where the journal's end is, told by another file than the journal's: what damage or a lost file cannot take along.

``agent.tail`` is written after each commit and before its acknowledgements, without a flush: within one boot of the
machine it is exact. A power cut may set it back by what the kernel had not written yet, so sequences are also reserved
in blocks by a flush *before* the first of them is given out: none above ``reserved`` was ever acknowledged.
"""

from __future__ import annotations

import os
import struct
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple

import structlog

log = structlog.get_logger("store")

TAIL: Final = "journal tail"
"""In ``Connection.kept``: (sequence, hash) of the last entry, as the transaction under way leaves it."""
WITNESS_FILE: Final = "agent.tail"
BLOCK: Final = 1_000
_MAGIC: Final = b"POSATAIL"
_FORM: Final = struct.Struct(">8sQ36s36sQQ32s")  # magic, count of writes, journal, boot, sequence, reserved, hash
_SLOT_BYTES: Final = 512
_CHECK_BYTES: Final = 8


class Witness(NamedTuple):
    """``sequence`` and ``hash``: of the last entry that was committed. ``boot_id``: of the machine then."""

    journal_id: str
    boot_id: str
    sequence: int
    reserved: int
    hash: bytes


def read_witness(path: Path) -> Witness | None:
    """What the file says; None when it is not there or not whole."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    found = [_parse(content[start : start + _SLOT_BYTES]) for start in (0, _SLOT_BYTES)]
    return max((one for one in found if one is not None), default=(0, None))[1]


class TailWitness:
    """The writing side; used by the writer's thread. What it cannot write it says once: recording goes on without."""

    def __init__(self, path: Path, boot_id: str) -> None:
        self._path = path
        self._boot_id = boot_id
        self._descriptor = -1
        self._writes = 0
        self._silent = False
        self._last = Witness("", boot_id, 0, 0, bytes(32))

    def begin(self, journal_id: str, sequence: int, hash_: bytes) -> None:
        """From now on speak of this journal, whose last entry is this one."""
        known = read_witness(self._path)
        reserved = sequence
        if known is not None and known.journal_id == journal_id:
            reserved = max(reserved, known.reserved)
        self._last = Witness(journal_id, self._boot_id, sequence, reserved, hash_)
        self._write(flush=known is None or known.journal_id != journal_id)

    def reserve(self, sequence: int) -> None:
        """Before the commit that gives out ``sequence``."""
        if sequence > self._last.reserved:
            self._last = self._last._replace(reserved=sequence + BLOCK)
            self._write(flush=True)

    def note(self, sequence: int, hash_: bytes) -> None:
        """After the commit, before anyone is told of it."""
        if sequence != self._last.sequence:
            self._last = self._last._replace(sequence=sequence, hash=hash_)
            self._write(flush=False)

    def close(self) -> None:
        """Give the file back; `begin` opens it again."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _write(self, *, flush: bool) -> None:
        self._writes += 1
        last = self._last
        text = (last.journal_id.encode(), last.boot_id.encode())
        body = _FORM.pack(_MAGIC, self._writes, *text, last.sequence, last.reserved, last.hash)
        try:
            if self._descriptor < 0:
                self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                self._writes += _writes_in(self._path)
                body = _FORM.pack(_MAGIC, self._writes, *text, last.sequence, last.reserved, last.hash)
            os.pwrite(self._descriptor, body + sha256(body).digest()[:_CHECK_BYTES], self._writes % 2 * _SLOT_BYTES)
            if flush:
                os.fdatasync(self._descriptor)
        except OSError as err:
            if not self._silent:
                log.error("store.witness_not_written", reason=err.strerror, file=self._path.name)
            self._silent = True
            self.close()
        else:
            self._silent = False


def _writes_in(path: Path) -> int:
    content = path.read_bytes()
    found = [_parse(content[start : start + _SLOT_BYTES]) for start in (0, _SLOT_BYTES)]
    return max((one[0] for one in found if one is not None), default=0)


def _parse(slot: bytes) -> tuple[int, Witness] | None:
    body, check = slot[: _FORM.size], slot[_FORM.size : _FORM.size + _CHECK_BYTES]
    if len(body) != _FORM.size or sha256(body).digest()[:_CHECK_BYTES] != check:
        return None
    magic, writes, journal, boot, sequence, reserved, hash_ = _FORM.unpack(body)
    if magic != _MAGIC:
        return None
    return writes, Witness(
        journal.decode("ascii", "replace"), boot.decode("ascii", "replace"), sequence, reserved, hash_
    )
