"""Sale leases: who is in the middle of a sale, and for how long at most. Pure: times are given, identifiers too.

Source: the product's contract, "Leases". A lease belongs to a process, outlives its connection and ends by itself. It
lives in memory only: after a restart of the agent the terminal counts as in sale until the applications have reported.
"""

from __future__ import annotations

import heapq
from collections import Counter
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from agent.contract.calls import Purpose
from agent.errors import Refused
from agent.runtime.process_identity import Process

MOST: Final = 4096
MOST_OF_ONE: Final = 1536
"""As many as one process may have connections: a lease for each."""
_PASSED_OVER: Final = 64


class Lease(Struct, frozen=True):
    """``ends_s``: monotonic time from which on it is over."""

    lease_id: str
    owner: Process
    purpose: Purpose
    ends_s: float


class Leases:
    """All that live. What is over is forgotten by whichever call comes next."""

    def __init__(self) -> None:
        self._leases: dict[str, Lease] = {}
        self._of_owner: Counter[Process] = Counter()
        self._ends: list[tuple[float, str]] = []  # a heap; what was renewed or ended since is passed over

    def __len__(self) -> int:
        return len(self._leases)

    def begin(self, lease_id: str, owner: Process, purpose: Purpose, lease_s: int, now_s: float) -> Lease:
        """Grant one.

        Raises:
            Refused: ``TOO_MANY_LEASES``.
        """
        self.expire(now_s)
        if len(self._leases) >= MOST or self._of_owner[owner] >= MOST_OF_ONE:
            raise Refused(
                "too many leases live at once",
                reason="TOO_MANY_LEASES",
                hint="end a lease when its sale is over",
                retry_after_s=max(self.next_end_s(now_s) or 0.0, 1.0),
            )
        lease = Lease(lease_id, owner, purpose, now_s + lease_s)
        self._of_owner[owner] += 1
        self._put(lease)
        return lease

    def renew(self, lease_id: str, owner: Process, lease_s: int, now_s: float) -> Lease:
        """Have it end ``lease_s`` from now, sooner or later than before.

        Raises:
            Refused: ``LEASE_UNKNOWN``.
        """
        lease = replace(self._own(lease_id, owner, now_s), ends_s=now_s + lease_s)
        self._put(lease)
        return lease

    def end(self, lease_id: str, owner: Process, now_s: float) -> None:
        """End it now; raises as `renew`."""
        self._remove(self._own(lease_id, owner, now_s))

    def expire(self, now_s: float) -> None:
        """Forget what is over."""
        while self._ends and (self._ends[0][0] <= now_s or not self._is_current(*self._ends[0])):
            ends_s, lease_id = heapq.heappop(self._ends)
            if self._is_current(ends_s, lease_id):
                self._remove(self._leases[lease_id])

    def left_s(self, now_s: float) -> float | None:
        """For how long the longest still runs; None when none lives."""
        self.expire(now_s)
        longest_s = max((lease.ends_s for lease in self._leases.values()), default=None)
        return None if longest_s is None else longest_s - now_s

    def next_end_s(self, now_s: float) -> float | None:
        """In how many seconds, at the earliest, one ends by itself; None when none lives."""
        self.expire(now_s)
        return self._ends[0][0] - now_s if self._ends else None

    def _is_current(self, ends_s: float, lease_id: str) -> bool:
        lease = self._leases.get(lease_id)
        return lease is not None and lease.ends_s == ends_s

    def _own(self, lease_id: str, owner: Process, now_s: float) -> Lease:
        self.expire(now_s)
        lease = self._leases.get(lease_id)
        if lease is None or lease.owner != owner:  # another's is not even told to exist
            raise Refused(
                "no lease of this process has that id, or it is over",
                reason="LEASE_UNKNOWN",
                field="lease_id",
                hint="begin a new one",
            )
        return lease

    def _put(self, lease: Lease) -> None:
        self._leases[lease.lease_id] = lease
        if len(self._ends) > 2 * len(self._leases) + _PASSED_OVER:
            self._ends = [(one.ends_s, one.lease_id) for one in self._leases.values()]
            heapq.heapify(self._ends)
        else:
            heapq.heappush(self._ends, (lease.ends_s, lease.lease_id))

    def _remove(self, lease: Lease) -> None:
        del self._leases[lease.lease_id]
        self._of_owner[lease.owner] -= 1
        if not self._of_owner[lease.owner]:
            del self._of_owner[lease.owner]
