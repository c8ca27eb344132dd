"""Orders on units and on the machine, given by an administrator at the control socket, carried out by systemd."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lab.terminal import CommandFailed, Terminal
from tests.lab.test_machine import starts
from tests.lab.test_service import pay, records

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

FINAL = {"succeeded", "failed", "rolled_back", "rejected", "expired", "cancelled"}
ORDER_S = 120.0
SETTLEMENT = {
    "transaction_id": "0192f6d0-7c1e-7000-8000-00000000ffff",
    "state": "approved",
    "type": "settlement",
    "provider": "acquirer-a",
    "mid": "104110058120001",
    "tid": "00010001",
    "batch_no": "000001",
    "local_at": "2026-11-21T11:00:00+08:00",
    "totals": [{"currency": "156", "debit_count": 1, "debit_minor": 1101, "credit_count": 0, "credit_minor": 0}],
    "balanced": True,
}


def order(terminal: Terminal, command_id: str, name: str, arguments: dict[str, Any]) -> None:
    """Give it; it is taken."""
    given = {"command_id": command_id, "name": name, "arguments": arguments, "reason": "lab"}
    answer = terminal.call("command.run", given, user="owner", groups=["pos-admin", "pos-support"])
    assert "result" in answer, answer


def state(terminal: Terminal, command_id: str) -> dict[str, Any] | None:
    """What has become of it; None while nobody answers."""
    try:
        answer = terminal.call("command.get", {"command_id": command_id}, user="owner", groups=["pos-support"])
    except (CommandFailed, ProcessLookupError, ValueError):  # the agent or the whole terminal is being restarted
        return None
    found: dict[str, Any] | None = answer.get("result")
    return found


def outcome(terminal: Terminal, command_id: str) -> dict[str, Any]:
    """Its final state."""
    last: dict[str, Any] = {}

    def is_final() -> bool:
        last.update(state(terminal, command_id) or {})
        return last.get("state") in FINAL

    terminal.wait(is_final, ORDER_S, f"an end of {command_id}, which is {last}")
    return last


@pytest.fixture(scope="module", autouse=True)
def selling(terminal: Terminal, own_boot_id: None) -> None:
    """The payment application has reported: the terminal is not taken to be in the middle of a sale any more."""

    def reports() -> bool:
        answer = terminal.call("terminal.state", socket="payment", user="payer", groups=["pos-payment"])
        return starts(terminal) > 0 and bool(answer["result"]["ready"])

    terminal.wait(reports, what="a terminal that is ready")


def test_reset_app_restarts_the_application_once(terminal: Terminal) -> None:
    before = starts(terminal)
    order(terminal, "lab-app", "reset", {"level": "app"})
    final = outcome(terminal, "lab-app")
    assert final["state"] == "succeeded", final
    assert final["result"]["unit"] == "payment.service"
    assert final["result"]["invocation"] == terminal.show("payment.service", "InvocationID")
    assert final["result"]["app_reported"] is True
    order(terminal, "lab-app", "reset", {"level": "app"})  # the same order: its recorded state
    assert starts(terminal) == before + 1


def test_reinit_app_empties_its_cache_and_keeps_the_records(terminal: Terminal) -> None:
    pay(terminal, 101)
    terminal.call("transaction.record", SETTLEMENT, socket="payment", user="payer", groups=["pos-payment"])
    kept, before = records(terminal), starts(terminal)
    terminal.run("touch", "/var/cache/payment/stale")
    order(terminal, "lab-reinit", "reinit", {"scope": "app"})
    final = outcome(terminal, "lab-reinit")
    assert final["state"] == "succeeded", final
    assert terminal.run("ls", "/var/cache/payment") == "menu\n"
    assert (starts(terminal), records(terminal)) == (before + 1, kept)


def test_reset_service_restarts_the_agent_once_and_the_next_process_ends_the_order(terminal: Terminal) -> None:
    pay(terminal, 102)
    kept, before = records(terminal), terminal.show("pos-agent.service", "InvocationID")
    order(terminal, "lab-service", "reset", {"level": "service"})
    final = outcome(terminal, "lab-service")
    assert final["state"] == "succeeded", final
    after = terminal.show("pos-agent.service", "InvocationID")
    assert final["result"]["invocation_before"] == before
    assert final["result"]["invocation"] == after != before
    assert (records(terminal), terminal.show("pos-agent.service", "NRestarts")) == (kept, "0")


def test_a_unit_that_root_does_not_list_is_left_alone(terminal: Terminal) -> None:
    pid = terminal.show("dbus.service", "MainPID")
    given = {"command_id": "lab-other", "name": "reset", "arguments": {"level": "service", "unit": "dbus.service"}}
    terminal.call("command.run", given, user="owner", groups=["pos-admin", "pos-support"])
    assert outcome(terminal, "lab-other")["state"] == "rejected"
    assert terminal.show("dbus.service", "MainPID") == pid


def test_a_technician_may_not_reset(terminal: Terminal) -> None:
    given = {"command_id": "lab-technician", "name": "reset", "arguments": {"level": "app"}}
    answer = terminal.call("command.run", given, user="technician", groups=["pos-support"])
    assert answer["error"]["data"]["code"] == "NOT_AUTHORISED"


def test_reset_reboot_restarts_the_machine_and_the_boot_id_proves_it(terminal: Terminal) -> None:
    pay(terminal, 103)
    kept, before = records(terminal), terminal.boot_id()
    terminal.reboot(lambda: order(terminal, "lab-reboot", "reset", {"level": "reboot"}))
    final = outcome(terminal, "lab-reboot")
    assert final["state"] == "succeeded", final
    assert final["result"]["boot_id_before"] == before
    assert final["result"]["boot_id"] == terminal.boot_id() != before
    assert records(terminal) == kept
