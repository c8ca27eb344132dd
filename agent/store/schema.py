"""Bringing the file's schema up to date: numbered files in ``migrations/``, forward only, one transaction each.

A newer release's file is used as it is, as long as its migrations only added things ("usable from" an older schema):
going back to the release before must work. Any other newer file is refused and left alone.
"""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from agent.errors import StoreDamaged
from agent.store import journals, meta

if TYPE_CHECKING:
    from agent.store.database import Connection

APPLICATION_ID: Final = 0x504F5341  # "POSA"
_FOLDER: Final = Path(__file__).with_name("migrations")
_NAME: Final = re.compile(r"([0-9]{4})_[a-z_]+\.sql")
_USABLE_FROM: Final = re.compile(r"-- Schema [0-9]+, usable from ([0-9]+):")
_USABLE_KEY: Final = "schema_usable_from"  # in table meta, "<schema>:<oldest schema whose releases can use it>"


class Migration(NamedTuple):
    """``version``: the schema's number after it. Scripts begin ``-- Schema N:`` or ``-- Schema N, usable from M:``."""

    version: int
    script: str

    @property
    def usable_from(self) -> int:
        """The oldest schema whose releases can still read and write the file after this step: its own by default."""
        declared = _USABLE_FROM.match(self.script)
        return self.version if declared is None else int(declared[1])


def migrations(folder: Path = _FOLDER) -> list[Migration]:
    """All migrations in order; they are numbered 1, 2, 3 without a gap.

    Raises:
        StoreDamaged: The installed release is incomplete.
    """
    found = sorted(
        Migration(int(match[1]), path.read_text()) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))
    )
    if not found or [step.version for step in found] != list(range(1, len(found) + 1)):
        raise StoreDamaged("the program's own migrations are incomplete", hint="install the release again")
    return found


def initialise(db: Connection, now: datetime, steps: list[Migration] | None = None) -> None:
    """Migrate the file to the newest schema known here; a new one also gets its ``journal_id``.

    Raises:
        StoreDamaged: The file belongs to another program, or a newer release made its schema.
        sqlite3.Error: The step under way was rolled back whole; the steps before it stand.
    """
    steps = migrations() if steps is None else steps
    version = _pragma(db, "user_version")
    owner = _pragma(db, "application_id")
    if owner not in (0, APPLICATION_ID) or (owner == 0 and _has_tables(db)):
        raise StoreDamaged("the file is another program's database", hint="move it away or correct paths.state")
    if version > len(steps):
        if _usable_from(db, version) <= len(steps):
            return  # what was added since is left alone; everything that this release knows is as it knows it
        raise StoreDamaged(
            f"the store has schema {version}, this release knows up to {len(steps)}",
            hint="start the newer release again; nothing was changed",
            schema=version,
            known=len(steps),
        )
    for step in steps[version:]:
        try:
            db.executescript(f"BEGIN IMMEDIATE;\n{step.script}\n")
            db.execute(f"PRAGMA user_version = {step.version}")
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            meta.begin_journal(db, now)
            if step.version >= journals.FIRST_SCHEMA:
                journals.note_present(db, now)
            meta.put(db, _USABLE_KEY, f"{step.version}:{_reaching(steps[: step.version])}")
            db.execute("COMMIT")
        finally:
            if db.in_transaction:
                db.execute("ROLLBACK")


def _reaching(done: list[Migration]) -> int:
    """How far back a file can be used after these steps: each step reaches no further than the ones before allow."""
    usable_from = 0
    for step in done:
        usable_from = max(usable_from, step.usable_from)
    return usable_from


def _usable_from(db: Connection, version: int) -> int:
    """As the release that made this schema wrote it down; the schema itself where it did not."""
    schema, _, usable_from = (meta.get(db, _USABLE_KEY) or "").partition(":")
    return int(usable_from) if schema == str(version) and usable_from.isdigit() else version


def _pragma(db: Connection, name: str) -> int:
    return int(db.execute(f"PRAGMA {name}").fetchone()[0])


def _has_tables(db: Connection) -> bool:
    return bool(db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0])
