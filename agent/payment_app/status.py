"""Telling the agent at intervals how the application is: ready, signed in, and which money is still on its way."""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass
from typing import Callable, Optional

from agent.payment_app.calls import Calls

EVERY_S = 30.0
"""A status counts for 90 s: two may be lost."""


@dataclass(frozen=True)
class Status:
    """``batch_no``: six digits, None before the first sign-in. The three counts are of what is not settled yet."""

    ready: bool
    signed_in: bool
    batch_no: Optional[str] = None
    pending_reversals: int = 0
    unknown_results: int = 0
    saf_count: int = 0


def send(calls: Calls, status: Status) -> None:
    """``app.status``; raises as `Calls.call`."""
    calls.call("app.status", **asdict(status))


class StatusReports:
    """A thread that sends the status at once, every ``every_s`` seconds, and whenever `report_now` is called.

    Without one, the agent takes the application for silent after 90 s: the terminal counts as not ready, and operations
    wait. Failures are told to ``on_problem`` and tried again at the next turn; ``and_then`` follows each report.
    """

    def __init__(
        self,
        tell: Callable[[Status], None],
        status: Callable[[], Status],
        every_s: float,
        *,
        and_then: Callable[[], object],
        on_problem: Optional[Callable[[Exception], None]],
    ) -> None:
        self._tell = tell
        self._status = status
        self._every_s = every_s
        self._and_then = and_then
        self._on_problem = on_problem
        self._wanted = threading.Event()
        self._over = False
        self._thread = threading.Thread(target=self._run, name="pos-agent status", daemon=True)

    def __enter__(self) -> StatusReports:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        self._wanted.set()
        self._thread.join()

    def report_now(self) -> None:
        """Something changed: send it soon, and do not wait for it."""
        self._wanted.set()

    def _run(self) -> None:
        while not self._over:
            self._wanted.clear()
            try:
                self._tell(self._status())
                self._and_then()
            except Exception as err:  # noqa: BLE001  # also of the application's own function: the thread must go on
                if self._on_problem is not None:
                    self._on_problem(err)
            self._wanted.wait(self._every_s)
