"""An order is given to the agent and seen to its end; whatever happens, the caller learns under which id."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from agent.ctl import answers
from agent.ctl.client import AgentUnreachable, ControlClient, decode
from agent.ctl.exit_codes import Exit
from agent.ctl.following import exit_of, follow, note_unfinished
from agent.ctl.render.command import FINAL, operation_line, operation_lines
from agent.ctl.screen import Screen


def give(
    agent: ControlClient, method: str, params: Mapping[str, object], wait_s: float | None, screen: Screen
) -> tuple[msgspec.Raw, answers.Operation]:
    """Call ``method`` and follow its order until its state is final, at most ``wait_s`` long; None: not at all.

    Raises:
        AgentError: As `ControlClient.call` does.
    """
    try:
        raw = agent.call(method, params)
    except AgentUnreachable as err:
        if params.get("command_id") and err.facts.get("sent"):
            screen.note(f"whether the order was taken is not known; ask again with --command-id {params['command_id']}")
        raise
    operation = decode(raw, answers.Operation, method)
    if wait_s is None or operation.state in FINAL:
        return raw, operation
    if not screen.as_json:
        screen.line(operation_line(operation))
    return follow(agent, operation, raw, wait_s, screen)


def told(raw: msgspec.Raw, operation: answers.Operation, wait_s: float | None, screen: Screen) -> Exit:
    """Show how it stands, and the exit code that says so."""
    if screen.as_json:
        screen.document(raw)
    else:
        screen.lines(operation_lines(operation, screen.style))
    if operation.state in FINAL:
        return exit_of(operation)
    if wait_s is None:
        screen.note(f"see how it goes: posctl command show {screen.plain(operation.command_id)}")
        return Exit.DONE
    return note_unfinished(operation, wait_s, screen)
