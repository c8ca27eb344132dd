"""Rows out of the pages of an SQLite file and its WAL, without SQLite: for what SQLite itself refuses to read.

Only leaves are looked at, wherever they lie; which tree they hang on is not asked. Whatever is not of the right form is
passed over in silence: callers judge rows by what they say. Source: sqlite.org "Database File Format", sections 1.5
(b-tree pages), 1.6 (overflow), 2.1 (records) and 4.1 (WAL). Text is UTF-8, as the store writes it.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

TABLE_LEAF: Final = 0x0D
INDEX_LEAF: Final = 0x0A
_USUAL_PAGE_BYTES: Final = 4096
_WAL_HEADER_BYTES: Final = 32
_FRAME_HEADER_BYTES: Final = 24
_MAX_PAYLOAD_BYTES: Final = 4 * 1024 * 1024
_MAX_COLUMNS: Final = 64
_FIXED: Final = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8, 7: 8}  # serial type → bytes

Value = int | float | str | bytes | None


class Place(NamedTuple):
    """Where a page's image lies. ``frame``: its number in the WAL, 0 for the file itself."""

    frame: int
    page: int


class Row(NamedTuple):
    """``rowid``: 0 for rows of an index or of a table without one."""

    rowid: int
    values: tuple[Value, ...]
    place: Place


class PageFile:
    """A database file with its WAL, either of which may be missing, cut, or full of anything."""

    def __init__(self, database: Path, wal: Path) -> None:
        self._database = _open(database)
        self._wal = _open(wal)
        header = _pread(self._database, 100, 0)
        said = struct.unpack(">H", header[16:18])[0] if len(header) == 100 else 0  # the header's length
        wal_header = _pread(self._wal, _WAL_HEADER_BYTES, 0)
        said_by_wal = struct.unpack(">I", wal_header[8:12])[0] if len(wal_header) == _WAL_HEADER_BYTES else 0
        self.page_bytes = next((one for one in (said, said_by_wal) if _is_page_size(one)), _USUAL_PAGE_BYTES)
        self.pages = -(-_size(self._database) // self.page_bytes)
        frame_bytes = self.page_bytes + _FRAME_HEADER_BYTES
        self.frames = max(0, -(-(_size(self._wal) - _WAL_HEADER_BYTES) // frame_bytes))
        self._current = self._frames_since_restart(wal_header[16:24])
        self._newest = {self._page_of_frame(frame): frame for frame in range(1, self._current + 1)}

    def close(self) -> None:
        """Give the files back."""
        for descriptor in (self._database, self._wal):
            if descriptor >= 0:
                os.close(descriptor)
        self._database = self._wal = -1

    def places(self, *, wal_only: bool = False) -> Iterator[Place]:
        """Every image of every page, the file's first, then the WAL's in the order of writing."""
        if not wal_only:
            for page in range(1, self.pages + 1):
                yield Place(0, page)
        for frame in range(1, self.frames + 1):
            yield Place(frame, self._page_of_frame(frame))

    def newest_places(self) -> Iterator[Place]:
        """Every page once, as it was last written."""
        for page in range(1, self.pages + 1):
            yield Place(self._newest.get(page, 0), page)
        for page, frame in self._newest.items():
            if page > self.pages:
                yield Place(frame, page)

    def age(self, place: Place) -> int:
        """Greater is newer: frames before the WAL was begun anew, the file itself, the WAL's present frames."""
        return place.frame if place.frame <= self._current else place.frame - self.frames - 1

    def image(self, place: Place) -> bytes:
        """The bytes of one page, shorter where the file was cut."""
        if place.frame:
            start = _WAL_HEADER_BYTES + (place.frame - 1) * (self.page_bytes + _FRAME_HEADER_BYTES)
            return _pread(self._wal, self.page_bytes, start + _FRAME_HEADER_BYTES)
        return _pread(self._database, self.page_bytes, (place.page - 1) * self.page_bytes)

    def rows(self, place: Place, kind: int) -> Iterator[Row]:
        """Every row in one leaf of ``kind``; of rows with overflow every version that can be put together."""
        image = self.image(place)
        if _kind(image, place) != kind:
            return
        start = _header_start(place)
        count = int.from_bytes(image[start + 3 : start + 5], "big")
        for index in range(min(count, self.page_bytes // 4)):
            at = start + 8 + 2 * index
            cell = int.from_bytes(image[at : at + 2], "big")
            if not start + 8 <= cell < len(image):
                continue
            for rowid, payload in self._cells(image, cell, kind):
                values = record_values(payload)
                if values is not None:
                    yield Row(rowid, values, place)

    def rowids(self, place: Place) -> list[int]:
        """The rowids in a leaf of a table, without reading what belongs to them."""
        image = self.image(place)
        if _kind(image, place) != TABLE_LEAF:
            return []
        start = _header_start(place)
        found = []
        for index in range(min(int.from_bytes(image[start + 3 : start + 5], "big"), self.page_bytes // 4)):
            cell = int.from_bytes(image[start + 8 + 2 * index : start + 10 + 2 * index], "big")
            _bytes, used = varint(image, cell)
            rowid, more = varint(image, cell + used)
            if used and more:
                found.append(rowid)
        return found

    def _cells(self, image: bytes, cell: int, kind: int) -> Iterator[tuple[int, bytes]]:
        size, used = varint(image, cell)
        if not used or not 0 < size <= _MAX_PAYLOAD_BYTES:
            return
        cell += used
        rowid = 0
        if kind == TABLE_LEAF:
            rowid, used = varint(image, cell)
            if not used:
                return
            cell += used
        local = _local_bytes(size, self.page_bytes, kind)
        payload = image[cell : cell + local]
        if local == size:
            if len(payload) == size:
                yield rowid, payload
            return
        following = int.from_bytes(image[cell + local : cell + local + 4], "big")
        seen = None
        for with_wal in (True, False):
            whole = self._follow(payload, following, size, with_wal=with_wal)
            if whole is not None and whole != seen:
                seen = whole
                yield rowid, whole

    def _follow(self, payload: bytes, following: int, size: int, *, with_wal: bool) -> bytes | None:
        parts, have = [payload], len(payload)
        for _page in range(size // (self.page_bytes - 4) + 2):
            if have >= size or not following:
                break
            frame = self._newest.get(following, 0) if with_wal else 0
            image = self.image(Place(frame, following))
            part = image[4 : 4 + size - have]
            parts.append(part)
            have += len(part)
            following = int.from_bytes(image[:4], "big")
        return b"".join(parts) if have == size else None

    def _frames_since_restart(self, salts: bytes) -> int:
        """Frames carry the salts of the WAL's header; those of before its last restart lie behind and have others."""
        for frame in range(1, self.frames + 1):
            if self._frame_header(frame)[8:16] not in (salts, bytes(8)):  # zeros: a hole, later frames may be current
                return frame - 1 or self.frames  # when not even the first fits, the header is what is damaged
        return self.frames

    def _page_of_frame(self, frame: int) -> int:
        return int.from_bytes(self._frame_header(frame)[:4], "big")

    def _frame_header(self, frame: int) -> bytes:
        start = _WAL_HEADER_BYTES + (frame - 1) * (self.page_bytes + _FRAME_HEADER_BYTES)
        return _pread(self._wal, _FRAME_HEADER_BYTES, start)


def record_values(payload: bytes) -> tuple[Value, ...] | None:
    """A record's columns; None when it is none."""
    header_bytes, at = varint(payload, 0)
    if not at or not at <= header_bytes <= len(payload):
        return None
    types: list[int] = []
    while at < header_bytes:
        serial, used = varint(payload, at)
        if not used or len(types) >= _MAX_COLUMNS:
            return None
        types.append(serial)
        at += used
    values: list[Value] = []
    at = header_bytes
    for serial in types:
        size = _FIXED.get(serial, 0) if serial < 12 else (serial - 12) // 2  # 12 and up: blobs and text
        part = payload[at : at + size]
        if len(part) != size or serial in (10, 11) or serial < 0:
            return None
        at += size
        try:
            values.append(_value(serial, part))
        except UnicodeDecodeError:
            return None
    return tuple(values) if at == len(payload) else None


def varint(data: bytes, at: int) -> tuple[int, int]:
    """A variable-length integer, 64 bits with sign, and how many bytes it took; 0 bytes where there is none."""
    value = 0
    for used in range(1, 10):
        if at < 0 or at + used > len(data):
            return 0, 0
        byte = data[at + used - 1]
        if used == 9:  # the ninth byte counts whole
            value = value << 8 | byte
            return value - (1 << 64) if value >> 63 else value, used
        value = value << 7 | byte & 0x7F
        if byte < 0x80:  # no further byte
            return value, used
    return 0, 0


def _value(serial: int, part: bytes) -> Value:
    if serial == 0:
        return None
    if serial == 7:  # a float
        return float(struct.unpack(">d", part)[0])
    if serial in (8, 9):
        return serial - 8
    if serial < 7:  # integers
        return int.from_bytes(part, "big", signed=True)
    return part.decode() if serial % 2 else part


def _local_bytes(size: int, page_bytes: int, kind: int) -> int:
    """How much of a payload lies in the leaf itself."""
    most = page_bytes - 35 if kind == TABLE_LEAF else (page_bytes - 12) * 64 // 255 - 23
    if size <= most:
        return size
    least = (page_bytes - 12) * 32 // 255 - 23
    rest = least + (size - least) % (page_bytes - 4)
    return rest if rest <= most else least


def _kind(image: bytes, place: Place) -> int:
    start = _header_start(place)
    return image[start] if len(image) > start + 8 else 0


def _header_start(place: Place) -> int:
    return 100 if place.page == 1 else 0  # the file's own header stands before the first page's


def _is_page_size(size: int) -> bool:
    return 512 <= size <= 32768 and size & (size - 1) == 0  # as the format allows; 65536 we never make


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1


def _size(descriptor: int) -> int:
    return os.fstat(descriptor).st_size if descriptor >= 0 else 0


def _pread(descriptor: int, size: int, start: int) -> bytes:
    """Empty where the medium gives an error: an unreadable page is a lost one."""
    if descriptor < 0 or start < 0:
        return b""
    try:
        return os.pread(descriptor, size, start)
    except OSError:
        return b""
