"""An emulated board: folders that look like ``/proc``, ``/sys`` and ``/dev`` of a terminal and live, with faults.

Give them to the agent as ``[paths] procfs sysfs dev``. Files are replaced, never changed in place: a reader sees whole
ones. Any file or folder can vanish, be empty, hold rubbish, or block its reader for ever (a FIFO). ``reboot``
gives a new ``boot_id`` and lets every counter begin anew; ending processes is left to whoever supervises them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import shutil
import uuid
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from drivers.emulators import board_files
from drivers.emulators.board_files import Counters, Settings, files
from drivers.emulators.control import ControlError, ControlServer
from drivers.emulators.program import check_settings, run_program

_RUBBISH = b"\x00\xff rubbish \xfe\x00\n"
_BROKEN = ("vanish", "empty", "rubbish", "block")
_MARK = ".emulated-board"
_TOPS = ("proc", "sys", "dev")
_LINK = "dev/input/by-path/platform-keypad-event-kbd"
_RANGES = {
    **dict.fromkeys(("memory_available_pct", "battery_pct", "brightness"), (0, 100)),
    **dict.fromkeys(("cpu_busy_pct", "cpu_pressure_pct", "memory_pressure_pct", "io_pressure_pct"), (0, 100)),
    **{"temperature_c": (-273, 1000), "wear": (0, 11), "reserve_wear": (0, 3)},
    **dict.fromkeys(("oom_kills", "ext4_errors", "network_errors_per_s"), (0, 1_000_000)),
}


class BoardEmulator:
    """Runs on the event loop that calls `start`. ``folder`` is made; only what is below its three parts is touched."""

    def __init__(
        self, folder: Path, control: Path | None = None, *, step_s: float = 1.0, uptime_s: float = 60.0
    ) -> None:
        """``step_s``: how often the counters advance. ``uptime_s``: how long the board has been up at the start."""
        self.folder = folder
        self.settings = Settings()
        self.counters = Counters()
        self.boot_id = str(uuid.uuid4())
        self._control = ControlServer(control, self._handle) if control is not None else None
        self._step_s = step_s
        self._uptime_s = uptime_s
        self._written: dict[str, bytes] = {}
        self._blocked: set[str] = set()
        self._nodes: set[str] = set()
        self._passed_s = 0.0
        self._living: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Raises `ControlError` when the folder holds something else, `OSError` when it cannot be made."""
        self._make_folder()
        if self._control is not None:
            await self._control.start()
        self.counters.uptime_s = self._uptime_s
        self._passed_s = asyncio.get_running_loop().time()
        self._write()
        self._living = asyncio.get_running_loop().create_task(self._live())

    async def stop(self) -> None:
        """Free blocked readers and remove everything that was made."""
        if self._living is not None:
            self._living.cancel()
            await asyncio.gather(self._living, return_exceptions=True)
            self._living = None
            self._remove_all()
        if self._control is not None:
            await self._control.stop()

    # ── control ────────────────────────────────────────────────────────────────────────────────────────────────
    def apply(self, settings: dict[str, Any]) -> None:
        """Change settings by name: all of them or, with `ControlError`, none. In force when it returns."""
        check_settings(settings, self.settings)
        for name, value in settings.items():
            least, most = _RANGES.get(name, (None, None))
            if least is not None and most is not None and not least <= value <= most:
                raise ControlError(f"{name} is a number from {least} to {most}")
        after = replace(self.settings, **settings)
        for name in _BROKEN:
            for path in _paths(getattr(after, name)):
                if path.split("/")[0] not in _TOPS or ".." in path.split("/"):
                    raise ControlError(f"{name} takes paths below {', '.join(_TOPS)}, such as proc/meminfo")
        self._pass_time()
        self.counters.carrier_changes += after.carrier != self.settings.carrier
        self.settings = after
        self._write()

    def reboot(self) -> None:
        """As after a start: another boot id, counters from the beginning. Settings stay, as hardware does."""
        self.boot_id = str(uuid.uuid4())
        self.counters = Counters(boots=self.counters.boots + 1)
        self._write()

    def view(self) -> dict[str, Any]:
        """Folder, settings and counters."""
        state = asdict(self.settings) | {"boot_id": self.boot_id}
        counters = {name: round(value) for name, value in asdict(self.counters).items()}
        return {"port": str(self.folder), "state": state, "counters": counters}

    def _handle(self, request: dict[str, Any]) -> dict[str, Any]:
        match request:
            case {"set": dict(settings), **rest} if not rest:
                self.apply(settings)
            case {"do": "reboot", **rest} if not rest:
                self.reboot()
            case {"get": True, **rest} if not rest:
                pass
            case _:
                raise ControlError('a request is {"get": true}, {"set": {…}} or {"do": "reboot"}')
        return self.view()

    # ── the files ──────────────────────────────────────────────────────────────────────────────────────────────
    async def _live(self) -> None:
        while True:
            await asyncio.sleep(self._step_s)
            self._pass_time()
            self._write()

    def _pass_time(self) -> None:
        now_s = asyncio.get_running_loop().time()
        self.counters.advance(now_s - self._passed_s, self.settings)
        self._passed_s = now_s

    def _make_folder(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        mark = self.folder / _MARK
        taken = [top for top in _TOPS if os.path.lexists(self.folder / top)]
        if taken and not mark.exists():
            raise ControlError(f"{self.folder / taken[0]} exists and is of no emulated board")
        mark.touch()
        self._remove_parts()  # of one that was killed

    def _remove_all(self) -> None:
        for path in list(self._blocked):
            self._unblock(path)
        self._remove_parts()
        (self.folder / _MARK).unlink(missing_ok=True)
        try:
            self.folder.rmdir()
        except OSError:  # somebody keeps something else there
            return

    def _remove_parts(self) -> None:
        for top in _TOPS:
            shutil.rmtree(self.folder / top, ignore_errors=True)
        self._written.clear()
        self._nodes.clear()

    def _write(self) -> None:
        """Bring the folder to what settings and counters say; what has not changed is left alone."""
        wanted = files(self.settings, self.counters, self.boot_id)
        blocked = {path for path in wanted if _is_below(path, _paths(self.settings.block))}
        for path in [path for path in self._blocked if path not in blocked]:
            self._unblock(path)
        vanished = _paths(self.settings.vanish)
        gone = [path for path in self._written if path not in wanted or _is_below(path, vanished)]
        for path in gone:
            (self.folder / path).unlink(missing_ok=True)
            del self._written[path]
        if gone:
            self._remove_empty_folders()
        for path, content in wanted.items():
            if path in blocked:
                self._block(path)
            elif not _is_below(path, vanished):
                self._put(path, self._broken(path, content))
        self._follow_nodes()

    def _broken(self, path: str, content: bytes) -> bytes:
        if _is_below(path, _paths(self.settings.empty)):
            return b""
        return _RUBBISH if _is_below(path, _paths(self.settings.rubbish)) else content

    def _put(self, path: str, content: bytes) -> None:
        if self._written.get(path) == content:
            return
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = self.folder / ".next"
        beside.write_bytes(content)
        beside.replace(target)
        self._written[path] = content

    def _block(self, path: str) -> None:
        if path in self._blocked:
            return
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        os.mkfifo(target)
        self._written.pop(path, None)
        self._blocked.add(path)

    def _unblock(self, path: str) -> None:
        """Readers that hang in it come back with nothing."""
        target = self.folder / path
        with contextlib.suppress(OSError):  # nobody is reading
            os.close(os.open(target, os.O_WRONLY | os.O_NONBLOCK))
        target.unlink(missing_ok=True)
        self._blocked.discard(path)

    def _remove_empty_folders(self) -> None:
        """A device that is gone leaves no folder in sysfs. Deepest first; one that holds anything stays."""
        for top in ("proc", "sys"):
            for folder, _folders, names in os.walk(self.folder / top, topdown=False):
                if not names and not os.listdir(folder):
                    os.rmdir(folder)

    def _follow_nodes(self) -> None:
        """Device nodes as udev makes them when the kernel says so; an emulated keypad may put itself in the place.

        FIFOs: whoever opened one would hang, so it would be seen that the agent did.
        """
        is_gone = {
            board_files.KEYPAD_EVENT: self.settings.keypad_gone,
            board_files.TOUCH_EVENT: self.settings.touch_gone,
        }
        events = {event for event, gone in is_gone.items() if not gone}
        folder = self.folder / "dev/input"
        (folder / "by-path").mkdir(parents=True, exist_ok=True)
        for event in events - self._nodes:
            os.mkfifo(folder / event, 0o600)
        for event in self._nodes - events:
            (folder / event).unlink(missing_ok=True)
        self._nodes = events
        link = self.folder / _LINK
        if self.settings.keypad_gone:
            link.unlink(missing_ok=True)
        elif not link.is_symlink():
            link.symlink_to(f"../{board_files.KEYPAD_EVENT}")


def _paths(text: str) -> list[str]:
    return [path.strip().strip("/") for path in text.split(",") if path.strip()]


def _is_below(path: str, broken: Iterable[str]) -> bool:
    return any(path == one or path.startswith(f"{one}/") for one in broken)


def run_emulator(argv: list[str]) -> int:
    """Command line. Runs until SIGTERM or SIGINT, then removes its files. Exit code as in `run_program`."""
    parser = argparse.ArgumentParser(prog="pos-agent emulate board", description="A terminal's /proc, /sys and /dev.")
    parser.add_argument("--folder", type=Path, required=True, help="where proc, sys and dev are made")
    parser.add_argument("--control", type=Path, required=True, help="unix socket that takes commands")
    parser.add_argument("--state", default="", help="state to begin with: keypad_gone,temperature_c=95,…")
    parser.add_argument(
        "--uptime", type=float, default=60.0, metavar="SECONDS", help="for how long it has been up (60)"
    )
    arguments = parser.parse_args(argv)
    folder, control = arguments.folder.absolute(), arguments.control.absolute()
    socat = f"socat - UNIX-CONNECT:{control}"
    explanation = (
        f"board emulator: folder {folder}, control {control}\n"
        f'  for the agent:  [paths] procfs = "{folder}/proc", sysfs = "{folder}/sys", dev = "{folder}/dev"\n'
        f'  keypad gone:    echo \'{{"set": {{"keypad_gone": true}}}}\' | {socat}\n'
        f'  a file blocks:  echo \'{{"set": {{"block": "proc/meminfo"}}}}\' | {socat}\n'
        f'  reboot:         echo \'{{"do": "reboot"}}\' | {socat}\n'
        f"  all settings:   echo '{{\"get\": true}}' | {socat}"
    )
    return run_program("board", BoardEmulator(folder, control, uptime_s=arguments.uptime), arguments.state, explanation)
