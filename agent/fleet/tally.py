"""What became of one order on each terminal it was sent to. Pure: messages in, outcome out."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from agent.fleet.messages import FINAL, OperationState


class Outcome(Enum):
    SUCCEEDED = "succeeded"
    REFUSED = "refused"  # nobody failed, but somebody refused
    FAILED = "failed"  # somebody failed, or did not come to an end in time


class Tally:
    """``terminals`` is everyone who must answer; None when that is not known (an order to a whole site)."""

    def __init__(self, terminals: Iterable[str] | None) -> None:
        self._open_ended = terminals is None
        self._states: dict[str, OperationState | None] = dict.fromkeys(terminals or ())

    def take(self, terminal: str, state: OperationState) -> bool:
        """Note a state; False when it says nothing new (a repeat, an older revision, somebody not asked)."""
        if terminal not in self._states and not self._open_ended:
            return False
        known = self._states.get(terminal)
        if known is not None and (state.rev <= known.rev or known.state in FINAL):
            return False
        self._states[terminal] = state
        return True

    def complete(self) -> bool:
        """Everyone has come to an end. Never true when it is not known who everyone is."""
        return not self._open_ended and all(state and state.state in FINAL for state in self._states.values())

    def rows(self) -> list[tuple[str, OperationState | None]]:
        """Each terminal with its last state, in the order of sending."""
        return list(self._states.items())

    def outcome(self) -> Outcome:
        states = [state.state if state else "silent" for state in self._states.values()]
        if states and all(state == "succeeded" for state in states):
            return Outcome.SUCCEEDED
        if "rejected" in states and all(state in {"succeeded", "rejected"} for state in states):
            return Outcome.REFUSED
        return Outcome.FAILED
