-- Schema 2: orders and their runs, one row each, from acceptance to past the order's expiry.

CREATE TABLE commands (
    number        INTEGER PRIMARY KEY AUTOINCREMENT,  -- order of acceptance; the cursor of lists
    command_id    TEXT    NOT NULL UNIQUE,
    name          TEXT    NOT NULL,
    digest        BLOB    NOT NULL,          -- SHA-256 of the order's decoded content: the same id must mean the same order
    source        TEXT    NOT NULL,          -- mqtt, site, hand (a signed order carried in), local
    uid           INTEGER,                   -- who ordered at the terminal
    signers       TEXT    NOT NULL,          -- people whose signatures counted, joined by commas
    request       BLOB    NOT NULL,          -- the order's decoded content, JSON
    phase         TEXT    NOT NULL,
    rev           INTEGER NOT NULL,
    step          INTEGER NOT NULL,          -- steps done
    steps         INTEGER,
    attempt       INTEGER NOT NULL,          -- of the present step, counted before the act
    progress      INTEGER,
    reason_code   TEXT,
    reason_text   TEXT,
    result        BLOB,                      -- JSON
    accepted_at   INTEGER NOT NULL,          -- milliseconds since 1970 UTC, as the three below
    updated_at    INTEGER NOT NULL,
    expires_at    INTEGER NOT NULL,          -- raises replay_floor when the row goes; rounded up
    keep_until    INTEGER NOT NULL,          -- past the order's expiry; then the row may go
    published_rev INTEGER NOT NULL,          -- the last state put into the outbox
    life          TEXT    NOT NULL,          -- of the process that accepted it: recovery is for those of earlier ones
    topic_cleared INTEGER NOT NULL DEFAULT 0 -- 1: its retained state message has been taken back
);
CREATE INDEX commands_open ON commands (number) WHERE phase IN ('accepted', 'waiting', 'ready', 'running');
CREATE INDEX commands_untold ON commands (number) WHERE published_rev < rev;
CREATE INDEX commands_told ON commands (updated_at) WHERE topic_cleared = 0;
CREATE INDEX commands_kept ON commands (keep_until);
