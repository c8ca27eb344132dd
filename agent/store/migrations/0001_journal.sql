-- Schema 1: the transaction journal, the outbox, and small facts about the store itself.
-- Entries are only ever added. Text stays readable for inspection tools; the record is exactly the hashed bytes.

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE entries (
    sequence       INTEGER PRIMARY KEY,      -- 1, 2, 3 … without holes
    at             INTEGER NOT NULL,         -- when the agent stored it, milliseconds since 1970 UTC
    transaction_id TEXT    NOT NULL,
    state          TEXT    NOT NULL,
    attempt        INTEGER NOT NULL,
    type           TEXT    NOT NULL,
    binding        TEXT    NOT NULL,         -- provider/mid/tid
    batch_no       TEXT,
    stan           TEXT,
    natural_rest   TEXT,                     -- mti class/local date: with stan, batch and binding the natural key
    currency       TEXT,
    amount_minor   INTEGER,
    original       TEXT,                     -- what a refund refers to
    settles        INTEGER,                  -- 1: an approved, balanced settlement of its batch
    conflict_with  INTEGER,                  -- the disputed entry, where this one contradicts it
    duplicate_of   TEXT,                     -- the first transaction_id under the same natural key
    record         TEXT    NOT NULL,         -- RFC 8785 JSON
    hash           BLOB    NOT NULL
);
CREATE INDEX entries_by_transaction ON entries (transaction_id);
CREATE INDEX entries_by_natural_key ON entries (stan, batch_no, binding, natural_rest) WHERE stan IS NOT NULL;
CREATE INDEX entries_by_batch ON entries (batch_no);
CREATE INDEX entries_by_original ON entries (original) WHERE original IS NOT NULL;
CREATE INDEX settlements ON entries (batch_no, binding) WHERE settles IS NOT NULL;

CREATE TABLE outbox (
    id               INTEGER PRIMARY KEY AUTOINCREMENT,
    below            TEXT    NOT NULL,       -- Topic Name below the terminal's own level
    payload          BLOB    NOT NULL,
    qos              INTEGER NOT NULL,
    retain           INTEGER NOT NULL,
    message_expiry_s INTEGER,
    queued_at        INTEGER NOT NULL        -- milliseconds since 1970 UTC
);
CREATE UNIQUE INDEX outbox_retained ON outbox (below) WHERE retain = 1;
