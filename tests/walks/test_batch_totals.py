"""A settlement that does not agree with the journal, at a running agent: seen at once, over a kill, until it agrees."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.kit.agent_process import AgentProcess
from tests.kit.contract_peer import TID, Peer, eventually, record_of, sale


def _faults(agent: AgentProcess) -> dict[str, Any]:
    with Peer(agent.run / "control.sock") as support:
        return {fault["code"]: fault for fault in support.ask("health.get")["faults"]}


def _settlement(batch_no: str, count: int, minor: int) -> dict[str, Any]:
    line = {"currency": "156", "debit_count": count, "debit_minor": minor, "credit_count": 0, "credit_minor": 0}
    return record_of("settlement", batch_no=batch_no, totals=[line])


def test_a_difference_is_a_fault_over_kills_and_goes_with_the_record_that_was_missing(tmp_path: Path) -> None:
    agent = AgentProcess(tmp_path)
    agent.start()
    try:
        missing = sale(batch_no="000007", amount_minor=250)
        with Peer(agent.run / "payment.sock") as payment:
            payment.record(sale(batch_no="000007", amount_minor=100))
            payment.record(_settlement("000007", 2, 350))
        agent.kill()  # perhaps before it has compared, perhaps after
        agent.start()
        eventually(lambda: "TXN-BAT-002" in _faults(agent), "the difference")
        fault = _faults(agent)["TXN-BAT-002"]
        assert (fault["severity"], fault["impact"], fault["device"]) == ("S1", "settle", f"batch-000007-{TID}")
        for part in ("000007", "156", "debits 1 = 100", "debits 2 = 350"):
            assert part in fault["detail"]
        agent.kill()
        agent.start()
        assert "TXN-BAT-002" in _faults(agent)
        with Peer(agent.run / "payment.sock") as payment:
            assert payment.record(missing) == {"sequence": 3, "duplicate": False}
            eventually(lambda: "TXN-BAT-002" not in _faults(agent), "agreement")
            conflict = {**missing, "amount_minor": 251}
            payment.record_fails(conflict, "TXN_CONFLICT")
        eventually(lambda: "TXN-CON-001" in _faults(agent), "the contradiction")
        assert "TXN-BAT-002" not in _faults(agent)
    finally:
        agent.close()


@pytest.mark.parametrize("agrees", [True, False])
def test_the_terminal_goes_on_selling_whatever_the_totals_say(tmp_path: Path, agrees: bool) -> None:
    agent = AgentProcess(tmp_path)
    agent.start()
    try:
        with Peer(agent.run / "payment.sock") as payment, Peer(agent.run / "control.sock") as support:
            ready_before = support.ask("readiness.get")["reasons"]
            payment.record(sale(batch_no="000008", amount_minor=100))
            payment.record(_settlement("000008", 1, 100 if agrees else 99))
            payment.record(sale(batch_no="000009"))
            if not agrees:
                eventually(lambda: "TXN-BAT-002" in _faults(agent), "the difference")
            assert support.ask("readiness.get")["reasons"] == ready_before
            store = support.ask("metrics.get")["store"]
            eventually(
                lambda: support.ask("metrics.get")["store"]["unprotected_entries"] == 3, "entries that have no copy"
            )
            assert {"oldest_unprotected_age_s", "backed_up_upto", "delivered_upto"} <= set(store)
    finally:
        agent.close()
