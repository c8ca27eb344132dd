"""Which entries may be sent now, and which are sent again when. Pure: sequences and monotonic seconds in and out.

Source: the product's contract, "MQTT", ``agent/txn``. At most ``WINDOW`` messages are beyond the last acknowledgement;
after ``RESEND_S`` without one everything after it is sent again, at first one message alone: a probe. Further probes
are of one entry each, so that a collector that is away for days costs next to nothing.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from agent.contract.journal_upload import RESEND_S, WINDOW

NEVER: Final = float("inf")
SAME_WISH_S: Final = 3.0  # within it the same wish is granted once; less than collectors wait before they ask again
HOLD_FIRST_S: Final = 5.0  # after a refusal, doubled with each one up to RESEND_S: a collector may only be restarting


class UploadWindow:
    """``acknowledged``: the last entry that the collector has; ``sent``: the last one that was sent after it.

    ``probes``: how often one message alone was to find out whether anybody answers; 0: somebody does.
    """

    def __init__(self, acknowledged: int) -> None:
        self.acknowledged = self.sent = acknowledged
        self.probes = 0
        self._ends: deque[int] = deque()  # last sequence of each message beyond the acknowledgement
        self._since_s = 0.0  # when the wait for an acknowledgement began
        self._held_until_s = 0.0
        self._hold_s = HOLD_FIRST_S
        self._asked: tuple[int, float] | None = None

    @property
    def messages(self) -> int:
        """How many are beyond the last acknowledgement."""
        return len(self._ends)

    def may_send(self, now_s: float) -> bool:
        return now_s >= self._held_until_s and len(self._ends) < (1 if self.probes else WINDOW)

    def due_s(self, now_s: float) -> float:
        """When something is to be done though nothing has come; `NEVER` while nothing is owed."""
        if self._ends:
            return self._since_s + RESEND_S
        return self._held_until_s if self._held_until_s > now_s else NEVER

    def send(self, upto: int, now_s: float) -> None:
        """A message with entries up to ``upto`` goes out."""
        if not self._ends:
            self._since_s = now_s
        self._ends.append(upto)
        self.sent = upto

    def acknowledge(self, upto: int, now_s: float) -> None:
        """The collector's word: it holds everything up to ``upto``, more or less than before."""
        if upto > self.acknowledged:
            self.probes, self._held_until_s, self._since_s, self._asked = 0, 0.0, now_s, None
            self._hold_s = HOLD_FIRST_S
        self.acknowledged = upto
        self.sent = max(self.sent, upto)
        while self._ends and self._ends[0] <= upto:
            self._ends.popleft()

    def send_again(self, first: int, now_s: float) -> bool:
        """The collector asks for entries from ``first``; whether they will be sent for that.

        A message that is lost makes every later one of the window ask for it: that is one wish.
        """
        if self._asked is not None and self._asked[0] == first and now_s < self._asked[1] + SAME_WISH_S:
            return False
        self._asked = (first, now_s)
        self.sent = first - 1
        self._ends.clear()
        self.probes, self._held_until_s = 0, 0.0
        return True

    def begin_again(self) -> None:
        """A new connection: from the last acknowledgement."""
        self.sent = self.acknowledged
        self._ends.clear()
        self.probes, self._held_until_s, self._asked = 0, 0.0, None

    def look(self, now_s: float) -> bool:
        """Whether the wait for an acknowledgement is over: then a probe may go out."""
        if not self._ends or now_s < self._since_s + RESEND_S:
            return False
        self._fall_back()
        return True

    def hold(self, now_s: float) -> None:
        """A message was refused, or nobody listens: one probe, and not at once."""
        self._fall_back()
        if now_s >= self._held_until_s:  # those that were under way together count once
            self._held_until_s = now_s + self._hold_s
            self._hold_s = min(2 * self._hold_s, RESEND_S)

    def _fall_back(self) -> None:
        self.sent = self.acknowledged
        self._ends.clear()
        self.probes += 1
        self._asked = None
