"""Running parts, and knowing that they make progress.

A service is one ``run()``; stopping is cancellation and nothing else. Its `Pulse` says by when it must have come round
again; systemd's watchdog is fed only while no pulse is overdue. A loop that waits for work rests and owes nothing, so
idling costs no wake-up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol, TypeVar

import structlog

from agent.runtime.backoff import Backoff
from agent.runtime.clock import Clock

log = structlog.get_logger("services")
T = TypeVar("T")


class Service(Protocol):
    """One loop of the agent."""

    @property
    def name(self) -> str:
        """The loop's name in logs and in the watchdog's report."""
        ...

    def run(self) -> Coroutine[Any, Any, None]:
        """Work until cancelled; clean up in ``finally``."""
        ...


class Pulse:
    """One loop's promise to come round in time."""

    def __init__(self, name: str, clock: Clock) -> None:
        self.name = name
        self._clock = clock
        self._due: float | None = None

    def working(self, within_s: float) -> None:
        """Something was begun that must be over within ``within_s`` seconds."""
        self._due = self._clock.monotonic() + within_s

    def resting(self) -> None:
        """Nothing is under way: the loop waits for work."""
        self._due = None

    @property
    def overdue(self) -> bool:
        """True when a promise was not kept."""
        return self._due is not None and self._clock.monotonic() > self._due


class Pulses:
    """All pulses of the process, and other checks of progress such as the writer thread's."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._pulses: list[Pulse] = []
        self._checks: list[tuple[str, Callable[[], bool]]] = []

    def add(self, name: str) -> Pulse:
        """A new pulse, resting."""
        pulse = Pulse(name, self._clock)
        self._pulses.append(pulse)
        return pulse

    def watch(self, name: str, is_stalled: Callable[[], bool]) -> None:
        """Ask ``is_stalled`` too, for what is not a loop of ours (a thread)."""
        self._checks.append((name, is_stalled))

    def stalled(self) -> list[str]:
        """Names of everything that made no progress in its time; empty when all is well."""
        return [p.name for p in self._pulses if p.overdue] + [name for name, check in self._checks if check()]


async def in_own_task(work: Coroutine[Any, Any, T]) -> T:
    """Await ``work`` in a task of its own; cancelling the caller cancels it.

    A task that held a `TaskGroup` whose child failed keeps a mark of being cancelled (Python 3.11.2, Debian 12's). A
    later `asyncio.timeout` in that task would end in `CancelledError` instead of `TimeoutError`, and a loop that
    takes this for its stop would be gone for good. The mark dies with the task.
    """
    return await asyncio.create_task(work)


async def run_restarting(
    service: Service, backoff: Backoff, clock: Clock, *, steady_s: float = 60.0, on_failure: Callable[[str, str], None]
) -> None:
    """Run a part that the agent can live without; when it fails, start it again in its place.

    Args:
        steady_s: After this long without failure the back-off starts from its beginning.
        on_failure: Told the service's name and the error's class name at each failure.
    """
    while True:
        started_at = clock.monotonic()
        try:
            await in_own_task(service.run())
        except asyncio.CancelledError as err:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            log.error("service.failed", service=service.name, error="cancelled by itself", exc_info=err)
            on_failure(service.name, type(err).__name__)
        except Exception as err:  # any failure of a part is confined to it; that is this function's purpose
            log.error("service.failed", service=service.name, error=type(err).__name__, exc_info=err)
            on_failure(service.name, type(err).__name__)
        if clock.monotonic() - started_at >= steady_s:
            backoff.reset()
        await clock.sleep(backoff.next_s())


async def end_together(tasks: Sequence[asyncio.Task[None]], grace_s: float) -> None:
    """Cancel all and wait for them; one that does not end within ``grace_s`` is left behind and named."""
    for task in tasks:
        task.cancel()
    _done, left = await asyncio.wait(tasks, timeout=grace_s)
    if left:
        log.error("service.did_not_stop", services=[task.get_name() for task in left], waited_s=grace_s)
