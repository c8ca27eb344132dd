"""``posctl top``: a snapshot and the size of a screen → the lines of one frame. Pure.

What matters most survives on the smallest screen: can it sell, and why not. What is not known is said so: without an
agent the banner never goes on saying READY, and what is shown below is marked as the last that was known. Every text
that came from the agent goes through `plain`; tests try each of them with escape sequences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from agent.ctl.answers import Device, Operation
from agent.ctl.render import banner
from agent.ctl.render.command import state_text
from agent.ctl.render.protection import protection_text
from agent.ctl.render.status import (
    MARKS,
    STATE_TONES,
    Advice,
    fault_lines,
    journal_text,
    uplink_text,
    worst_first,
)
from agent.ctl.render.style import (
    BAD,
    BOLD,
    DIM,
    GOOD,
    WARN,
    Style,
    clip,
    clip_painted,
    columns,
    duration,
    many,
    plain,
)
from agent.ctl.snapshot import Snapshot

KEYS = "q quit  p pause  r refresh  ↑ ↓ space: faults"
_SMALL_COLUMNS = 60
_TALL_ROWS, _ROOMY_ROWS, _HUGE_ROWS = 20, 30, 44
_LOCKED_CODE = "TERMINAL_LOCKED"
_LEAST_FAULT_ROWS = 4
_BAR = 12


@dataclass(frozen=True, slots=True)
class Lost:
    """Why there is nothing newer than the snapshot. ``since`` by this machine's clock."""

    message: str
    hint: str
    since: datetime


@dataclass(frozen=True, slots=True)
class View:
    """What is looked at, and how. ``scroll``: how many lines of faults are above the screen; ``note``: the looker's."""

    snapshot: Snapshot
    now: datetime
    lost: Lost | None = None
    paused: bool = False
    scroll: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True)
class Frame:
    """``lines``: at most as many as there are rows, none wider than the screen. ``page``: fault lines that fit."""

    lines: list[str]
    furthest: int
    page: int


def frame(view: View, rows: int | None, style: Style, advice: Advice) -> Frame:
    """One frame of ``rows`` lines by ``style.width`` columns.

    Args:
        rows: None for a page that ends where its content ends, without big letters or keys.
    """
    word, tone = _word(view)
    body = replace(style, colour=False) if view.lost else style  # the last known state is shown without its colours
    small = rows is not None and (rows < _TALL_ROWS or style.width < _SMALL_COLUMNS)
    few = 3 if rows is None or rows < _ROOMY_ROWS else 5
    said = word if view.lost else f"{word}: no sale" if word == banner.LOCKED else f"{word} to sell"
    lines = [_header(view, style)]
    if rows is None:
        lines.append(said)
    elif small:
        lines.append(banner.small(word, tone, style))
    else:
        huge = rows >= _HUGE_ROWS and style.width > banner.width_of(word, 2)
        lines += [*banner.big(word, tone, style, 2 if huge else 1), said.center(style.width).rstrip()]
    lines += _reasons(view, body, most=9 if rows is None else 2 if small else few)
    lines += _facts(view, body, short=small)
    lines += _operations(view.snapshot.operations, body, most=99 if rows is None else 1 if small else few - 1)
    faults = fault_lines(view.snapshot.health.faults, advice, body)[1:]
    if rows is None:
        lines += [*_devices(view, body, None), *_faults(view, faults, 0, len(faults), style)]
        return Frame([clip_painted(line, style.width).rstrip() for line in lines], 0, 0)
    room = rows - len(lines) - 1  # the keys have the last line
    wanted = min(len(faults) + 1, _LEAST_FAULT_ROWS)
    lines += _few_devices(view, body, room - wanted) if small else _devices(view, body, room - wanted)
    page = max(0, rows - len(lines) - 2)
    furthest = max(0, len(faults) - page)
    lines += _faults(view, faults, min(view.scroll, furthest), page, style)
    lines = lines[: rows - 1]
    lines += [*[""] * (rows - 1 - len(lines)), _footer(view, style)]
    return Frame([clip_painted(line, style.width) for line in lines], furthest, page)


def _word(view: View) -> tuple[str, str]:
    if view.lost is not None:
        return banner.NO_AGENT, BAD
    readiness = view.snapshot.readiness
    if any(reason.code == _LOCKED_CODE for reason in readiness.reasons):
        return banner.LOCKED, BAD
    return (banner.READY, GOOD) if readiness.ready else (banner.NOT_READY, BAD)


def _header(view: View, style: Style) -> str:
    info = view.snapshot.info
    who = f"{plain(info.terminal.terminal)} at {plain(info.terminal.site)}"
    agent = f"pos-agent {plain(info.version)}"
    if info.uptime_s is not None:
        agent += f", up {duration(info.uptime_s)}"
    mode = f"  {plain(info.mode)} mode" if info.mode and info.mode != "production" else ""
    time = style.local(view.now)[11:]
    left = clip(f"{who}  {agent}{mode}", max(0, style.width - len(time) - 2))
    return style.paint(left + " " * (style.width - columns(left) - len(time)) + time, BOLD)


def _reasons(view: View, style: Style, most: int) -> list[str]:
    """Why it cannot sell, or why that is not known; no more than ``most`` lines and one that counts the others."""
    if view.lost is not None:
        gone = duration((view.now - view.lost.since).total_seconds())
        said = f"agent not reached since {style.local(view.lost.since)[11:]} ({gone}); trying again"
        return [said, *(f"  {text}" for text in (plain(view.lost.message), plain(view.lost.hint)) if text)][:most]
    reasons = view.snapshot.readiness.reasons
    lines = []
    for reason in reasons[:most]:
        since = f" (since {style.local(reason.since)[5:16]})" if reason.since else ""
        text = f"- {plain(reason.code)}  "
        lines.append(text + clip(plain(reason.text), max(8, style.width - columns(text) - len(since))) + since)
    if len(reasons) > most:
        lines.append(f"  and {many(len(reasons) - most, 'more reason')}: posctl ready")
    if not view.snapshot.readiness.ready and not reasons:
        lines.append("- the agent gave no reason: posctl health")
    return lines


def _facts(view: View, style: Style, *, short: bool) -> list[str]:
    info = view.snapshot.info
    if short:
        link = info.uplink
        state = "connected" if link.connected else "not connected" if link.configured else "none"
        alone = view.snapshot.copies.unprotected_entries
        return [f"Uplink {state}  Journal {info.journal.entries}" + (f", {alone} unprotected" if alone else "")]
    journal, uplink = f"Journal  {journal_text(info)}", f"Uplink   {uplink_text(info, style)}"
    if view.lost is not None:
        uplink += "  (last known)"
    protection = protection_text(view.snapshot.copies, style)
    return [journal, *([f"Copies   {protection}"] if protection else []), uplink]


def _operations(operations: Sequence[Operation], style: Style, most: int) -> list[str]:
    """What runs first, then what waits and why; a bar where progress is told."""
    if not operations:
        return ["Orders   none open"]
    ordered = sorted(operations, key=lambda one: one.state != "running")
    lines: list[str] = []
    for one in ordered[:most]:
        label = "" if lines else f"Orders {len(ordered)}"
        text = f"{label:<9}{_bar(one)}{plain(one.name)} {state_text(one)}  {plain(one.command_id)}"
        lines.append(style.paint(clip(text, style.width), WARN if one.state == "running" else ""))
    if len(ordered) > most > 1:
        lines.append(f"{'':<9}and {len(ordered) - most} more: posctl command list")
    return lines


def _bar(operation: Operation) -> str:
    if operation.progress is None:
        return ""
    done = round(_BAR * min(max(operation.progress, 0.0), 100.0) / 100)
    return f"[{'=' * done}{' ' * (_BAR - done)}] "


def _devices(view: View, style: Style, room: int | None) -> list[str]:
    """The worst first, one a line; where that does not fit, those that are ok share lines."""
    devices = worst_first(view.snapshot.health.devices)
    known = f"  as last known at {style.local(view.snapshot.at)[11:]}" if view.lost else ""
    head = style.paint(f"Devices{known}", BOLD) if devices else "Devices  none configured"
    if room is None or len(devices) + 1 <= room:
        return [head, *(_device(one, style) for one in devices)]
    return [head, *_few_devices(view, style, room - 1)]


def _few_devices(view: View, style: Style, room: int) -> list[str]:
    """As many as ``room`` lines hold, one at least: those that are not ok, and the names of the others."""
    devices = worst_first(view.snapshot.health.devices)
    bad = [one for one in devices if one.state != "ok"]
    ok = [one for one in devices if one.state == "ok"]
    shared = _sharing(ok, style, max(0, min(2, room - min(len(bad), 2))))
    keep = max(1, room - len(shared))
    lines = [_device(one, style) for one in bad[:keep]]
    if len(bad) > keep:
        lines[-1] = f"  {MARKS['failed']} {len(bad) - keep + 1} more not ok: posctl health"
    return [*lines, *shared]


def _device(device: Device, style: Style) -> str:
    mark = MARKS.get(device.state, "?")
    tone = STATE_TONES.get(device.state, WARN)
    since = style.local(device.since)[5:16] if device.since else ""
    named = clip(plain(device.device), 20)
    text = f"  {mark} {named}{' ' * (16 - columns(named))} "
    state = f"{plain(device.state):<9}"
    if style.width < _SMALL_COLUMNS:
        rest = plain(device.detail or "")
    else:
        power = f"power {plain(device.power_state)}" if device.power_state not in {None, "unknown"} else ""
        rest = f"{since:<12}{f'{power}  ' if power else ''}{plain(device.detail or '')}"
    room = style.width - columns(text) - columns(state) - 1
    return text + style.paint(state, tone) + " " + (clip(rest, room) if room > 0 else "")


def _sharing(devices: Sequence[Device], style: Style, most: int) -> list[str]:
    """Names of devices that are ok, as many a line as fit, ``most`` lines at most."""
    text = f"  {MARKS['ok']} {len(devices)} ok: {', '.join(plain(one.device) for one in devices)}"
    cut = text.rfind(",", 0, style.width) + 1
    if not devices or most <= 0:
        return []
    if columns(text) <= style.width or most == 1 or cut <= 0:
        return [clip(text, style.width)]
    return [text[:cut], clip("       " + text[cut:].strip(), style.width)]


def _faults(view: View, lines: Sequence[str], scroll: int, page: int, style: Style) -> list[str]:
    faults = view.snapshot.health.faults
    if not faults:
        return ["Faults   none"]
    head = f"Faults   {len(faults)}"
    if len(lines) > page > 0:
        head += f"   ↑ ↓  lines {scroll + 1} to {scroll + page} of {len(lines)}"
    return [style.paint(head, DIM if view.lost else BAD), *lines[scroll : scroll + page]]


def _footer(view: View, style: Style) -> str:
    paused = "PAUSED (p goes on)  " if view.paused else ""
    note = f"   {plain(view.note)}" if view.note else ""
    return style.paint(clip(f"{paused}{KEYS}{note}", style.width), WARN if view.paused else DIM)
