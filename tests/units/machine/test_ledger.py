"""What was done under which order: on disk before it happens, and told truly after an interruption."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.errors import NeedsPerson
from agent.machine.acts import Act, Outcome
from agent.machine.ledger import MOST_ENTRIES, Ledger, reboot_wait_s

NOW = datetime(2026, 11, 21, 2, 0, tzinfo=UTC)
RESTART = Act("cmd-1", "restart", "payment.service")
REBOOT = Act("cmd-2", "reboot")


def _ledger(folder: Path, boot_id: str = "boot-1", now: datetime = NOW) -> Ledger:
    ledger = Ledger(folder / "acts.json", boot_id=boot_id, now=lambda: now)
    ledger.open()
    return ledger


def test_an_act_nobody_began_is_not_known(tmp_path: Path) -> None:
    assert _ledger(tmp_path).outcome(RESTART) is None


def test_the_end_of_an_act_is_known_to_the_next_keeper(tmp_path: Path) -> None:
    ledger = _ledger(tmp_path)
    ledger.begin(RESTART)
    ledger.finish(Outcome(RESTART, "done"))
    assert _ledger(tmp_path).outcome(RESTART) == Outcome(RESTART, "done")


def test_an_act_that_was_begun_and_not_ended_is_interrupted(tmp_path: Path) -> None:
    _ledger(tmp_path).begin(RESTART)
    outcome = _ledger(tmp_path, "boot-2").outcome(RESTART)
    assert outcome is not None
    assert (outcome.end, outcome.reason) == ("interrupted", "INTERRUPTED")


@pytest.mark.parametrize(("boot_id", "end"), [("boot-1", "interrupted"), ("boot-2", "done")])
def test_another_boot_id_is_the_proof_of_a_reboot(tmp_path: Path, boot_id: str, end: str) -> None:
    _ledger(tmp_path).begin(REBOOT)
    outcome = _ledger(tmp_path, boot_id).outcome(REBOOT)
    assert outcome is not None
    assert outcome.end == end


@pytest.mark.parametrize("other", [Act("cmd-1", "restart", "shop.service"), Act("cmd-1", "reboot")])
def test_an_order_id_is_not_given_to_another_act(tmp_path: Path, other: Act) -> None:
    ledger = _ledger(tmp_path)
    ledger.begin(RESTART)
    outcome = ledger.outcome(other)
    assert outcome is not None
    assert (outcome.end, outcome.reason) == ("refused", "INVALID_ARGUMENTS")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"entries": 3}', b"\xff", b'{"entries": [], "more": 1}'])
def test_a_record_that_cannot_be_read_is_no_empty_record(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "acts.json").write_bytes(content)
    with pytest.raises(NeedsPerson):
        _ledger(tmp_path)


def test_the_record_stays_small(tmp_path: Path) -> None:
    ledger = _ledger(tmp_path)
    for number in range(MOST_ENTRIES + 10):
        ledger.begin(Act(f"cmd-{number}", "restart", "payment.service"))
    assert len(ledger.times_begun()) == MOST_ENTRIES
    assert ledger.outcome(Act(f"cmd-{MOST_ENTRIES + 9}", "restart", "payment.service")) is not None


@pytest.mark.parametrize(
    ("passed", "uptime_s", "wait_s"),
    [
        (timedelta(seconds=0), 5000.0, 600.0),
        (timedelta(seconds=599), 5000.0, 1.0),
        (timedelta(seconds=600), 3.0, 0.0),
        (timedelta(days=3650), 3.0, 0.0),
        (timedelta(seconds=-1), 100.0, 500.0),  # the clock was set back: the time since the boot counts
        (timedelta(days=-20000), 700.0, 0.0),
    ],
)
def test_ten_minutes_lie_between_two_reboots_whatever_the_clock_does(
    passed: timedelta, uptime_s: float, wait_s: float
) -> None:
    assert reboot_wait_s(NOW, NOW + passed, 600.0, uptime_s) == wait_s


def test_the_time_of_the_last_reboot_outlives_its_keeper(tmp_path: Path) -> None:
    assert _ledger(tmp_path).reboot_wait_s(600.0, 5.0) == 0.0
    _ledger(tmp_path).begin(REBOOT)
    assert _ledger(tmp_path, now=NOW + timedelta(seconds=100)).reboot_wait_s(600.0, 5.0) == 500.0
