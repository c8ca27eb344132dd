-- Schema 3: health as last concluded, so that a restart keeps `since` and publishes the truth, never a default.

CREATE TABLE health_state (
    device      TEXT PRIMARY KEY,
    category    TEXT    NOT NULL,
    state       TEXT    NOT NULL,
    power_state TEXT    NOT NULL,
    detail      TEXT    NOT NULL,
    active      TEXT    NOT NULL,         -- names of the rules that are active, with a blank between
    since       INTEGER NOT NULL,         -- in this state, milliseconds since 1970 UTC
    at          INTEGER NOT NULL          -- looked at when this row was written
) WITHOUT ROWID;

CREATE TABLE health_faults (
    code     TEXT    NOT NULL,
    device   TEXT    NOT NULL,
    impact   TEXT    NOT NULL,
    detail   TEXT    NOT NULL,
    since    INTEGER NOT NULL,            -- milliseconds since 1970 UTC
    reported INTEGER NOT NULL,            -- 1: another room found it; 0: it follows from health_state
    until    INTEGER,                     -- when it ages out, where it does
    PRIMARY KEY (code, device)
) WITHOUT ROWID;
