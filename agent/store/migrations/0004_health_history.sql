-- Schema 4, usable from 3: what health went through, for people who look back. Added to, and trimmed at its old end.

CREATE TABLE health_history (
    number      INTEGER PRIMARY KEY AUTOINCREMENT,  -- order of writing; the cursor of pages
    at          INTEGER NOT NULL,          -- milliseconds since 1970 UTC, by the clock of that moment
    kind        TEXT    NOT NULL,          -- state, fault_raised, fault_cleared
    device      TEXT    NOT NULL,
    state       TEXT,                      -- of the device, where kind is state; else null, as power_state
    power_state TEXT,
    code        TEXT,                      -- of the fault, where kind is one of a fault; else null, as the two below
    severity    TEXT,
    impact      TEXT,
    detail      TEXT    NOT NULL
);
CREATE INDEX health_history_by_device ON health_history (device, number);
