"""What became of one order on each terminal it was sent to. Pure: messages in, outcome out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from enum import Enum

from agent.fleet.messages import FINAL, OperationState

SILENT = "no answer"


class Outcome(Enum):
    SUCCEEDED = "succeeded"
    REFUSED = "refused"  # everybody refused
    FAILED = "failed"  # somebody did not succeed: failed, refused, or did not come to an end in time


class Tally:
    """``terminals`` is everyone who must answer; None when that is not known (an order to a whole site)."""

    def __init__(self, terminals: Iterable[str] | None) -> None:
        self._open_ended = terminals is None
        self._states: dict[str, OperationState | None] = dict.fromkeys(terminals or ())
        self._open = len(self._states)

    def take(self, terminal: str, state: OperationState) -> bool:
        """Note a state; False when it says nothing new (a repeat, an older revision, somebody not asked)."""
        if terminal not in self._states and not self._open_ended:
            return False
        known = self._states.get(terminal)
        if known is not None and (state.rev <= known.rev or known.state in FINAL):
            return False
        self._states[terminal] = state
        if state.state in FINAL:
            self._open -= 1
        return True

    def complete(self) -> bool:
        """Everyone has come to an end. Never true when it is not known who everyone is."""
        return not self._open_ended and self._open == 0

    @property
    def open(self) -> int:
        """How many have not come to their end; not known (0 or less) where it is not known who everyone is."""
        return self._open

    def final(self, terminal: str) -> bool:
        """Whether this one has come to its end."""
        state = self._states.get(terminal)
        return state is not None and state.state in FINAL

    def heard(self, terminal: str) -> bool:
        """Whether this one has said anything."""
        return self._states.get(terminal) is not None

    def counts(self) -> dict[str, int]:
        """State → how many are in it; ``no answer`` for those who said nothing. The most frequent first."""
        return dict(Counter(state.state if state else SILENT for state in self._states.values()).most_common())

    def rows(self) -> list[tuple[str, OperationState | None]]:
        """Each terminal with its last state, in the order of sending."""
        return list(self._states.items())

    def outcome(self) -> Outcome:
        """Success is success everywhere; refused only when everybody refused: mixed is failed."""
        states = set(self.counts())
        if states == {"succeeded"}:
            return Outcome.SUCCEEDED
        return Outcome.REFUSED if states == {"rejected"} else Outcome.FAILED
