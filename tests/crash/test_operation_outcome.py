"""Resets, reinits and what goes with them, killed with SIGKILL at every journal point, found by running.

One outcome each, and the effect is counted by others: the printer's emulator, and the keeper of the machine's units.
Several terminals share the points of a command, because each spends most of its time waiting.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from agent.runtime.identifiers import uuid7
from tests.kit.stepped_terminal import SteppedTerminal

TERMINALS = 3


@dataclass(frozen=True)
class Kind:
    """One command. ``effect``: how often it took place by others' count; ``once``: it may never be repeated by itself.

    ``anew``: the agent forgets its past before each try, where even two people cannot pass the limit of tries.
    """

    name: str
    arguments: dict[str, Any]
    effect: Callable[[SteppedTerminal, str], int] | None
    once: bool = False
    anew: bool = False


def _counter(name: str) -> Callable[[SteppedTerminal, str], int]:
    return lambda terminal, _command_id: terminal.control.get().counters[name]


def _acts(terminal: SteppedTerminal, command_id: str) -> int:
    return terminal.acts(command_id)


DEVICE = {"device": "printer-0"}
FORCED = {"force": True}
KINDS = {
    "rebirth": Kind("rebirth", {}, None),
    "reset reread": Kind("reset", {"level": "reread", **DEVICE}, None),
    "reset device": Kind("reset", {"level": "device", **DEVICE, **FORCED}, _counter("recovery_requests"), once=True),
    "reinit device": Kind("reinit", {"scope": "device", **DEVICE}, _counter("initialisations"), once=True, anew=True),
    "reset app": Kind("reset", {"level": "app", **FORCED}, _acts),
    "reinit app": Kind("reinit", {"scope": "app"}, _acts, anew=True),
    "reset the agent": Kind("reset", {"level": "service", **FORCED}, _acts),
    "reset reboot": Kind("reset", {"level": "reboot"}, _acts, anew=True),
}


@pytest.fixture(scope="module")
def terminals(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[SteppedTerminal]]:
    with ExitStack() as stack:
        yield [stack.enter_context(SteppedTerminal(tmp_path_factory.mktemp("t"))) for _ in range(TERMINALS)]


@pytest.fixture
def terminal(terminals: list[SteppedTerminal]) -> SteppedTerminal:
    return terminals[0]


def _run(terminal: SteppedTerminal, kind: Kind, kill_at: int) -> tuple[str, str, int]:
    """One order, killed at one point or never; its id, its final state and how often the effect took place."""
    if kind.anew:
        terminal.begin_anew()
    terminal.at_rest()
    command_id = uuid7()
    before = kind.effect(terminal, command_id) if kind.effect else 0
    envelope = terminal.order(kind.name, kind.arguments, command_id)
    terminal.steps.arm(kill_at)
    terminal.carry_in(envelope)
    if kill_at:
        assert terminal.steps.killed.wait(60), f"point {kill_at} was not reached: {terminal.steps.points}"
    state = terminal.final_state(command_id, again=[envelope])
    after = kind.effect(terminal, command_id) if kind.effect else 0
    return command_id, state, after - before


def _discover(terminal: SteppedTerminal, kind: Kind) -> list[str]:
    _command_id, state, effects = _run(terminal, kind, 0)
    assert (state, effects) == ("succeeded", 1 if kind.effect else 0), terminal.log()
    terminal.at_rest()
    terminal.steps.disarm()
    return list(terminal.steps.points)


def _check(terminal: SteppedTerminal, kind: Kind, points: list[str], number: int) -> str:
    """Kill it at one point; what came of it, which is as it must be."""
    command_id, state, effects = _run(terminal, kind, number)
    outcome = f"{points[number - 1]}: {state}, effect {effects}"
    told = terminal.told(command_id)
    assert told["state"] == state, "a final state never changes"
    if kind.effect is None:
        assert state == "succeeded", outcome
    elif kind.once:
        assert state in {"succeeded", "failed"}, outcome
        assert effects <= 1, outcome
        if state == "succeeded":
            assert effects == 1, outcome
        else:
            assert told["reason"]["code"] == "INTERRUPTED", told
    else:
        assert (state, effects) == ("succeeded", 1), (outcome, told)
    return outcome


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", list(KINDS))
def test_an_operation_has_one_outcome_wherever_the_agent_dies(terminals: list[SteppedTerminal], name: str) -> None:
    kind = KINDS[name]
    points = _discover(terminals[0], kind)
    assert len(points) >= 6, f"accepted, running and final, each before and after: {points}"

    def take_a_share(index: int) -> dict[int, str]:
        numbers = range(1 + index, len(points) + 1, len(terminals))
        return {number: _check(terminals[index], kind, points, number) for number in numbers}

    with ThreadPoolExecutor(len(terminals)) as pool:
        shares = list(pool.map(take_a_share, range(len(terminals))))
    outcomes = {number: outcome for share in shares for number, outcome in share.items()}
    assert sorted(outcomes) == list(range(1, len(points) + 1))
    print(
        f"\n{name}: killed at each of {len(points)} journal points",
        *dict(sorted(outcomes.items())).values(),
        sep="\n  ",
    )


@pytest.mark.timeout(600)
def test_a_cancelled_order_has_one_outcome_wherever_the_agent_dies(terminal: SteppedTerminal) -> None:
    """The target waits for its window; the order to cancel it is killed at each of its points and of the target's."""
    now = datetime.now(UTC).astimezone()
    window = {"from": f"{(now.hour + 11) % 24:02d}:00", "to": f"{(now.hour + 12) % 24:02d}:00"}
    before = terminal.control.get().counters["recovery_requests"]
    outcomes: list[str] = []
    points: list[str] = []
    number = 0
    while number <= len(points):
        target_id, cancel_id = uuid7(), uuid7()
        terminal.at_rest()
        terminal.carry_in(terminal.order("reset", {"level": "device", **DEVICE}, target_id, window=window))
        while terminal.states().get(target_id) != "waiting":
            pass
        envelope = terminal.order("cancel", {"command_id": target_id}, cancel_id)
        terminal.steps.arm(number)
        terminal.carry_in(envelope)
        if number:
            assert terminal.steps.killed.wait(60), f"point {number} was not reached: {terminal.steps.points}"
        cancel = terminal.final_state(cancel_id, again=[envelope])
        target = terminal.final_state(target_id)
        assert (cancel, target) == ("succeeded", "cancelled"), (number, points)
        told = terminal.told(target_id)
        assert (told["state"], told["reason"]["code"]) == ("cancelled", "CANCELLED")
        if not number:
            terminal.at_rest()
            terminal.steps.disarm()
            points = list(terminal.steps.points)
            assert len(points) >= 8
        else:
            outcomes.append(points[number - 1])
        number += 1
    assert terminal.control.get().counters["recovery_requests"] == before, "what was cancelled was never done"
    print(f"\ncancel: killed at each of {len(outcomes)} journal points", *outcomes, sep="\n  ")


def test_what_a_reboot_leaves_in_its_result_proves_it(terminal: SteppedTerminal) -> None:
    terminal.begin_anew()
    before, reboots, command_id = terminal.machine.boot_id(), terminal.reboots(), uuid7()
    terminal.carry_in(terminal.order("reset", {"level": "reboot"}, command_id))
    assert terminal.final_state(command_id) == "succeeded"
    result = terminal.told(command_id)["result"]
    assert (result["boot_id_before"], result["boot_id"]) == (before, terminal.machine.boot_id())
    assert before != terminal.machine.boot_id()
    assert terminal.reboots() == reboots + 1
    assert json.dumps(result).count("null") == 0
