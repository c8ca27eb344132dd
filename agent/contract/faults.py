"""The fault catalogue: code → how bad, what it stops, what it means, what to do. Codes are stable and never reused.

Severities and impacts of one kind of fault are the same on every terminal, with one exception: a model file may say
that a device is ``required``; what puts such a device out of work then counts with impact ``sale`` (see `impact_on`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

from agent.contract.health import Impact, Severity, State

DAY_S = 86_400.0


class Lasts(Enum):
    """How a fault ends."""

    WHILE_TRUE = "while_true"  # whoever found it says when it is over; after a restart it must be found again
    AGES_OUT = "ages_out"  # something that happened: it goes by itself when it has not happened again for a while
    UNTIL_CLEARED = "until_cleared"  # stays over restarts until it is expressly reported as over


@dataclass(frozen=True, slots=True)
class FaultKind:
    """One entry. ``text`` says what is so, ``what_to_do`` tells a person; ``ages_out_s`` goes with AGES_OUT."""

    code: str
    severity: Severity
    impact: Impact
    text: str
    what_to_do: str
    lasts: Lasts = Lasts.WHILE_TRUE
    ages_out_s: float = DAY_S


def _catalogue(*kinds: FaultKind) -> Mapping[str, FaultKind]:
    return MappingProxyType({kind.code: kind for kind in kinds})


_S1, _S2, _S3, _S4 = Severity.S1, Severity.S2, Severity.S3, Severity.S4

CATALOGUE: Mapping[str, FaultKind] = _catalogue(
    # ── receipt printer ────────────────────────────────────────────────────────────────────────────────────────
    FaultKind(
        "HW-PRN-001",
        _S2,
        Impact.PRINT,
        "The printer is gone, does not answer, or is not ready",
        "Check its power switch, then the cable at both ends; if it stays, reset the device, then replace it.",
    ),
    FaultKind(
        "HW-PRN-002",
        _S2,
        Impact.PRINT,
        "The paper is at its end",
        "Put in a new roll, the printed side as the label in the cover shows, and close the cover.",
    ),
    FaultKind(
        "HW-PRN-003",
        _S3,
        Impact.NONE,
        "The paper is nearly at its end",
        "Have a new roll ready; the present one lasts for a few more receipts.",
    ),
    FaultKind(
        "HW-PRN-004",
        _S2,
        Impact.PRINT,
        "The printer's cover is open",
        "Close the cover until it clicks; if it is closed, the cover switch is worn: call service.",
    ),
    FaultKind(
        "HW-PRN-005",
        _S2,
        Impact.PRINT,
        "The cutter or the mechanism of the printer has stopped",
        "Open the cover, take out jammed paper, close it, then reset the device.",
    ),
    FaultKind(
        "HW-PRN-006",
        _S1,
        Impact.PRINT,
        "The printer reports an error that it cannot recover from",
        "Switch the printer off at once and call service; do not try again.",
    ),
    FaultKind(
        "HW-PRN-007",
        _S3,
        Impact.PRINT,
        "The print head is too hot",
        "Wait: it goes on by itself. If it comes often, see that air reaches the printer.",
    ),
    FaultKind(
        "HW-PRN-008",
        _S2,
        Impact.PRINT,
        "The printer answers with something that is no answer",
        "Check speed and model in the model file, that no other program uses the port, and the cable.",
    ),
    # ── keypad ─────────────────────────────────────────────────────────────────────────────────────────────────
    FaultKind(
        "HW-KPD-001",
        _S2,
        Impact.NONE,
        "The keypad is missing",
        "Check its plug at both ends; if it stays missing, restart the terminal, then replace the keypad.",
    ),
    FaultKind(
        "HW-KPD-002",
        _S2,
        Impact.NONE,
        "A key of the keypad is stuck",
        "Free the key and clean the keypad; if it comes again, replace the keypad.",
    ),
    FaultKind(
        "HW-KPD-003",
        _S3,
        Impact.NONE,
        "A key of the keypad chatters: one press counts as several",
        "Clean the keypad; have a new one ready, because it will get worse.",
    ),
    # ── screen ─────────────────────────────────────────────────────────────────────────────────────────────────
    FaultKind(
        "HW-SCR-001",
        _S2,
        Impact.NONE,
        "The screen is disconnected, or its connection is bad",
        "Check the screen's power and its cable at both ends; then try another cable, then another screen.",
    ),
    FaultKind(
        "HW-SCR-002",
        _S2,
        Impact.NONE,
        "The screen is dark",
        "Touch it or press a key; then set its brightness; if it stays dark, restart the terminal, then call service.",
    ),
    FaultKind(
        "HW-SCR-003",
        _S2,
        Impact.NONE,
        "The touch panel is missing",
        "Restart the terminal; if it stays missing, its cable or controller is bad: call service.",
    ),
    # ── host ───────────────────────────────────────────────────────────────────────────────────────────────────
    FaultKind(
        "HST-MEM-001",
        _S3,
        Impact.NONE,
        "Little memory is left",
        "Find what grows (`posctl diag`); restart that service, or the terminal out of business hours.",
    ),
    FaultKind(
        "HST-CPU-001",
        _S3,
        Impact.NONE,
        "Programs wait for processor, memory or disk",
        "Find what is busy (`posctl diag`); an update or a backup ends by itself.",
    ),
    FaultKind(
        "HST-STO-001",
        _S3,
        Impact.NONE,
        "The data volume is filling up",
        "See that backups and uploads work, so that old entries can go; remove what is not the agent's.",
    ),
    FaultKind(
        "HST-STO-002",
        _S3,
        Impact.NONE,
        "The data volume runs out of inodes",
        "Find the folder with very many small files and remove what is not the agent's.",
    ),
    FaultKind(
        "HST-STO-005",
        _S1,
        Impact.SETTLE,
        "The data volume is read-only: nothing can be recorded",
        "Look for disk errors in the kernel's log, then restart the terminal; if it returns, replace the medium.",
    ),
    # ── network ────────────────────────────────────────────────────────────────────────────────────────────────
    FaultKind(
        "NET-MQT-001",
        _S3,
        Impact.NONE,
        "The broker cannot be reached",
        "Selling goes on. Check network and firewall; the agent connects again by itself.",
    ),
    # ── the agent itself ───────────────────────────────────────────────────────────────────────────────────────
    FaultKind(
        "SW-AGT-001",
        _S3,
        Impact.NONE,
        "The agent was restarted unexpectedly",
        "If it comes again, collect diagnostics and send them in; nothing acknowledged is lost.",
        Lasts.AGES_OUT,
    ),
    FaultKind(
        "SW-AGT-002",
        _S2,
        Impact.NONE,
        "The configuration is bad: the agent runs on the last good copy",
        "Run `pos-agent check-config`, correct every problem it lists, restart the agent.",
    ),
    # ── transactions ───────────────────────────────────────────────────────────────────────────────────────────
    FaultKind(
        "TXN-JRN-001",
        _S1,
        Impact.SETTLE,
        "The journal cannot be written: new records are refused",
        "Make room on the data volume or replace the medium; the payment application keeps its records until then.",
        Lasts.AGES_OUT,
        ages_out_s=3600.0,
    ),
    FaultKind(
        "TXN-JRN-002",
        _S1,
        Impact.SETTLE,
        "The journal's database is damaged",
        "Do not delete anything. Verify the last backup, then restore by the maintenance guide.",
        Lasts.UNTIL_CLEARED,
    ),
    FaultKind(
        "TXN-CON-001",
        _S2,
        Impact.SETTLE,
        "Two different records claim to be the same transaction step",
        "Compare both (`posctl txn show`) with the acquirer's record before settling.",
        Lasts.AGES_OUT,
        ages_out_s=7 * DAY_S,
    ),
    # ── security ───────────────────────────────────────────────────────────────────────────────────────────────
    FaultKind(
        "SEC-PAN-001",
        _S1,
        Impact.SECURITY,
        "Card data was offered to the agent and refused",
        "The payment application sends what it must not: report it to its maker; nothing was stored here.",
        Lasts.AGES_OUT,
    ),
    FaultKind(
        "SEC-BND-001",
        _S1,
        Impact.SECURITY,
        "A record names a merchant or terminal number that this terminal does not have",
        "Compare the payment application's numbers with [[binding]] in the configuration; do not settle before.",
        Lasts.AGES_OUT,
        ages_out_s=7 * DAY_S,
    ),
    FaultKind(
        "SEC-SIG-001",
        _S1,
        Impact.SECURITY,
        "Orders came that nobody entitled has signed",
        "They were refused. Find out who publishes to this terminal's topics and check the broker's access list.",
        Lasts.AGES_OUT,
    ),
    FaultKind(
        "SEC-RPL-001",
        _S2,
        Impact.SECURITY,
        "A known order came again with other content",
        "It was refused. Find its sender; the identifier of an order must never be used twice.",
        Lasts.AGES_OUT,
    ),
    FaultKind(
        "SEC-AUT-001",
        _S3,
        Impact.SECURITY,
        "A caller asked for what it may not",
        "It was refused. See who it was in the audit trail and whether a group membership is missing.",
        Lasts.AGES_OUT,
        ages_out_s=3600.0,
    ),
    FaultKind(
        "SEC-AUD-001",
        _S1,
        Impact.SECURITY,
        "The collector's chain does not agree with ours, or the audit trail has a gap",
        "Do not delete anything; have both sides verified (`posctl journal verify`) before going on.",
        Lasts.UNTIL_CLEARED,
    ),
)


def impact_on(kind: FaultKind, state: State, *, required: bool) -> Impact:
    """What a fault stops on this terminal.

    Args:
        state: What the fault alone makes of its device.
        required: The model file says that the terminal does not sell without this device.
    """
    if required and kind.impact in {Impact.PRINT, Impact.NONE} and state is not State.DEGRADED:
        return Impact.SALE
    return kind.impact
