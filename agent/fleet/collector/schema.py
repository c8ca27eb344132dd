"""The collector's tables, for both databases; what differs is named in braces. One version so far.

``entries.record`` is the record's canonical JSON, the very bytes that the chain is made of; ``at`` and ``mark`` are the
terminal's own additions. Hashes are 32 bytes.
"""

from __future__ import annotations

from typing import Final

VERSION: Final = 1
TABLES: Final = (
    "CREATE TABLE IF NOT EXISTS collector (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    """CREATE TABLE IF NOT EXISTS terminals (
        id {serial}, site TEXT NOT NULL, terminal TEXT NOT NULL, first_ms {integer} NOT NULL,
        serial TEXT, bindings TEXT, born_ms {integer},
        UNIQUE (site, terminal))""",
    # began_ms stays empty until something of the journal is linked to its genesis or to a parent.
    """CREATE TABLE IF NOT EXISTS journals (
        id {serial}, terminal {integer} NOT NULL REFERENCES terminals (id), kind TEXT NOT NULL,
        journal_id TEXT NOT NULL, parent TEXT, base {integer} NOT NULL, upto {integer} NOT NULL, hash {bytes} NOT NULL,
        begun {integer} NOT NULL, forked {integer} NOT NULL, entries {integer} NOT NULL,
        unknown_form {integer} NOT NULL,
        since_ms {integer}, asks {integer} NOT NULL, asked_ms {integer},
        first_ms {integer} NOT NULL, last_ms {integer} NOT NULL,
        UNIQUE (terminal, kind, journal_id))""",
    "CREATE INDEX IF NOT EXISTS journals_waiting ON journals (since_ms) WHERE since_ms IS NOT NULL",
    """CREATE TABLE IF NOT EXISTS entries (
        journal {integer} NOT NULL, sequence {integer} NOT NULL, at TEXT NOT NULL, record TEXT NOT NULL,
        hash {bytes} NOT NULL, mark TEXT, received_ms {integer} NOT NULL,
        PRIMARY KEY (journal, sequence))""",
    """CREATE TABLE IF NOT EXISTS waiting (
        journal {integer} NOT NULL, from_seq {integer} NOT NULL, upto_seq {integer} NOT NULL,
        last_hash {bytes} NOT NULL, part {bytes} NOT NULL,
        PRIMARY KEY (journal, from_seq, upto_seq, last_hash))""",
    """CREATE TABLE IF NOT EXISTS gaps (
        id {serial}, journal {integer} NOT NULL, first_seq {integer} NOT NULL, from_seq {integer} NOT NULL,
        upto_seq {integer} NOT NULL, before_hash {bytes} NOT NULL, after_digest {bytes} NOT NULL,
        after_hash {bytes} NOT NULL, found_ms {integer} NOT NULL, filled_ms {integer})""",
    "CREATE INDEX IF NOT EXISTS gaps_of_journal ON gaps (journal)",
    """CREATE TABLE IF NOT EXISTS forks (
        journal {integer} NOT NULL, sequence {integer} NOT NULL, hash {bytes} NOT NULL, held_hash {bytes},
        at TEXT NOT NULL, record TEXT NOT NULL, mark TEXT, received_ms {integer} NOT NULL,
        PRIMARY KEY (journal, sequence, hash))""",
    """CREATE TABLE IF NOT EXISTS refusals (
        terminal {integer} NOT NULL, reason TEXT NOT NULL, detail TEXT NOT NULL, messages {integer} NOT NULL,
        first_ms {integer} NOT NULL, last_ms {integer} NOT NULL,
        PRIMARY KEY (terminal, reason))""",
    """CREATE TABLE IF NOT EXISTS origins (
        terminal {integer} NOT NULL, journal_id TEXT NOT NULL, parent TEXT NOT NULL, base {integer} NOT NULL,
        base_hash {bytes} NOT NULL,
        PRIMARY KEY (terminal, journal_id))""",
)
EXPECTED: Final = "version"
"""Name of the row in table ``collector`` that holds `VERSION`."""
