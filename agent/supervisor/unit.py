"""One unit: its process, started again whenever it ends by itself (``Restart=always``), and how it is now."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path
from typing import Final

import structlog

from agent.machine.machine import UnitState
from agent.machine.supervisor_wire import UnitCounts
from agent.runtime.backoff import Backoff
from agent.runtime.clock import Clock
from agent.runtime.process_identity import SUPERVISED_UNIT
from agent.supervisor.child import Child
from agent.supervisor.folders import empty
from agent.supervisor.settings import UnitSettings

log = structlog.get_logger("supervisor")

STEADY_S: Final = 10.0
_MAX_LOG_BYTES: Final = 4 * 1024 * 1024


class Unit:
    """``start``, ``stop``, ``empty_caches``; between start and stop the process is kept running."""

    def __init__(self, settings: UnitSettings, folder: Path, log_folder: Path, clock: Clock) -> None:
        self.settings = settings
        self._folder = folder
        self._log_file = log_folder / f"{settings.name}.log"
        self._clock = clock
        self._keeping: asyncio.Task[None] | None = None
        self._child: Child | None = None
        self._up = asyncio.Event()
        self._starts = self._watchdog = self._emptied = 0

    @property
    def name(self) -> str:
        return self.settings.name

    def state(self) -> UnitState:
        """How it is now."""
        child = self._child
        if child is not None and not child.ended.is_set():
            active = "active" if self._up.is_set() else "activating"
            return UnitState(self.name, active, child.pid, child.invocation)
        return UnitState(self.name, "inactive" if self._keeping is None else "activating")

    def counts(self) -> UnitCounts:
        """Since the supervisor started."""
        return UnitCounts(self.name, self._starts, self._watchdog, self._emptied)

    async def start(self) -> bool:
        """Keep it running from now on; False when it was not up within its time (it is tried again all the same)."""
        if self._keeping is None:
            self._up.clear()
            self._keeping = asyncio.create_task(self._keep(), name=self.name)
        try:
            async with asyncio.timeout(self.settings.start_s):
                await self._up.wait()
        except TimeoutError:
            log.warning("unit.not_up", unit=self.name, waited_s=self.settings.start_s)
            return False
        return True

    async def stop(self) -> None:
        """End it and keep it ended."""
        keeping, self._keeping = self._keeping, None
        if keeping is not None:
            keeping.cancel()
            await asyncio.wait([keeping])
        if self._child is not None:  # a stop that was itself cancelled may have left it ending
            await self._child.stop(self.settings.stop_s)
        self._up.clear()

    def empty_caches(self) -> None:
        """Remove what its cache folders hold.

        Raises:
            Refused: One of them is a symbolic link, or lies behind one.
            OSError: Something could not be removed.
        """
        for folder in self.settings.cache:
            self._emptied += empty(self._folder, folder)

    async def _keep(self) -> None:
        backoff = Backoff(self.settings.restart_first_s, self.settings.restart_limit_s)
        while True:
            started_at = self._clock.monotonic()
            try:
                await self._run_once()
            except OSError as err:
                log.error("unit.not_started", unit=self.name, reason=err.strerror)
            if self._clock.monotonic() - started_at >= STEADY_S:
                backoff.reset()
            await self._clock.sleep(backoff.next_s())

    async def _run_once(self) -> None:
        self._up.clear()
        self._bound_log()
        settings = self.settings
        child = self._child = Child(
            settings.argv,
            folder=self._folder,
            log_file=self._log_file,
            environment={**settings.environment, SUPERVISED_UNIT: self.name},
            watchdog_s=settings.watchdog_s,
            on_hung=self._hung,
        )
        self._starts += 1
        log.info("unit.started", unit=self.name, pid=child.pid)
        try:
            if settings.kind == "notify":
                await self._await_ready(child)
            else:
                self._up.set()
            await child.ended.wait()
        finally:
            self._up.clear()
            await child.stop(settings.stop_s)
            log.info("unit.ended", unit=self.name, exit_code=child.exit_code)

    async def _await_ready(self, child: Child) -> None:
        """Until it says READY=1 or ends; one that does neither in its time is ended."""
        waiting = [asyncio.ensure_future(child.ready.wait()), asyncio.ensure_future(child.ended.wait())]
        try:
            await asyncio.wait(waiting, timeout=self.settings.start_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waiting:
                one.cancel()
        if child.ended.is_set():
            return
        if child.ready.is_set():
            self._up.set()
        else:
            await child.stop(self.settings.stop_s)

    def _hung(self) -> None:
        self._watchdog += 1
        log.error("unit.hung", unit=self.name, watchdog_s=self.settings.watchdog_s)

    def _bound_log(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            if self._log_file.stat().st_size > _MAX_LOG_BYTES:
                os.replace(self._log_file, self._log_file.with_suffix(".log.1"))
