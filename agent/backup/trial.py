"""The trial restore: the very bytes that are being encrypted are decompressed, read again and proved, beside it.

It runs in a thread behind a pipe: nothing in the clear is ever on a disk, and no backup is in memory as a whole.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from agent.backup.file_format import Header, Row, Table, Trailer, read_compressed
from agent.errors import AgentError, BackupUnusable
from agent.store.sqlite import DatabaseError, in_memory, reason

_ROWS_AT_ONCE: Final = 500


class Trial:
    """Give it the compressed bytes by `write`; `finish` says what was proved."""

    def __init__(self, table_forms: Sequence[str]) -> None:
        """``table_forms``: SQL that makes the tables whose rows a snapshot holds."""
        source, self._target = os.pipe2(os.O_CLOEXEC)
        self._source = source
        self._table_forms = table_forms
        self._proved: tuple[Header, Trailer] | None = None
        self._error: AgentError | None = None
        self._thread = threading.Thread(target=self._run, name="trial", daemon=True)
        self._thread.start()

    def write(self, compressed: bytes) -> None:
        """Take more of the file.

        Raises:
            BackupUnusable: What came so far is no backup.
        """
        view = memoryview(compressed)
        try:
            while view:
                view = view[os.write(self._target, view) :]
        except BrokenPipeError:
            self.close()
            raise self._refusal() from None

    def finish(self) -> tuple[Header, Trailer]:
        """The file is complete: its first and its last line, everything between them proved.

        Raises:
            BackupUnusable: It could not be restored.
        """
        self.close()
        if self._proved is None:
            raise self._refusal()
        return self._proved

    def close(self) -> None:
        """End the trial; whatever it found stays."""
        if self._target >= 0:
            os.close(self._target)
            self._target = -1
        self._thread.join()

    def _refusal(self) -> AgentError:
        return self._error or BackupUnusable("the trial restore ended early", hint="see the log; it is tried again")

    def _run(self) -> None:
        try:
            with open(self._source, "rb") as source, suppress(BrokenPipeError):
                self._proved = self._restore(source)
        except AgentError as err:
            self._error = err
        except DatabaseError as err:
            self._error = BackupUnusable(f"its tables cannot be filled again: {reason(err)}", hint="see the log")

    def _restore(self, source: object) -> tuple[Header, Trailer] | None:
        db = in_memory()
        try:
            for form in self._table_forms:
                db.execute(form)
            header: Header | None = None
            table: Table | None = None
            rows: list[Sequence[object]] = []
            for part in read_compressed(source):  # type: ignore[arg-type]  # a file
                if isinstance(part, Row):
                    rows.append(part.row)
                if rows and (len(rows) >= _ROWS_AT_ONCE or not isinstance(part, Row)) and table is not None:
                    places = ", ".join("?" * len(table.columns))
                    columns = ", ".join(f'"{column}"' for column in table.columns)
                    db.executemany(f'INSERT INTO "{table.table}" ({columns}) VALUES ({places})', rows)  # noqa: S608
                    rows.clear()
                if isinstance(part, Header):
                    header = part
                elif isinstance(part, Table):
                    if table is not None:
                        db.execute(f'DELETE FROM "{table.table}"')  # noqa: S608  # it went in; one table in memory is enough
                    table = part
                elif isinstance(part, Trailer) and header is not None:
                    return header, part
            return None
        finally:
            db.close()
