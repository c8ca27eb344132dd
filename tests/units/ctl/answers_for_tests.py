"""Answers as the contract words them, for the tests of posctl."""

from __future__ import annotations

from typing import Any

AT = "2026-11-21T02:00:00.000Z"
COMMAND_ID = "019aa43e-0c00-7000-8000-000000000001"
TRANSACTION_ID = "019aa43e-0c00-7000-8000-000000000002"

INFO: dict[str, Any] = {
    "version": "0.1.0",
    "terminal": {"site": "S-01", "terminal": "T-0001", "serial": "SN123", "model": "demo"},
    "mode": "production",
    "boot_id": "b",
    "journal_id": "019aa43e-0c00-7000-8000-000000000000",
    "started_at": AT,
    "uptime_s": 303,
    "uplink": {"configured": True, "connected": True, "since": AT, "detail": ""},
    "journal": {"entries": 412, "last_sequence": 412},
    "config": {"digest": "ab"},
    "something_newer": 1,
}
PRINTER = {
    "device": "printer-0",
    "category": "pos_printer",
    "state": "failed",
    "power_state": "online",
    "detail": "paper end",
    "since": AT,
    "at": AT,
}
MEMORY = {**PRINTER, "device": "memory", "category": "host", "state": "ok", "power_state": "unknown", "detail": ""}
FAULT = {
    "code": "HW-PRN-002",
    "device": "printer-0",
    "severity": "S2",
    "impact": "print",
    "since": AT,
    "detail": "the roll is empty",
}
CHANGE: dict[str, Any] = {
    "at": AT,
    "kind": "state",
    "device": "printer-0",
    "state": "failed",
    "power_state": "online",
    "code": None,
    "severity": None,
    "impact": None,
    "detail": "paper end",
}
RAISED: dict[str, Any] = {
    **CHANGE,
    "kind": "fault_raised",
    "state": None,
    "power_state": None,
    "code": "HW-PRN-002",
    "severity": "S2",
    "impact": "print",
}
HEALTH: dict[str, Any] = {"devices": [MEMORY, PRINTER], "faults": [FAULT], "at": AT}
READY: dict[str, Any] = {"ready": True, "reasons": [], "at": AT}
NOT_READY: dict[str, Any] = {
    "ready": False,
    "reasons": [{"code": "HW-PRN-001", "text": "the printer does not answer", "since": AT}],
    "at": AT,
}
BACKUP_ID = "019aa43e-0c00-7000-8000-0000000000a1"
SEGMENT: dict[str, Any] = {
    "backup_id": BACKUP_ID,
    "kind": "segment",
    "target": "card",
    "file": "S-01/T-0001/019aa43e-0c00-7000-8000-000000000000/segment-000000000001-000000000412-0011aabb.age",
    "journal_id": INFO["journal_id"],
    "from_seq": 1,
    "upto_seq": 412,
    "size_bytes": 23_456,
    "sha256": "00" * 32,
    "made_at": AT,
    "verified_at": AT,
    "problem": None,
}
BROKEN: dict[str, Any] = {
    **SEGMENT,
    "backup_id": BACKUP_ID[:-1] + "2",
    "kind": "snapshot",
    "verified_at": None,
    "problem": "the file is gone",
}
TARGETS: list[dict[str, Any]] = [
    {"name": "card", "place": "/media/backup", "backed_up_upto": 412, "last_verified_at": AT, "problem": None},
    {
        "name": "vault",
        "place": "https://backup.example/terminals/",
        "backed_up_upto": 0,
        "last_verified_at": None,
        "problem": "no answer within 10 s",
    },
]
BACKUPS: dict[str, Any] = {"items": [BROKEN, SEGMENT], "next_cursor": None, "targets": TARGETS}
STORE_FIGURES: dict[str, Any] = {
    "unprotected_entries": 12,
    "oldest_unprotected_age_s": 183.0,
    "backed_up_upto": 400,
    "delivered_upto": 0,
}


def operation(state: str, rev: int = 1, **changes: Any) -> dict[str, Any]:
    """A command's state message with all its eleven fields."""
    return {
        "command_id": COMMAND_ID,
        "name": "ping",
        "state": state,
        "rev": rev,
        "step": None,
        "steps": None,
        "progress": None,
        "reason": None,
        "accepted_at": AT,
        "updated_at": AT,
        "result": None,
        **changes,
    }


def entry(seq: int, state: str, mark: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """A journal entry of one sale."""
    record = {
        "transaction_id": TRANSACTION_ID,
        "state": state,
        "type": "sale",
        "provider": "acquirer-a",
        "mid": "123456789012345",
        "tid": "12345678",
        "amount_minor": 12345,
        "currency": "156",
        "stan": "000731",
        "batch_no": "000002",
        "local_at": "2026-11-21T10:00:00+08:00",
        **changes,
    }
    return {"seq": seq, "at": AT, "record": record, "hash": "00" * 32, **({"mark": mark} if mark else {})}
