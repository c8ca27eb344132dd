"""The supervisor as the agent meets it: a real process with real children, each act done once per order."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.errors import Refused, Unavailable
from tests.kit.broker import eventually
from tests.kit.supervisor import SupervisorProcess, application, is_running


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[SupervisorProcess]:
    units = [application("payment", cache=["cache/payment"]), application("shop", after=["payment.service"])]
    with SupervisorProcess(tmp_path, units) as supervisor:
        yield supervisor


async def test_a_restart_gives_the_unit_another_process_and_leaves_the_others(terminal: SupervisorProcess) -> None:
    machine = terminal.machine()
    before = await machine.unit_state("payment.service")
    after = await machine.restart("payment.service", "cmd-1")
    assert (before.active, after.active) == ("active", "active")
    assert before.main_pid != after.main_pid
    assert before.invocation != after.invocation
    await eventually(lambda: len(terminal.starts("payment")) == 2)
    assert len(terminal.starts("shop")) == 1


async def test_the_same_order_asked_again_acts_once_and_says_how_it_ended(terminal: SupervisorProcess) -> None:
    machine = terminal.machine()
    first = await machine.restart("payment.service", "cmd-1")
    again = await asyncio.gather(*(machine.restart("payment.service", "cmd-1") for _ in range(5)))
    assert set(again) == {first}
    assert terminal.ask(verb="counters")["counters"]["acts"] == {"cmd-1": 1}
    await eventually(lambda: len(terminal.starts("payment")) == 2)


async def test_askers_at_the_same_time_share_one_act(terminal: SupervisorProcess) -> None:
    machine = terminal.machine()
    states = await asyncio.gather(*(machine.restart("payment.service", "cmd-1") for _ in range(8)))
    assert len(set(states)) == 1
    await eventually(lambda: len(terminal.starts("payment")) == 2)


async def test_an_order_id_belongs_to_one_act(terminal: SupervisorProcess) -> None:
    machine = terminal.machine()
    await machine.restart("payment.service", "cmd-1")
    with pytest.raises(Refused) as caught:
        await machine.restart("shop.service", "cmd-1")
    assert caught.value.reason == "INVALID_ARGUMENTS"
    assert len(terminal.starts("shop")) == 1


async def test_reinitialise_empties_the_units_own_cache_and_nothing_else(terminal: SupervisorProcess) -> None:
    cache = terminal.folder / "cache/payment"
    await eventually(cache.is_dir)
    (cache / "deep").mkdir()
    (cache / "deep" / "file").write_text("x")
    kept = terminal.folder / "state/journal"
    kept.write_text("records")
    (cache / "link").symlink_to(kept.parent)
    state = await terminal.machine().reinitialise("payment.service", "cmd-1")
    assert state.active == "active"
    assert list(cache.iterdir()) == []
    assert kept.read_text() == "records"
    await eventually(lambda: len(terminal.starts("payment")) == 2)


async def test_a_cache_folder_that_became_a_link_is_refused_and_the_unit_runs_all_the_same(
    terminal: SupervisorProcess, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (outside / "precious").write_text("x")
    cache = terminal.folder / "cache/payment"
    await eventually(cache.is_dir)
    cache.rmdir()
    cache.symlink_to(outside)
    with pytest.raises(Refused) as caught:
        await terminal.machine().reinitialise("payment.service", "cmd-1")
    assert caught.value.reason == "STEP_FAILED"
    assert (outside / "precious").read_text() == "x"
    assert (await terminal.machine().unit_state("payment.service")).active == "active"


async def test_a_reboot_ends_and_starts_everything_under_another_boot_id(terminal: SupervisorProcess) -> None:
    machine = terminal.machine()
    before = machine.boot_id()
    old = [terminal.starts(name)[0] for name in ("payment", "shop")]
    await machine.reboot("cmd-1")
    await eventually(lambda: machine.boot_id() != before)
    await eventually(lambda: all(len(terminal.starts(name)) == 2 for name in ("payment", "shop")))
    assert not any(is_running(pid) for pid in old)
    await machine.reboot("cmd-1")  # done already
    assert terminal.ask(verb="counters")["counters"]["reboots"] == 1


async def test_a_second_reboot_within_ten_minutes_is_refused(terminal: SupervisorProcess) -> None:
    machine = terminal.machine()
    await machine.reboot("cmd-1")
    with pytest.raises(Refused) as caught:
        await machine.reboot("cmd-2")
    assert caught.value.reason == "TOO_MANY_TRIES"
    assert terminal.ask(verb="counters")["counters"]["acts"] == {"cmd-1": 1}


@pytest.mark.parametrize("unit", ["ssh.service", "pos-agent.service"])
async def test_a_unit_that_is_not_the_supervisors_is_refused(terminal: SupervisorProcess, unit: str) -> None:
    answer = terminal.ask(verb="restart", unit=unit, order_id="cmd-1")
    assert answer["outcome"]["end"] == "refused"
    assert answer["outcome"]["reason"] == "INVALID_ARGUMENTS"
    assert "problem" in terminal.ask(verb="state", unit=unit)


async def test_the_adapter_refuses_a_unit_that_is_not_listed_without_asking(tmp_path: Path) -> None:
    machine = SupervisorProcess(tmp_path, [application("payment")]).machine()
    for ask in (machine.unit_state("ssh.service"), machine.restart("ssh.service", "cmd-1")):
        with pytest.raises(Refused):
            await ask


async def test_without_a_supervisor_nothing_is_known(tmp_path: Path) -> None:
    machine = SupervisorProcess(tmp_path, [application("payment")]).machine()
    with pytest.raises(Unavailable):
        await machine.restart("payment.service", "cmd-1")


@pytest.mark.parametrize(
    "line",
    [
        b"[]\n",
        b"{}\n",
        b'{"verb": "poweroff"}\n',
        b'{"verb": "restart", "unit": "payment.service"}\n',
        b'{"verb": "restart", "order_id": "cmd-1"}\n',
        b'{"verb": "reboot", "order_id": "cmd-1", "unit": "payment.service"}\n',
        b'{"verb": "restart", "unit": "../payment.service", "order_id": "cmd-1"}\n',
        b'{"verb": "restart", "unit": "payment.service", "order_id": "../cmd"}\n',
        b'{"verb": "state"}\n',
        b"\xff\xfe\n",
    ],
)
async def test_a_line_that_is_no_request_is_answered_and_changes_nothing(
    terminal: SupervisorProcess, line: bytes
) -> None:
    assert set(terminal.ask_raw(line)) == {"problem"}
    assert terminal.ask(verb="counters")["counters"]["acts"] == {}


async def test_a_line_without_end_costs_its_own_connection_only(terminal: SupervisorProcess) -> None:
    assert terminal.ask_raw(b"x" * 100_000) == {"closed": True}
    assert terminal.ask(verb="state", unit="payment.service")["state"]["active"] == "active"


async def test_the_socket_is_for_its_own_user_alone(terminal: SupervisorProcess) -> None:
    assert terminal.socket.stat().st_mode & 0o777 == 0o600


async def test_an_act_that_a_killed_supervisor_left_open_is_called_interrupted_and_not_repeated(
    terminal: SupervisorProcess,
) -> None:
    await terminal.machine().restart("payment.service", "cmd-0")
    terminal.kill()
    ledger = terminal.folder / "state/machine.json"
    book = json.loads(ledger.read_text())
    book["entries"][0]["outcome"] = None  # as it stands on disk between the mark and the end of the act
    ledger.write_text(json.dumps(book))
    terminal.start()
    starts = len(terminal.starts("payment"))
    with pytest.raises(Refused) as caught:
        await terminal.machine().restart("payment.service", "cmd-0")
    assert caught.value.reason == "INTERRUPTED"
    assert len(terminal.starts("payment")) == starts


async def test_wherever_the_supervisor_is_killed_an_act_is_begun_at_most_once(tmp_path: Path) -> None:
    stubborn = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); signal.pause()"
    )
    slow = {"name": "slow.service", "argv": ["/usr/bin/python3", "-c", stubborn], "stop_s": 60.0}
    with SupervisorProcess(tmp_path, [slow]) as supervisor:
        await eventually(lambda: b"up" in (tmp_path / "log/slow.service.log").read_bytes())  # it takes no SIGTERM now
        asking = asyncio.create_task(supervisor.machine().restart("slow.service", "cmd-1"))
        ledger = tmp_path / "state/machine.json"
        await eventually(lambda: ledger.exists() and b"cmd-1" in ledger.read_bytes())
        supervisor.kill()  # while it waits for the old process to end
        with pytest.raises(Unavailable):
            await asking
        supervisor.start()
        with pytest.raises(Refused) as caught:
            await supervisor.machine().restart("slow.service", "cmd-1")
        assert caught.value.reason == "INTERRUPTED"
        counters = supervisor.ask(verb="counters")["counters"]
        assert counters["acts"] == {"cmd-1": 1}
        assert counters["units"][0]["starts"] == 1


async def test_a_reboot_in_which_the_supervisor_dies_has_happened_once_it_is_back(tmp_path: Path) -> None:
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); signal.pause()"
    slow = {"name": "slow.service", "argv": ["/usr/bin/python3", "-c", stubborn], "stop_s": 60.0}
    with SupervisorProcess(tmp_path, [slow]) as supervisor:
        await eventually(lambda: b"up" in (tmp_path / "log/slow.service.log").read_bytes())
        before = supervisor.boot_id()
        await supervisor.machine().reboot("cmd-1")  # under way: it waits for the old process
        supervisor.kill()
        supervisor.start()
        await supervisor.machine().reboot("cmd-1")
        assert supervisor.boot_id() != before
        counters = supervisor.ask(verb="counters")["counters"]
        assert (counters["acts"], counters["reboots"]) == ({"cmd-1": 1}, 0)


async def test_a_damaged_record_of_acts_stops_the_supervisor_instead_of_being_forgotten(
    terminal: SupervisorProcess,
) -> None:
    terminal.stop()
    (terminal.folder / "state/machine.json").write_text("{")
    terminal.start(wait=False)
    assert terminal.process is not None
    assert terminal.process.wait(30) == 1
    assert "is not known, so nothing is done" in terminal.log()


async def test_when_the_supervisor_is_killed_no_child_is_left(terminal: SupervisorProcess) -> None:
    children = [terminal.starts(name)[0] for name in ("payment", "shop")]
    assert all(is_running(pid) for pid in children)
    terminal.kill()
    await eventually(lambda: not any(is_running(pid) for pid in children))


async def test_an_orderly_stop_ends_the_children_and_removes_the_socket(terminal: SupervisorProcess) -> None:
    children = [terminal.starts(name)[0] for name in ("payment", "shop")]
    assert terminal.stop() == 0
    assert not any(is_running(pid) for pid in children)
    assert not terminal.socket.exists()


async def test_a_process_that_ends_by_itself_is_started_again(terminal: SupervisorProcess) -> None:
    os.kill(terminal.starts("shop")[0], signal.SIGKILL)
    await eventually(lambda: len(terminal.starts("shop")) == 2)
    assert len(terminal.starts("payment")) == 1


async def test_two_supervisors_never_keep_one_folder(terminal: SupervisorProcess) -> None:
    second = SupervisorProcess(terminal.folder, [application("payment")])
    second.start(wait=False)
    assert second.process is not None
    assert second.process.wait(30) == 1
    assert "another supervisor keeps" in second.log()
    assert terminal.ask(verb="state", unit="payment.service")["state"]["active"] == "active"
