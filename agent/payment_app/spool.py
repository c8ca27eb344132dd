"""A file that keeps records until the agent has them, over a crash of the application and a power cut.

One JSON object a line, only ever added to: a record under a number of its own, or the number of one that is settled. It
is emptied whenever nothing waits. A last line that was cut short by a power cut is passed over: its record was never
said to be kept.
"""

from __future__ import annotations

import json
import os
import threading
from typing import Any, Dict, Iterable, List, Mapping, Protocol, Union

Record = Mapping[str, Any]


class Spool(Protocol):
    """What `PaymentClient` needs of a place that outlives the application. Write your own over your own database."""

    def load(self) -> Dict[int, Dict[str, Any]]:
        """Records that wait, oldest first, under their numbers."""
        ...

    def keep(self, number: int, record: Record) -> None:
        """Have the record durable when this returns. Whatever it raises goes to whoever recorded."""
        ...

    def settle(self, numbers: Iterable[int]) -> None:
        """These have their final answer; forgetting that only means that they are sent once more."""
        ...


class FileSpool:
    """See the module. One process at a time; several threads may use it."""

    def __init__(self, path: Union[str, "os.PathLike[str]"]) -> None:
        """Make or open the file; only this user may read it.

        Raises:
            OSError: It cannot be opened for writing.
        """
        self._path = os.fspath(path)
        self._lock = threading.Lock()
        self._waiting: Dict[int, Dict[str, Any]] = {}
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        with open(self._file, "rb", closefd=False) as stream:
            self._read(stream.read().split(b"\n"))
        self._rewrite()

    def load(self) -> Dict[int, Dict[str, Any]]:
        with self._lock:
            return dict(self._waiting)

    def keep(self, number: int, record: Record) -> None:
        with self._lock:
            self._append({"n": number, "record": dict(record)}, flush=True)
            self._waiting[number] = dict(record)

    def settle(self, numbers: Iterable[int]) -> None:
        with self._lock:
            settled = [number for number in numbers if self._waiting.pop(number, None) is not None]
            if settled and not self._waiting:
                os.ftruncate(self._file, 0)
            elif settled:
                self._append({"settled": settled}, flush=False)

    def close(self) -> None:
        os.close(self._file)

    def _read(self, lines: List[bytes]) -> None:
        for line in lines[:-1]:  # the last has no newline: empty, or cut short
            try:
                entry = json.loads(line)
                if "settled" in entry:
                    for number in entry["settled"]:
                        self._waiting.pop(number, None)
                else:
                    self._waiting[int(entry["n"])] = dict(entry["record"])
            except (ValueError, KeyError, TypeError):
                continue

    def _rewrite(self) -> None:
        """Begin with what waits alone, so that the file does not grow from start to start."""
        waiting, beside = self._waiting, f"{self._path}.new"
        file = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        os.close(self._file)
        self._file = file
        for number, record in waiting.items():
            self._append({"n": number, "record": record}, flush=False)
        os.fsync(self._file)
        os.replace(beside, self._path)
        folder = os.open(os.path.dirname(self._path) or ".", os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _append(self, entry: Dict[str, Any], *, flush: bool) -> None:
        line = json.dumps(entry, separators=(",", ":")).encode() + b"\n"
        size = os.fstat(self._file).st_size
        try:
            while line:
                line = line[os.write(self._file, line) :]
            if flush:
                os.fdatasync(self._file)
        except OSError:
            os.ftruncate(self._file, size)  # half a line would swallow the next one
            raise
