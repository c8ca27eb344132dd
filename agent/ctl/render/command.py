"""A command's state → lines. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from agent.contract.command import State
from agent.ctl.answers import Operation
from agent.ctl.render.style import BAD, DIM, GOOD, WARN, Cell, Style, plain, table, wrap

FINAL = frozenset(state.value for state in State if state.is_final)
TONES = {"succeeded": GOOD, "failed": BAD, "rolled_back": BAD, "rejected": BAD, "expired": BAD, "cancelled": WARN}


def operation_line(operation: Operation) -> str:
    """One line: what, how far, why."""
    return f"{plain(operation.name)} {plain(operation.command_id)}: {state_text(operation)}"


def state_text(operation: Operation) -> str:
    """The state, how far, why."""
    text = plain(operation.state)
    how_far = how_far_text(operation)
    if how_far:
        text += f", {how_far}"
    if operation.reason:
        text += f" ({reason_text(operation)})"
    return text


def operation_lines(operation: Operation, style: Style) -> list[str]:
    """Everything that is known of one command."""
    state = style.paint(plain(operation.state), TONES.get(operation.state, ""))
    lines = [f"{plain(operation.name)}  {state}", f"  command id  {plain(operation.command_id)}"]
    how_far = how_far_text(operation)
    if how_far:
        lines.append(f"  progress    {how_far}")
    if operation.reason:
        lines += wrap(reason_text(operation), style, " " * 14, "  reason      ")
    if operation.accepted_at:
        lines.append(f"  accepted    {style.local(operation.accepted_at)}")
    if operation.updated_at:
        lines.append(f"  updated     {style.local(operation.updated_at)}   revision {operation.rev}")
    result = msgspec.json.decode(operation.result)
    if result is not None:
        lines += ["  result", *_result(result, style)]
    return lines


def operation_table(operations: Sequence[Operation], style: Style) -> list[str]:
    if not operations:
        return ["no commands recorded"]
    rows = [
        [
            Cell(plain(operation.command_id), DIM),
            Cell(plain(operation.name)),
            Cell(plain(operation.state), TONES.get(operation.state, "")),
            Cell(style.local(operation.updated_at)[5:16] if operation.updated_at else "-"),
        ]
        for operation in operations
    ]
    return table(["command id", "command", "state", "updated"], rows, style, 1)


def how_far_text(operation: Operation) -> str:
    """Step and share of an order that is under way; of one that has ended they say nothing more."""
    if operation.state in FINAL:
        return ""
    parts = []
    steps = len(operation.steps) if isinstance(operation.steps, list) else operation.steps
    if operation.step is not None:
        of = f" of {steps}" if steps is not None else ""
        parts.append(f"step {plain(str(operation.step))}{of}")
    if operation.progress is not None:
        parts.append(f"{operation.progress:.0f} %")
    return ", ".join(parts)


def reason_text(operation: Operation) -> str:
    """Code and text; empty without a reason."""
    if operation.reason is None:
        return ""
    code, text = plain(operation.reason.code), plain(operation.reason.text or "")
    return f"{code}: {text}" if text else code


def _result(result: object, style: Style) -> list[str]:
    if isinstance(result, dict):
        lines: list[str] = []
        for name, value in result.items():
            shown = value if isinstance(value, str) else msgspec.json.encode(value).decode()
            lines += wrap(f"{plain(str(name))}: {plain(shown)}", style, "        ", "    ")
        return lines or ["    {}"]
    return wrap(plain(msgspec.json.encode(result).decode()), style, "    ")
