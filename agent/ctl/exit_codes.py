"""How ``posctl`` ends, for scripts. The numbers are part of the product's contract and never change meaning."""

from __future__ import annotations

from enum import IntEnum

from agent.errors import AgentError, BadRequest, NotFound, Refused, Unavailable


class Exit(IntEnum):
    DONE = 0
    FAILED = 1  # the thing itself failed
    WRONG_USE = 2
    UNREACHABLE = 3  # the agent (or for fleet verbs the broker) cannot be reached
    REFUSED = 4


def exit_for(error: AgentError) -> Exit:
    """The exit code of an error, by the branch it belongs to."""
    match error:
        case NotFound():
            return Exit.FAILED
        case BadRequest():
            return Exit.WRONG_USE
        case Refused():
            return Exit.REFUSED
        case Unavailable():
            return Exit.UNREACHABLE
        case _:
            return Exit.FAILED
