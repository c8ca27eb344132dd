"""``agent.info``, ``health.get`` and ``readiness.get`` → one screen. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from agent.ctl.answers import (
    NOTHING_TOLD,
    AgentInfo,
    Device,
    Fault,
    Health,
    HealthChange,
    Operation,
    Readiness,
    StoreFigures,
)
from agent.ctl.render.command import operation_line
from agent.ctl.render.protection import protection_text
from agent.ctl.render.style import BAD, BOLD, DIM, GOOD, WARN, Cell, Style, duration, many, plain, table, wrap

Advice = Callable[[str], tuple[str, str] | None]
"""A fault's code → its title and what to do about it; None for a code that this release does not know."""

STATE_TONES = {"ok": GOOD, "degraded": WARN, "failed": BAD, "unknown": WARN}
_WORST_FIRST = ("failed", "unknown", "degraded", "ok")
MARKS = {"ok": "✓", "degraded": "!", "failed": "✗", "unknown": "?"}
"""Beside every state, for whoever cannot tell its colour."""
SEVERITY_TONES = {"S1": BAD, "S2": BAD, "S3": WARN}
_LABEL_COLUMNS = 11


def status_lines(
    info: AgentInfo,
    health: Health,
    readiness: Readiness,
    open_operations: Sequence[Operation],
    *,
    advice: Advice,
    style: Style,
    copies: StoreFigures = NOTHING_TOLD,
) -> list[str]:
    """The whole terminal at a glance, the most important first."""
    lines = readiness_lines(readiness, style)
    lines += ["", *_identity(info, style)]
    lines += _labelled("Journal", journal_text(info), style)
    if protection := protection_text(copies, style):
        lines += _labelled("Copies", protection, style)
    lines += _labelled("Uplink", uplink_text(info, style), style)
    if open_operations:
        for operation in open_operations:
            lines += _labelled("Operation", operation_line(operation), style)
    else:
        lines += _labelled("Operation", "none", style)
    return [*lines, "", *device_lines(health.devices, style), "", *fault_lines(health.faults, advice, style)]


def readiness_lines(readiness: Readiness, style: Style) -> list[str]:
    """Can this terminal sell? And if not, every reason."""
    if readiness.ready:
        lines = [style.paint("READY", GOOD) + " to sell"]
    else:
        lines = [style.paint("NOT READY", BAD) + " to sell"]
    for reason in readiness.reasons:
        since = f" (since {style.local(reason.since)})" if reason.since else ""
        lines += wrap(f"{plain(reason.code)}  {plain(reason.text)}{since}", style, "      ", "  - ")
    if not readiness.ready and not readiness.reasons:
        lines.append("  - the agent gave no reason: posctl health")
    return lines


def device_lines(devices: Sequence[Device], style: Style) -> list[str]:
    """A table of devices, the worst first."""
    if not devices:
        return [style.paint("Devices", BOLD) + "  none configured"]
    rows = [
        [
            Cell(plain(device.device)),
            Cell(plain(device.category)),
            Cell(f"{MARKS.get(device.state, '?')} {plain(device.state)}", STATE_TONES.get(device.state, WARN)),
            Cell(plain(device.power_state or "-")),
            Cell(style.local(device.since)[5:] if device.since else "-"),
            Cell(plain(device.detail or "")),
        ]
        for device in worst_first(devices)
    ]
    return table(["device", "category", "state", "power", "since", "detail"], rows, style, 5)


def history_lines(changes: Sequence[HealthChange], style: Style) -> list[str]:
    """How devices were and which faults came and went, in the order given."""
    if not changes:
        return ["no changes recorded"]
    rows = [
        [
            Cell(style.local(change.at) if change.at else "-"),
            Cell(plain(change.device)),
            _happened(change),
            Cell(plain(change.detail or "")),
        ]
        for change in changes
    ]
    return table(["at", "device", "what", "detail"], rows, style, 3)


def _happened(change: HealthChange) -> Cell:
    if change.state is not None:
        power = f", power {plain(change.power_state)}" if change.power_state not in {None, "unknown"} else ""
        text = f"{MARKS.get(change.state, '?')} {plain(change.state)}{power}"
        return Cell(text, STATE_TONES.get(change.state, WARN))
    fault = " ".join(plain(part) for part in (change.code, change.severity) if part)
    if change.kind == "fault_raised":
        return Cell(f"+ {fault}", SEVERITY_TONES.get(change.severity or "", ""))
    return Cell(f"- {fault} over" if change.kind == "fault_cleared" else f"{plain(change.kind)} {fault}".rstrip(), DIM)


def checked_lines(device: Device, faults: Sequence[Fault], advice: Advice, style: Style) -> list[str]:
    """What a test found: the device in words, then its faults with what to do."""
    mark, tone = MARKS.get(device.state, "?"), STATE_TONES.get(device.state, WARN)
    since = f" since {style.local(device.since)}" if device.since else ""
    lines = [f"{mark} {plain(device.device)} is {style.paint(plain(device.state), tone)}{since}"]
    power = f"power {plain(device.power_state)}" if device.power_state not in {None, "unknown"} else ""
    said = "; ".join(part for part in (power, plain(device.detail or "")) if part)
    if said:
        lines += wrap(said, style, "  ")
    return [*lines, *(fault_lines(faults, advice, style)[1:] if faults else [])]


def worst_first(devices: Sequence[Device]) -> list[Device]:
    """``failed`` first; before it a state that only a newer agent knows, since it may be anything."""
    return sorted(devices, key=lambda device: _WORST_FIRST.index(device.state) if device.state in STATE_TONES else -1)


def fault_lines(faults: Sequence[Fault], advice: Advice, style: Style) -> list[str]:
    """Every active fault with what it is and what to do about it, the most severe first."""
    if not faults:
        return [style.paint("Faults", BOLD) + "   none"]
    lines = [style.paint("Faults", BOLD)]
    for fault in sorted(faults, key=lambda f: (f.severity or "S9", f.code, f.device or "")):
        head = "  ".join(plain(part) for part in (fault.code, fault.severity or "", fault.device or "") if part)
        tone = SEVERITY_TONES.get(fault.severity or "", "")
        known = advice(fault.code)
        title = known[0] if known else ""
        impact = f"stops: {plain(fault.impact)}" if fault.impact and fault.impact != "none" else ""
        since = f"since {style.local(fault.since)}" if fault.since else ""
        lines.append(f"  {style.paint(head, tone)}  " + "  ".join(part for part in (impact, since) if part))
        detail = plain(fault.detail or "")
        what = ": ".join(part for part in (title, detail if detail != title else "") if part)
        if what:
            lines += wrap(what, style, "      ")
        if known and known[1]:
            lines += wrap(known[1], style, "        ", "      → ")
    return [line.rstrip() for line in lines]


def _identity(info: AgentInfo, style: Style) -> list[str]:
    terminal = info.terminal
    who = f"{plain(terminal.terminal)} at site {plain(terminal.site)}"
    if terminal.serial:
        who += f", serial {plain(terminal.serial)}"
    if terminal.model:
        who += f", model {plain(terminal.model)}"
    agent = f"pos-agent {plain(info.version)}"
    if info.uptime_s is not None:
        agent += f", up {duration(info.uptime_s)}"
    if info.mode and info.mode != "production":
        agent += ", " + style.paint(f"{plain(info.mode)} mode", WARN)
    return [*_labelled("Terminal", who, style), *_labelled("Agent", agent, style)]


def journal_text(info: AgentInfo) -> str:
    """How long the journal is, and what of all messages still waits for the broker."""
    journal = info.journal
    last = f", last sequence {journal.last_sequence}" if journal.last_sequence else ""
    link = info.uplink
    told = link.configured and link.unsent is not None
    waiting = f", {many(link.unsent or 0, 'message')} to send" if told else ""
    return many(journal.entries, "entry", "entries") + last + waiting


def uplink_text(info: AgentInfo, style: Style) -> str:
    """Connected or not, since when and why."""
    uplink = info.uplink
    if not uplink.configured:
        return "not configured"
    since = f" since {style.local(uplink.since)}" if uplink.since else ""
    detail = f": {plain(uplink.detail)}" if uplink.detail else ""
    if uplink.connected:
        return f"connected{since}{detail}"
    return style.paint("not connected", WARN) + since + detail


def _labelled(label: str, text: str, style: Style) -> list[str]:
    padded = label.ljust(_LABEL_COLUMNS)
    lines = wrap(text, style, " " * _LABEL_COLUMNS, padded)
    return [
        line.replace(padded, style.paint(padded, DIM), 1) if index == 0 else line for index, line in enumerate(lines)
    ]
