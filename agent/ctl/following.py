"""An order is seen to its end: asked for again and again, told on the way, and turned into an exit code."""

from __future__ import annotations

import time

import msgspec

from agent.ctl import answers
from agent.ctl.client import AgentUnreachable, ControlClient, decode
from agent.ctl.exit_codes import Exit
from agent.ctl.render.command import FINAL, operation_line, state_text
from agent.ctl.render.style import duration
from agent.ctl.screen import Screen

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 1.0


def follow(
    agent: ControlClient, operation: answers.Operation, raw: msgspec.Raw, wait_s: float, screen: Screen
) -> tuple[msgspec.Raw, answers.Operation]:
    """Ask until the state is final or ``wait_s`` have passed; the agent may restart meanwhile (some orders say so)."""
    begun_s = time.monotonic()
    deadline_s = begun_s + wait_s
    pause_s = _FIRST_PAUSE_S
    silent = False
    while operation.state not in FINAL:
        left_s = deadline_s - time.monotonic()
        if left_s <= 0:
            break
        screen.progress(f"{duration(time.monotonic() - begun_s)}  {operation.name} {state_text(operation)}")
        time.sleep(min(pause_s, left_s))
        pause_s = min(pause_s * 1.5, _LONGEST_PAUSE_S)
        try:
            raw = agent.call("command.get", {"command_id": operation.command_id})
        except AgentUnreachable as err:
            if time.monotonic() >= deadline_s:
                raise
            if not silent:
                screen.note(f"{screen.plain(err.message)}; still waiting")
            silent = True
            continue
        silent = False
        latest = decode(raw, answers.Operation, "command.get")
        if latest.rev != operation.rev and latest.state not in FINAL and not screen.as_json:
            screen.line(operation_line(latest))
        operation = latest
    screen.progress("")
    return raw, operation


def exit_of(operation: answers.Operation) -> Exit:
    """The exit code of a final state."""
    match operation.state:
        case "rejected":
            return Exit.REFUSED
        case "succeeded":
            return Exit.DONE
        case _:
            return Exit.FAILED


def note_unfinished(operation: answers.Operation, wait_s: float, screen: Screen) -> Exit:
    """Say that it goes on without us."""
    screen.note(
        f"not finished after {wait_s:g} s; the order goes on: posctl command show {screen.plain(operation.command_id)}"
    )
    return Exit.FAILED
