"""A second agent on the same state folder refuses, says why and whose it is; the first one notices nothing."""

from __future__ import annotations

from pathlib import Path

from tests.kit.agent_process import AgentProcess, call


def test_the_second_refuses_and_the_first_is_undisturbed(tmp_path: Path) -> None:
    with AgentProcess(tmp_path) as first:
        assert first.process is not None
        before = call(first.run / "control.sock", "agent.info")["result"]
        second = AgentProcess(tmp_path / "second", {"paths": {"state": str(first.state), "run": str(tmp_path / "r2")}})
        second.start(wait=False)
        assert second.process is not None
        assert second.process.wait(30) == 1
        second.close()
        assert f"is held by process {first.process.pid}" in second.log()
        assert "Stop the other pos-agent" in second.log()
        assert not (tmp_path / "r2" / "payment.sock").exists()
        after = call(first.run / "control.sock", "agent.info")["result"]
        assert (after["journal_id"], after["started_at"]) == (before["journal_id"], before["started_at"])
        assert call(first.run / "control.sock", "journal.verify", timeout_s=30)["result"]["intact"]
        assert first.stop() == 0
