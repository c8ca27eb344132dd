"""The board below the programs: memory, processor, heat, storage, clock."""

from __future__ import annotations

from agent.contract.fault_catalogue.kind import S1, S2, S3, FaultKind, Lasts
from agent.contract.health import Impact

KINDS = (
    FaultKind(
        "HST-MEM-001",
        S3,
        Impact.NONE,
        "Little memory is left",
        "Find what grows (`posctl diag`); restart that service, or the terminal out of business hours.",
    ),
    FaultKind(
        "HST-CPU-001",
        S3,
        Impact.NONE,
        "Programs wait for processor, memory or disk",
        "Find what is busy (`posctl diag`); an update or a backup ends by itself.",
    ),
    FaultKind(
        "HST-THM-001",
        S3,
        Impact.NONE,
        "The terminal is too hot, or slows itself down because of heat",
        "Let air reach it, take it out of the sun; if it stays, look for a fan that stands still or a busy program.",
    ),
    FaultKind(
        "HST-STO-001",
        S3,
        Impact.NONE,
        "The data volume is filling up",
        "See that backups and uploads work, so that old entries can go; remove what is not the agent's.",
    ),
    FaultKind(
        "HST-STO-002",
        S3,
        Impact.NONE,
        "The data volume runs out of inodes",
        "Find the folder with very many small files and remove what is not the agent's.",
    ),
    FaultKind(
        "HST-STO-003",
        S2,
        Impact.NONE,
        "The flash memory is nearly worn out",
        "Plan to replace the terminal or its memory; see that backups arrive until then.",
    ),
    FaultKind(
        "HST-STO-004",
        S2,
        Impact.NONE,
        "The file system has found errors on the medium",
        "Have a backup verified, then restart the terminal for a check; if the count grows, replace the medium.",
    ),
    FaultKind(
        "HST-STO-005",
        S1,
        Impact.SETTLE,
        "The data volume is read-only: nothing can be recorded",
        "Look for disk errors in the kernel's log, then restart the terminal; if it returns, replace the medium.",
    ),
    FaultKind(
        "HST-CLK-001",
        S3,
        Impact.NONE,
        "The clock is not synchronised",
        "See that the time server can be reached; orders that need a sure time wait until then.",
    ),
    FaultKind(
        "HST-CLK-002",
        S3,
        Impact.NONE,
        "The clock has jumped",
        "Compare it with a watch. If it comes after each power cut, the cell of the clock is empty.",
        Lasts.AGES_OUT,
    ),
)
