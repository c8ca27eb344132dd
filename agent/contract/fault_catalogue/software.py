"""Programs: the agent itself, payment application, services, updates."""

from __future__ import annotations

from agent.contract.fault_catalogue.kind import DAY_S, S1, S2, S3, FaultKind, Lasts
from agent.contract.health import Impact

KINDS = (
    FaultKind(
        "SW-AGT-001",
        S3,
        Impact.NONE,
        "The agent was restarted unexpectedly",
        "If it comes again, collect diagnostics and send them in; nothing acknowledged is lost.",
        Lasts.AGES_OUT,
    ),
    FaultKind(
        "SW-AGT-002",
        S2,
        Impact.NONE,
        "The configuration is bad: the agent runs on the last good copy",
        "Run `pos-agent check-config`, correct every problem it lists, restart the agent.",
    ),
    FaultKind(
        "SW-APP-001",
        S2,
        Impact.SALE,
        "The payment application is silent, not ready, or not signed in",
        "Look at its screen; if it does not react, have it reset (`reset app`). Nothing recorded is lost.",
    ),
    FaultKind(
        "SW-SVC-001",
        S2,
        Impact.NONE,
        "A service that the terminal needs has failed",
        "See why (`systemctl status`), then restart it (`reset service`).",
    ),
    FaultKind(
        "SW-UPD-001",
        S3,
        Impact.NONE,
        "An update was refused before anything was changed",
        "See the reason in the state of the order: wrong target, signature, space or power. Correct it, order again.",
        Lasts.AGES_OUT,
    ),
    FaultKind(
        "SW-UPD-002",
        S2,
        Impact.NONE,
        "An update failed and was rolled back",
        "Selling goes on with the release before. Collect diagnostics; do not order the same release again.",
        Lasts.AGES_OUT,
        ages_out_s=7 * DAY_S,
    ),
    FaultKind(
        "SW-UPD-003",
        S1,
        Impact.SALE,
        "The terminal restarts again and again",
        "Leave it switched on: it goes back to its last good release by itself. If it does not, replace it.",
    ),
)
