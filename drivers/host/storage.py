"""Wear of built-in flash and the errors that ext4 has counted. Left out: SMART; SD cards, which tell nothing.

Source: ``block/mmcblk*/device/life_time`` (two bytes, for two kinds of cells: 0x01 is 0 to 10 % used, 0x0B beyond its
life, 0x00 not told) and ``pre_eol_info`` (eMMC 5.0, JEDEC); ``fs/ext4/<device>/errors_count`` and ``warning_count``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from drivers.errors import HostSourceError
from drivers.host.source_file import names_in, read_word
from drivers.host_contract import Ext4Errors, FlashWear, StorageReading

_DISK: Final = re.compile(r"mmcblk\d{1,3}")  # its boot and RPMB areas are the same chip
_LIFE: Final = re.compile(r"0x([0-9a-fA-F]{2}) 0x([0-9a-fA-F]{2})")
_RESERVE: Final = re.compile(r"0x([0-9a-fA-F]{2})")
_COUNT: Final = re.compile(r"\d{1,10}")
_LIFE_LIMIT: Final = 0x0B
_RESERVE_LIMIT: Final = 3


class StorageSource:
    """Keeps the first error count of each file system, to tell a growing one from an old one."""

    name = "storage"

    def __init__(self, sysfs: Path) -> None:
        self._block, self._ext4 = str(sysfs / "block"), str(sysfs / "fs/ext4")
        self._first: dict[str, int] = {}

    def read(self) -> StorageReading:
        disks = [name for name in names_in(self._block, self.name) if _DISK.fullmatch(name)]
        flash = [wear for name in disks if (wear := self._wear(name)) is not None]
        volumes = [name for name in names_in(self._ext4, self.name) if name != "features"]
        ext4 = [errors for name in volumes if (errors := self._errors(name)) is not None]
        return StorageReading(tuple(flash), tuple(ext4))

    def _wear(self, name: str) -> FlashWear | None:
        life_path, reserve_path = f"{self._block}/{name}/device/life_time", f"{self._block}/{name}/device/pre_eol_info"
        life, reserve = read_word(life_path, self.name), read_word(reserve_path, self.name)
        if life is None and reserve is None:
            return None  # an SD card, or an eMMC of before 5.0
        return FlashWear(
            name,
            None if life is None else parse_life_used_pct(life, life_path),
            None if reserve is None else parse_reserve(reserve, reserve_path),
        )

    def _errors(self, name: str) -> Ext4Errors | None:
        path = f"{self._ext4}/{name}/errors_count"
        word = read_word(path, self.name)
        if word is None:
            self._first.pop(name, None)
            return None
        errors = parse_count(word, path)
        warnings_path = f"{self._ext4}/{name}/warning_count"
        warnings = read_word(warnings_path, self.name)
        first = self._first[name] = min(self._first.get(name, errors), errors)  # a check sets the count back
        return Ext4Errors(name, errors, parse_count(warnings or "0", warnings_path), errors - first)


def parse_life_used_pct(text: str, path: str) -> int | None:
    """The worse of both kinds of cells, at the lower end of its range; None where the chip tells neither.

    Raises:
        HostSourceError: Not two such bytes.
    """
    found = _LIFE.fullmatch(text)
    steps = [int(step, 16) for step in found.groups()] if found else []
    if not steps or max(steps) > _LIFE_LIMIT:
        raise HostSourceError(StorageSource.name, path, "is not the life time of a flash chip")
    return (max(steps) - 1) * 10 if max(steps) else None


def parse_reserve(text: str, path: str) -> int | None:
    """``pre_eol_info``: 1 to 3; None for 0, which is "not defined".

    Raises:
        HostSourceError: Anything else.
    """
    found = _RESERVE.fullmatch(text)
    if found is None or int(found[1], 16) > _RESERVE_LIMIT:
        raise HostSourceError(StorageSource.name, path, "is not the state of a flash chip's reserve")
    return int(found[1], 16) or None


def parse_count(text: str, path: str) -> int:
    """A count of errors.

    Raises:
        HostSourceError: Not a whole number.
    """
    if _COUNT.fullmatch(text) is None:
        raise HostSourceError(StorageSource.name, path, "is not a count")
    return int(text)
