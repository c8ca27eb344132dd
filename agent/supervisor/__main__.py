"""``python -m agent.supervisor --config FILE``: keep the units of one emulated machine until SIGTERM.

Exit codes: 0 stopped in order, 1 it could not start, 2 a wrong configuration.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from agent.errors import ConfigInvalid, NeedsPerson, Refused
from agent.runtime import event_log
from agent.runtime.clock import SystemClock
from agent.runtime.systemd import Notifier
from agent.supervisor.door import Door
from agent.supervisor.folders import opened
from agent.supervisor.keeper import Keeper
from agent.supervisor.settings import SupervisorSettings, read_settings

EXIT_DONE, EXIT_FAILED, EXIT_USAGE = 0, 1, 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run until told to stop; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m agent.supervisor", description="Keeps the units of a demo.")
    parser.add_argument("--config", type=Path, required=True, metavar="FILE")
    options = parser.parse_args(argv)
    try:
        settings = read_settings(options.config)
    except ConfigInvalid as err:
        print(err, file=sys.stderr)
        return EXIT_USAGE
    event_log.configure("info", lambda text: text)
    try:
        with _sole_keeper(settings):
            return asyncio.run(_keep(settings))
    except (NeedsPerson, Refused, OSError) as err:
        print(f"supervisor: {err}", file=sys.stderr)
        return EXIT_FAILED


@contextlib.contextmanager
def _sole_keeper(settings: SupervisorSettings) -> Iterator[None]:
    """The folders are there, and no other supervisor works in this one."""
    root = Path(settings.folder)
    for relative in (settings.log, str(PurePosixPath(settings.ledger).parent)):
        with opened(root, relative, make=True):
            pass
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as err:
            raise NeedsPerson(f"another supervisor keeps {root}", hint="stop it first") from err
        yield
    finally:
        os.close(folder)


async def _keep(settings: SupervisorSettings) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    notifier = Notifier.from_environment()
    keeper = Keeper(settings, SystemClock())
    door = Door(Path(settings.folder), settings.socket, keeper)
    await door.open()
    ending = asyncio.create_task(stop.wait())
    starting = asyncio.create_task(keeper.power_on())
    try:
        await asyncio.wait([ending, starting], return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            notifier.send("READY=1", "STATUS=all units were started")
            await ending
        return EXIT_DONE
    finally:
        notifier.send("STOPPING=1")
        ending.cancel()
        starting.cancel()
        await door.close()
        await keeper.power_off()


if __name__ == "__main__":
    sys.exit(main())
