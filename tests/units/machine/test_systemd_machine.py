"""The agent's adapter for systemd, with the real helper behind a stand-in for systemctl."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from agent.errors import Refused, Unavailable
from agent.machine.systemd import SystemdMachine
from agent.runtime.clock import SystemClock
from tests.kit.helper_host import ASK, Host


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.fixture
def machine(host: Host) -> SystemdMachine:
    units = frozenset({"payment.service", "ssh.service"})
    return SystemdMachine(
        host.run,
        SystemClock(),
        units=units,
        own_unit="pos-agent.service",
        procfs=host.places.procfs,
        cgroups=host.run.parent / "cgroup",
        systemd_run=host.run.parent / "systemd",
        answers=host.answers,
    )


@pytest.fixture
async def path_unit(host: Host) -> Any:
    """Starts the helper whenever a request stands in the folder, as systemd does."""

    async def watch() -> None:
        while True:
            if any(host.requests.iterdir()):
                await asyncio.to_thread(host.helper_runs)
            await asyncio.sleep(0.02)

    watching = asyncio.create_task(watch())
    yield
    watching.cancel()
    await asyncio.wait([watching])


@pytest.mark.usefixtures("path_unit")
async def test_the_adapter_and_the_helper_understand_each_other(machine: SystemdMachine, host: Host) -> None:
    state = await machine.restart("payment.service", "cmd-1")
    assert (state.unit, state.active, state.main_pid) == ("payment.service", "active", 4711)
    assert await machine.restart("payment.service", "cmd-1") == state
    await machine.reboot("cmd-2")
    with pytest.raises(Refused) as caught:
        await machine.restart("ssh.service", "cmd-3")  # on the agent's list, not on root's
    assert caught.value.reason == "INVALID_ARGUMENTS"
    assert host.asked().count("restart -- payment.service") == 1


async def test_the_adapter_asks_nobody_about_a_unit_that_is_not_listed(machine: SystemdMachine, host: Host) -> None:
    for ask in (machine.restart("cron.service", "cmd-1"), machine.unit_state("cron.service")):
        with pytest.raises(Refused):
            await ask
    assert list(host.requests.iterdir()) == []


async def test_a_request_nobody_took_is_taken_back(machine: SystemdMachine, host: Host) -> None:
    asking = asyncio.create_task(machine.restart("payment.service", "cmd-1"))
    while not list(host.requests.iterdir()):
        await asyncio.sleep(0.005)
    asking.cancel()
    await asyncio.wait([asking])
    assert host.helper_runs() == 0
    assert host.asked() == []


async def test_an_answer_to_an_earlier_question_is_not_taken_for_this_one(machine: SystemdMachine, host: Host) -> None:
    host.ask("cmd-1", "restart", "payment.service")
    asking = asyncio.create_task(machine.restart("payment.service", "cmd-1"))
    while not list(host.requests.iterdir()):
        await asyncio.sleep(0.005)
    await asyncio.sleep(0.2)  # the old answer stands there all the while
    assert not asking.done()
    assert await asyncio.to_thread(host.helper_runs) == 1
    assert (await asking).active == "active"


async def test_without_the_helper_nothing_is_known(machine: SystemdMachine, host: Host) -> None:
    host.answers.rmdir()
    with pytest.raises(Unavailable):
        await machine.restart("payment.service", "cmd-1")


@pytest.mark.parametrize(
    "hierarchy",
    [
        *("system.slice", "systemd/system.slice", "unified/system.slice"),
        *("system.slice/system-payment.slice", "payment.slice", "shop.slice/shop-payment.slice"),
    ],
)
async def test_a_units_state_is_read_where_anybody_may_read_it(
    machine: SystemdMachine, host: Host, hierarchy: str
) -> None:
    base = host.run.parent
    assert (await machine.unit_state("payment.service")).active == "inactive"
    invocations = base / "systemd/units"
    invocations.mkdir(parents=True)
    (invocations / "invocation:payment.service").symlink_to(ASK)
    state = await machine.unit_state("payment.service")
    assert (state.active, state.invocation, state.main_pid) == ("activating", ASK, None)
    group = base / "cgroup" / hierarchy / "payment.service"
    group.mkdir(parents=True)
    (group / "cgroup.procs").write_text("70\n71\n")
    for pid, parent in ((70, 1), (71, 70)):
        (host.places.procfs / str(pid)).mkdir()
        (host.places.procfs / f"{pid}/stat").write_text(f"{pid} (a) b) S {parent} 1 1\n")
    state = await machine.unit_state("payment.service")
    assert (state.active, state.main_pid) == ("active", 70)
