"""The journal and the money in it."""

from __future__ import annotations

from agent.contract.fault_catalogue.kind import DAY_S, S1, S2, S3, FaultKind, Lasts
from agent.contract.health import Impact

KINDS = (
    FaultKind(
        "TXN-JRN-001",
        S1,
        Impact.SETTLE,
        "The journal cannot be written: new records are refused",
        "Make room on the data volume or replace the medium; the payment application keeps its records until then.",
        Lasts.AGES_OUT,
        ages_out_s=3600.0,
    ),
    FaultKind(
        "TXN-JRN-002",
        S1,
        Impact.SETTLE,
        "The journal's database is damaged, or entries are missing",
        "Delete nothing: it is set aside and rebuilt by itself. `posctl journal verify` names what is missing,"
        " `pos-agent restore --fill` brings it back from a copy.",
        Lasts.UNTIL_CLEARED,
    ),
    FaultKind(
        "TXN-JRN-003",
        S2,
        Impact.SETTLE,
        "Entries wait too long to be copied or delivered",
        "See that the network and the place for backups can be reached; do not replace this terminal before they went.",
    ),
    FaultKind(
        "TXN-BKP-001",
        S2,
        Impact.SETTLE,
        "No backup has been verified for a week",
        "See by `posctl backup list` that a place is there and has room, then `posctl backup run --kind snapshot`.",
    ),
    FaultKind(
        "TXN-BKP-002",
        S3,
        Impact.NONE,
        "A place for backups cannot be used",
        "Put the medium back, make room on it, or see that its server can be reached; the agent goes on by itself.",
    ),
    FaultKind(
        "TXN-REV-001",
        S2,
        Impact.SETTLE,
        "A reversal has not reached the acquirer for a long time",
        "See that the network and the acquirer can be reached; only the payment application can send it.",
    ),
    FaultKind(
        "TXN-BAT-001",
        S2,
        Impact.SETTLE,
        "A batch has not been settled for over a day",
        "Settle it on the payment application; if that fails, call the acquirer before the batch is lost.",
    ),
    FaultKind(
        "TXN-BAT-002",
        S1,
        Impact.SETTLE,
        "The totals of a settlement differ between terminal and acquirer",
        "Do not settle again. Compare both entry by entry with the acquirer; it ends once journal and totals agree.",
        Lasts.UNTIL_CLEARED,
    ),
    FaultKind(
        "TXN-CON-001",
        S2,
        Impact.SETTLE,
        "Two different records claim to be the same transaction step",
        "Compare both (`posctl txn show`) with the acquirer's record before settling.",
        Lasts.AGES_OUT,
        ages_out_s=7 * DAY_S,
    ),
    FaultKind(
        "TXN-SAF-001",
        S2,
        Impact.SETTLE,
        "Offline sales have not been sent for a long time",
        "See that the network and the acquirer can be reached; the payment application sends them by itself.",
    ),
)
