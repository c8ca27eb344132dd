"""The whole way: an agent's own backups, a unit that is lost, the operator's key, a new unit that goes on selling.

And what a snapshot carries besides entries: orders that were open, orders that must not run twice, faults, facts.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from agent.contract.command import Reason, ReasonCode
from agent.runtime.identifiers import uuid7
from agent.store.sqlite import connect_writer
from agent.workflow.run_rows import Origin, open_run
from agent.workflow.transition import Phase, Run
from tests.kit import backup_folder as kit
from tests.kit.agent_process import ROOT, AgentProcess, call
from tests.kit.backup_folder import BEGAN, BackupFolder
from tests.kit.contract_peer import eventually
from tests.kit.store_records import BINDING, sale

BINDINGS = [dict(zip(("provider", "mid", "tid"), BINDING, strict=True))]


def program(module: str, *words: object, code: int = 0) -> str:
    """A program to its end; what it printed."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, words)], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def unit(tmp_path: Path) -> Iterator[Callable[..., AgentProcess]]:
    """Makes units below folders of their own."""
    made: list[AgentProcess] = []

    def make(name: str, **config: Any) -> AgentProcess:
        made.append(AgentProcess(tmp_path / name, {"binding": BINDINGS, **config}))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_from_an_agents_own_backups_over_the_operators_key_to_a_new_unit(
    unit: Callable[..., AgentProcess], tmp_path: Path
) -> None:
    identity, medium, stick = tmp_path / "operator.txt", tmp_path / "medium", tmp_path / "stick"
    medium.mkdir()
    subprocess.run(["age-keygen", "-o", identity], capture_output=True, check=True)
    operator = subprocess.run(["age-keygen", "-y", identity], capture_output=True, text=True, check=True).stdout.strip()
    folder = {"name": "card", "path": str(medium)}
    old = unit("old", backup={"recipients": [operator], "folder": [folder], "segment_after_s": 1.0})
    control, payment = old.run / "control.sock", old.run / "payment.sock"
    with old:
        records = [sale(stan=f"{number:06d}") for number in range(40)]
        for record in records[:25]:
            call(payment, "transaction.record", record)
        order = {"command_id": uuid7(), "name": "backup", "arguments": {"kind": "snapshot"}, "reason": "test"}
        call(control, "command.run", order)

        def state() -> str:
            return str(call(control, "command.get", {"command_id": order["command_id"]})["result"]["state"])

        eventually(lambda: state() == "succeeded", "the snapshot is made", timeout_s=30)
        for record in records[25:]:
            call(payment, "transaction.record", record)

        def backed_up() -> int:
            return int(call(control, "backup.list")["result"]["targets"][0]["backed_up_upto"])

        eventually(lambda: backed_up() == len(records), "everything is in a backup", timeout_s=30)
        old.kill()  # and nobody sees its disk again
    new = unit("new", terminal={"serial": "SN-NEW"})
    recipient = program("agent", "keys", "--config", new.config_file).strip()
    items = json.loads(program("agent.ctl", "fleet", "backup", "list", medium, "--identity", identity, "--json"))[
        "items"
    ]
    assert [(one["upto_seq"], one["gaps"], one["unusable"]) for one in items] == [(len(records), [], [])]
    program("agent.ctl", "fleet", "backup", "verify", medium, "--identity", identity)
    words = ["--from", medium, "--to", stick, "--identity", identity, "--recipient", recipient, "--terminal", "T-0001"]
    program("agent.ctl", "fleet", "backup", "reencrypt", *words)
    program("agent", "restore", "--config", new.config_file, "--from", medium, code=1)  # those are the operator's
    report = json.loads(program("agent", "restore", "--config", new.config_file, "--from", stick, "--json"))
    assert (report["entries"], report["missing"], report["lost"]) == (len(records), [], None)
    same = "SELECT sequence, at, record, hash FROM entries ORDER BY sequence"
    assert kit.query(new.state / "agent.db", same) == kit.query(old.state / "agent.db", same)
    with new:
        verified = call(new.run / "control.sock", "journal.verify")["result"]
        assert verified == {"intact": True, "upto_sequence": len(records), "missing": []}
        done = call(new.run / "control.sock", "command.get", {"command_id": order["command_id"]})["result"]
        # The snapshot was made by this very order: it holds it open.
        assert (done["state"], done["reason"]["code"]) == ("failed", "RESTORED")
        stored = call(new.run / "payment.sock", "transaction.record", sale(stan="999999"))["result"]
        assert stored["sequence"] == len(records) + 1


@pytest.fixture(scope="module")
def eventful(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with orders in every phase, faults, messages that wait, and facts of its own."""
    database = kit.fill_journal(tmp_path_factory.mktemp("old"), 30)
    kit.write_meta(
        database,
        start_counter="41",
        replay_floor=str(int(BEGAN.timestamp() * 1000)),
        running="1",
        delivered_upto="20",
        backed_up_upto="30",
        lock="a fact that a later release keeps",
    )
    with closing(connect_writer(database)) as db:
        db.execute("BEGIN")
        for phase in Phase:
            run = Run(
                command_id=f"cmd-{phase.value}",
                name="ping",
                request=b"{}",
                phase=phase,
                rev=3,
                step=0,
                steps=1,
                attempt=1 if phase.is_begun else 0,
                progress=None,
                reason=Reason(ReasonCode.CANCELLED, "as it was") if phase is Phase.CANCELLED else None,
                result=None,
                accepted_at=BEGAN,
                updated_at=BEGAN,
            )
            origin = Origin(phase.value.encode(), "mqtt", None, ("li-wei",), BEGAN + timedelta(days=300))
            open_run(db, run, origin, life="of-the-old-unit", tell=True)
        for code, device in (("TXN-CON-001", "journal"), ("HW-PRN-001", "printer-0")):
            db.execute("INSERT INTO health_faults VALUES (?, ?, 'none', 'as it was', 1, 1, NULL)", (code, device))
        db.execute("COMMIT")
    return database


def restored(agent: AgentProcess, eventful: Path, *, snapshot: int = 30, words: tuple[str, ...] = ()) -> Path:
    key = kit.new_key()
    kit.put_key(agent.state, key)
    medium = BackupFolder(agent.folder / "medium", eventful, [key.public])
    medium.snapshot(snapshot)
    program("agent", "restore", "--config", agent.config_file, "--from", medium.place, *words)
    return agent.state / "agent.db"


def test_orders_that_were_open_fail_as_restored_and_tell_it_and_ended_ones_stay(
    unit: Callable[..., AgentProcess], eventful: Path
) -> None:
    agent = unit("new")
    database = restored(agent, eventful)
    query = "SELECT command_id, phase, rev, reason_code FROM commands ORDER BY number"
    before, after = kit.query(eventful, query), kit.query(database, query)
    for (command_id, phase, rev, reason), now in zip(before, after, strict=True):
        is_open = not Phase(phase).is_final
        assert now == ((command_id, "failed", rev + 1, "RESTORED") if is_open else (command_id, phase, rev, reason))
    told = kit.query(database, "SELECT below, payload, retain FROM outbox ORDER BY id")
    assert [below for below, _payload, _retain in told] == [
        f"agent/op/ping/{command_id}" for command_id, phase, *_rest in before if not Phase(phase).is_final
    ]
    for _below, payload, retain in told:  # and nothing of what waited in the old outbox
        message = json.loads(payload)
        assert (message["state"], message["reason"]["code"], message["rev"], retain) == ("failed", "RESTORED", 4, 1)
    with agent:
        control = agent.run / "control.sock"
        assert call(control, "command.get", {"command_id": "cmd-running"})["result"]["state"] == "failed"
        assert call(control, "command.get", {"command_id": "cmd-succeeded"})["result"]["state"] == "succeeded"


def test_small_facts_go_along_but_for_those_of_the_old_file(unit: Callable[..., AgentProcess], eventful: Path) -> None:
    agent = unit("new")
    database = restored(agent, eventful)
    facts = dict(kit.query(database, "SELECT name, value FROM meta"))
    assert (facts["start_counter"], facts["lock"]) == ("41", "a fact that a later release keeps")
    assert facts["replay_floor"] == str(int(BEGAN.timestamp() * 1000))
    assert facts["delivered_upto"] == "20"
    assert ("running" in facts, facts.get("backed_up_upto", "0")) == (False, "0")
    with agent:
        info = call(agent.run / "control.sock", "agent.info")["result"]
        assert info["journal_id"] == facts["journal_id"]
        assert "SW-AGT-001" not in agent.log()  # the old unit's end is not this one's
    assert dict(kit.query(database, "SELECT name, value FROM meta"))["start_counter"] == "42"


def test_what_was_delivered_after_the_wanted_point_counts_for_nothing(
    unit: Callable[..., AgentProcess], eventful: Path
) -> None:
    database = restored(unit("new"), eventful, words=("--until", "12"))
    assert kit.query(database, "SELECT value FROM meta WHERE name = 'delivered_upto'") == [("12",)]
    assert kit.query(database, "SELECT max(sequence) FROM entries") == [(12,)]


@pytest.mark.parametrize(
    ("serial", "codes"), [(kit.SERIAL, ["HW-PRN-001", "TXN-CON-001"]), ("SN-NEW", ["TXN-CON-001"])]
)
def test_what_was_wrong_with_the_hardware_stays_with_it_and_with_the_journal_goes_along(
    unit: Callable[..., AgentProcess], eventful: Path, serial: str, codes: list[str]
) -> None:
    database = restored(unit("new", terminal={"serial": serial}), eventful)
    assert [code for (code,) in kit.query(database, "SELECT code FROM health_faults ORDER BY code")] == codes


def test_an_order_from_before_the_restore_is_refused_even_where_no_row_knows_it(
    unit: Callable[..., AgentProcess], eventful: Path
) -> None:
    database = restored(unit("new"), eventful)
    [(began,)] = kit.query(database, "SELECT value FROM meta WHERE name = 'journal_began_at'")
    [(old,)] = kit.query(eventful, "SELECT value FROM meta WHERE name = 'journal_began_at'")
    assert began > old  # the contract: anything issued before the journal began is refused
