"""What a run consists of: steps, in order, each saying what an interruption in its middle means."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import Enum

from msgspec import Struct

from agent.errors import Refused


class IfInterrupted(Enum):
    """What to do after a crash or power cut in the middle of a step."""

    REPEAT = "repeat"  # doing it again is harmless
    FAIL = "fail"  # nobody can know whether it happened: the run fails, a person looks


class StepContext(Struct, frozen=True):
    """What a step is told: for which order it acts, and which attempt this is, from 1.

    ``result`` is the run's result so far, JSON, as the steps before left it: what they found out survives a restart.
    """

    command_id: str
    attempt: int
    result: bytes | None = None


Perform = Callable[[StepContext], Awaitable[Struct | None]]


class Futile(Refused):
    """A step's refusal that another attempt would only repeat: the run fails at once."""


class Step(Struct, frozen=True):
    """One act. ``perform`` returns what becomes the run's result (None keeps the one before).

    It raises `agent.errors.Refused` with a ``reason`` of its own, or any other error (``STEP_FAILED``). It is given
    ``timeout_s`` and tried at most ``max_attempts`` times, ``retry_after_s`` apart; a restart counts as an attempt.
    ``may_cancel``: before it and in its middle the run may be given up, and the terminal is as it was; ``perform`` is
    cancelled then.
    """

    name: str
    perform: Perform
    if_interrupted: IfInterrupted
    timeout_s: float
    max_attempts: int = 1
    retry_after_s: float = 1.0
    may_cancel: bool = False


class Plan(Struct, frozen=True):
    """All steps of a run, at least one. An ``exclusive`` run has the terminal for itself; others run beside it."""

    steps: tuple[Step, ...]
    exclusive: bool = True
