"""An emulator as a program: starts, says how to talk to it, runs until SIGTERM or SIGINT, removes its files."""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import Any, Protocol

from drivers.emulators.control import ControlError


class Emulator(Protocol):
    """What is run."""

    async def start(self) -> None:
        """Raises `ControlError` when a path is taken by something else, `OSError` when it cannot be made."""
        ...

    def apply(self, settings: dict[str, Any]) -> None:
        """Change its state by name: all of it or, with `ControlError`, none."""
        ...

    async def stop(self) -> None:
        """Remove what it has made."""
        ...


def run_program(name: str, emulator: Emulator, state: str, explanation: str) -> int:
    """Run it.

    Args:
        state: To begin with, as typed: ``paper_end,slow=0.5``.
        explanation: Printed once it runs.

    Returns:
        0 after a stop, 1 when the paths cannot be used, 2 for an unknown state or paths that are taken.
    """
    try:
        return asyncio.run(_run(emulator, parse_state(state), explanation))
    except ControlError as err:
        print(f"{name} emulator: {err}", file=sys.stderr)
        return 2
    except OSError as err:
        print(f"{name} emulator: {err.filename or 'its files'}: {err.strerror}", file=sys.stderr)
        return 1


async def _run(emulator: Emulator, settings: dict[str, Any], explanation: str) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await emulator.start()
    try:
        emulator.apply(settings)
        print(explanation, flush=True)
        await stop.wait()
    finally:
        await emulator.stop()
    return 0


def parse_state(text: str) -> dict[str, Any]:
    """``paper_end,slow=0.5,block=proc/stat`` → settings; their meaning is checked by the emulator's ``apply``."""
    settings: dict[str, Any] = {}
    for item in filter(None, (word.strip() for word in text.split(","))):
        name, has_value, value = item.partition("=")
        settings[name] = _value(value) if has_value else True
    return settings


def _value(text: str) -> bool | float | str:
    if text in {"true", "false"}:
        return text == "true"
    try:
        return float(text)
    except ValueError:
        return text


def check_settings(settings: dict[str, Any], state: object) -> None:
    """Each name is a field of the dataclass ``state`` and each value of its type; numbers may be whole.

    Raises:
        ControlError: One is not.
    """
    known = vars(state)
    for name, value in settings.items():
        if name not in known:
            raise ControlError(f"no such state; there are: {', '.join(sorted(known))}")
        match known[name]:
            case bool():
                fits, form = isinstance(value, bool), "true or false"
            case str():
                fits, form = isinstance(value, str), "text"
            case _:
                fits, form = isinstance(value, int | float) and not isinstance(value, bool), "a number"
        if not fits:
            raise ControlError(f"{name} is {form}")
