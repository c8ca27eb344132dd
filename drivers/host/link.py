"""Network interfaces: is there a link, and does it come and go? Left out: addresses, traffic, signal strength.

Source: ``class/net/<interface>`` of sysfs. ``carrier`` of an interface that is switched off cannot be read (EINVAL):
then nobody knows. ``carrier_changes`` counts both ways since the interface was made. An interface is physical when it
has a ``device``.
"""

from __future__ import annotations

import errno
import os
import re
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from drivers.errors import HostSourceError
from drivers.host.source_file import SourceFile, is_absent, names_in
from drivers.host_contract import Link, LinkReading

WINDOW_S: Final = 300.0

_LOOK_ROUND_AGAIN: Final = 12  # readings
_INTERFACES_LIMIT: Final = 16
_COUNTER: Final = re.compile(rb"\d{1,18}\n?")
_OPERSTATE: Final = re.compile(rb"[a-z]{1,20}\n?")


class LinkSource:
    """``interfaces``: those of the configuration; empty for all physical ones that there are."""

    name = "link"

    def __init__(
        self, sysfs: Path, interfaces: Sequence[str] = (), *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._folder = str(sysfs / "class/net")
        self._named = tuple(interfaces)
        self._monotonic = monotonic
        self._watched: dict[str, _Interface] = {}
        self._left = 0

    def read(self) -> LinkReading:
        if self._left <= 0 or not self._watched:
            self._look_round()
        self._left -= 1
        now_s = self._monotonic()
        links = [one.read(now_s) for one in self._watched.values()]
        if not self._named:
            if any(not link.present for link in links):
                self._left = 0
            links = [link for link in links if link.present]
        return LinkReading(tuple(links), named=bool(self._named))

    def _look_round(self) -> None:
        names = self._named or self._physical()
        known = self._watched
        self._watched = {name: known.get(name) or _Interface(f"{self._folder}/{name}", name) for name in names}
        self._left = _LOOK_ROUND_AGAIN

    def _physical(self) -> list[str]:
        names = names_in(self._folder, self.name)
        return [name for name in names if os.path.lexists(f"{self._folder}/{name}/device")][:_INTERFACES_LIMIT]


class _Interface:
    """Its three files, and what its counter was in the last five minutes."""

    def __init__(self, folder: str, name: str) -> None:
        self._name = name
        self._carrier, self._operstate, self._changes = (
            SourceFile(f"{folder}/{file}", LinkSource.name, limit_bytes=64)
            for file in ("carrier", "operstate", "carrier_changes")
        )
        self._seen: deque[tuple[float, int]] = deque(maxlen=600)
        self._contents: tuple[bytes, bytes | None, bytes | None] | None = None
        self._link = Link(name, False, None, "", None)

    def read(self, now_s: float) -> Link:
        try:
            operstate, carrier, changes = self._operstate.read(), self._carrier_or_none(), self._changes_or_none()
        except HostSourceError as err:
            if not is_absent(err):
                raise
            self._seen.clear()  # the counter of one that comes back begins anew
            self._contents = None
            return Link(self._name, False, None, "", None)
        contents = (operstate, carrier, changes)
        if contents == self._contents and not self._link.recent_changes:
            return self._link  # as before, and nothing to be forgotten
        self._contents = None
        self._link = Link(
            self._name,
            True,
            None if carrier is None else parse_carrier(carrier, self._carrier.path),
            parse_operstate(operstate, self._operstate.path),
            None if changes is None else self._recent_changes(parse_counter(changes, self._changes.path), now_s),
        )
        self._contents = contents
        return self._link

    def _carrier_or_none(self) -> bytes | None:
        try:
            return self._carrier.read()
        except HostSourceError as err:
            if isinstance(err.__cause__, OSError) and err.__cause__.errno == errno.EINVAL:
                return None
            raise

    def _changes_or_none(self) -> bytes | None:
        try:
            return self._changes.read()
        except HostSourceError as err:
            if is_absent(err):
                return None  # kernels before 3.15
            raise

    def _recent_changes(self, count: int, now_s: float) -> int:
        seen = self._seen
        if seen and count < seen[-1][1]:
            seen.clear()
        while len(seen) > 1 and seen[1][0] <= now_s - WINDOW_S:
            seen.popleft()
        if not seen or count != seen[-1][1] or now_s - seen[-1][0] >= WINDOW_S / 10:
            seen.append((now_s, count))
        return count - seen[0][1]


def parse_carrier(content: bytes, path: str) -> bool:
    """Read ``carrier``: 1 with a link, 0 without.

    Raises:
        HostSourceError: Anything else.
    """
    word = content.strip()
    if word not in (b"0", b"1"):
        raise HostSourceError(LinkSource.name, path, "is neither 0 nor 1")
    return word == b"1"


def parse_operstate(content: bytes, path: str) -> str:
    """Read ``operstate``: one word of RFC 2863 in lower case, such as ``up``, ``dormant`` or ``lowerlayerdown``.

    Raises:
        HostSourceError: No such word.
    """
    if _OPERSTATE.fullmatch(content) is None:
        raise HostSourceError(LinkSource.name, path, "is not the state of an interface")
    return content.decode().strip()


def parse_counter(content: bytes, path: str) -> int:
    """Read a counter.

    Raises:
        HostSourceError: Not a whole number.
    """
    if _COUNTER.fullmatch(content) is None:
        raise HostSourceError(LinkSource.name, path, "is not a counter")
    return int(content)
