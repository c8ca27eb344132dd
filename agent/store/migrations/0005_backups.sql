-- Schema 5, usable from 4: which verified copies exist beside this file, what stands before the first entry, and whose
-- journal went before this one. Earlier releases leave all of it alone; their own chain check knows no removed beginning.

CREATE TABLE backups (
    backup_id   TEXT    PRIMARY KEY,         -- UUID version 7
    kind        TEXT    NOT NULL,            -- segment, snapshot
    target      TEXT    NOT NULL,            -- its name in the configuration
    file        TEXT    NOT NULL,            -- name below the target
    journal_id  TEXT    NOT NULL,
    from_seq    INTEGER NOT NULL,
    upto_seq    INTEGER NOT NULL,
    chain       BLOB    NOT NULL,            -- hash of the entry upto_seq
    size_bytes  INTEGER NOT NULL,            -- of the encrypted file
    sha256      BLOB    NOT NULL,            -- of the encrypted file
    made_at     INTEGER NOT NULL,            -- milliseconds since 1970 UTC, as the one below
    verified_at INTEGER,                     -- when its encrypted bytes were last read back and were right
    problem     TEXT                         -- what the last look found wrong with it
) STRICT, WITHOUT ROWID;
CREATE INDEX backups_by_target ON backups (target, kind, upto_seq);

-- Journals whose entries this file holds, oldest first; the last is the present one and has the id in table meta.
CREATE TABLE journals (
    journal_id    TEXT    PRIMARY KEY,
    base_sequence INTEGER NOT NULL,          -- it continues after this entry of its parent; 0 for a first journal
    base_hash     BLOB    NOT NULL,          -- the chain there
    parent        TEXT,                      -- journal_id of the parent; null for a first journal
    began_at      INTEGER NOT NULL,          -- milliseconds since 1970 UTC
    cause         TEXT    NOT NULL           -- new, restored, rebuilt
) STRICT;

-- Sequences that this file should hold and does not: found missing by a restore or a rebuild, and not filled since.
CREATE TABLE missing (
    from_seq INTEGER PRIMARY KEY,
    upto_seq INTEGER NOT NULL,
    cause    TEXT    NOT NULL                -- damage, backup
) STRICT;

-- Entries whose time is earlier than that of the entry before them, or later by more than 31 days: there the clock was
-- set, or nothing was recorded for long. Between two of them times only grow, so that a time is found by halving.
CREATE TABLE clock_steps (
    sequence INTEGER PRIMARY KEY
) STRICT;
INSERT INTO clock_steps (sequence)
SELECT sequence FROM (SELECT sequence, at, lag(at) OVER (ORDER BY sequence) AS before FROM entries)
 WHERE at < before OR at > before + 2678400000;

-- Of every batch that has a settlement: how its totals compared with the journal's. A fault stands while they differ.
CREATE TABLE batch_checks (
    binding       TEXT    NOT NULL,
    batch_no      TEXT    NOT NULL,
    settlement    INTEGER NOT NULL,          -- sequence of the settlement compared; 0: none of them is approved any more
    compared_upto INTEGER NOT NULL,          -- what was recorded of the batch up to here has been considered
    difference    TEXT,                      -- for people; null: they agree
    is_partial    INTEGER NOT NULL DEFAULT 0, -- 1: retention has taken some of it: not compared again
    PRIMARY KEY (binding, batch_no)
) STRICT, WITHOUT ROWID;
CREATE INDEX batch_differences ON batch_checks (settlement) WHERE difference IS NOT NULL;
CREATE INDEX settlement_entries ON entries (binding, batch_no) WHERE type = 'settlement';
CREATE INDEX conflicting_entries ON entries (sequence) WHERE conflict_with IS NOT NULL;
