"""Security. The impact is always ``security``: what it stops is decided by people."""

from __future__ import annotations

from agent.contract.fault_catalogue.kind import DAY_S, S1, S2, S3, FaultKind, Lasts
from agent.contract.health import Impact

KINDS = (
    FaultKind(
        "SEC-TMP-001",
        S1,
        Impact.SECURITY,
        "Somebody tampered with the terminal",
        "Take it out of service at once, leave it as it is, and call the security officer.",
        Lasts.UNTIL_CLEARED,
    ),
    FaultKind(
        "SEC-PED-001",
        S1,
        Impact.SECURITY,
        "The PIN module holds no keys",
        "It cannot take cards. Call the acquirer: keys are loaded by two people in a safe place, never here.",
    ),
    FaultKind(
        "SEC-PED-002",
        S1,
        Impact.SECURITY,
        "Digits were seen outside the PIN module during PIN entry",
        "Take the terminal out of service at once and call the security officer.",
        Lasts.UNTIL_CLEARED,
    ),
    FaultKind(
        "SEC-PAN-001",
        S1,
        Impact.SECURITY,
        "Card data was offered to the agent and refused",
        "The payment application sends what it must not: report it to its maker; nothing was stored here.",
        Lasts.AGES_OUT,
    ),
    FaultKind(
        "SEC-BND-001",
        S1,
        Impact.SECURITY,
        "A record names a merchant or terminal number that this terminal does not have",
        "Compare the payment application's numbers with [[binding]] in the configuration; do not settle before.",
        Lasts.AGES_OUT,
        ages_out_s=7 * DAY_S,
    ),
    FaultKind(
        "SEC-SIG-001",
        S1,
        Impact.SECURITY,
        "Orders or acknowledgements came that nobody entitled has signed",
        "They were refused. Find out who publishes to this terminal's topics and check the broker's access list.",
        Lasts.AGES_OUT,
    ),
    FaultKind(
        "SEC-RPL-001",
        S2,
        Impact.SECURITY,
        "A known order came again with other content",
        "It was refused. Find its sender; the identifier of an order must never be used twice.",
        Lasts.AGES_OUT,
    ),
    FaultKind(
        "SEC-AUT-001",
        S3,
        Impact.SECURITY,
        "A caller asked for what it may not",
        "It was refused. See who it was in the audit trail and whether a group membership is missing.",
        Lasts.AGES_OUT,
        ages_out_s=3600.0,
    ),
    FaultKind(
        "SEC-FIM-001",
        S1,
        Impact.SECURITY,
        "A program or a protected file was changed outside an update",
        "Leave it switched on, take it off the network, and call the security officer.",
        Lasts.UNTIL_CLEARED,
    ),
    FaultKind(
        "SEC-AUD-001",
        S1,
        Impact.SECURITY,
        "The collector's chain does not agree with ours, or the audit trail has a gap",
        "Do not delete anything; have both sides verified (`posctl journal verify`) before going on.",
        Lasts.UNTIL_CLEARED,
    ),
    FaultKind(
        "SEC-SWI-001",
        S1,
        Impact.SECURITY,
        "A change of provider was asked for without its evidence",
        "It was refused. Call back the number on file, never one that came with the request.",
        Lasts.AGES_OUT,
        ages_out_s=7 * DAY_S,
    ),
    FaultKind(
        "SEC-RBK-001",
        S1,
        Impact.SECURITY,
        "Somebody tried to install an older, vulnerable release",
        "It was refused. Find out who ordered it and how the order was signed.",
        Lasts.AGES_OUT,
        ages_out_s=7 * DAY_S,
    ),
)
