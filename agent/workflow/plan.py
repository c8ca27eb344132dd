"""What a run consists of: steps, in order, each saying what an interruption in its middle means."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum

from msgspec import Struct


class IfInterrupted(Enum):
    """What to do after a crash or power cut in the middle of a step."""

    REPEAT = "repeat"  # doing it again is harmless
    FAIL = "fail"  # nobody can know whether it happened: the run fails, a person looks


@dataclass(frozen=True, slots=True)
class StepContext:
    """What a step is told: for which order it acts, and which attempt this is, from 1."""

    command_id: str
    attempt: int


Perform = Callable[[StepContext], Awaitable[Struct | None]]


@dataclass(frozen=True, slots=True)
class Step:
    """One act. ``perform`` returns what becomes the run's result (None keeps the one before).

    It raises `agent.errors.Refused` with a ``reason`` of its own, or any other error (``STEP_FAILED``). It is given
    ``timeout_s`` and tried at most ``max_attempts`` times, ``retry_after_s`` apart; a restart counts as an attempt.
    """

    name: str
    perform: Perform
    if_interrupted: IfInterrupted
    timeout_s: float
    max_attempts: int = 1
    retry_after_s: float = 1.0


@dataclass(frozen=True, slots=True)
class Plan:
    """All steps of a run, at least one. An ``exclusive`` run has the terminal for itself; others run beside it."""

    steps: tuple[Step, ...]
    exclusive: bool = True
