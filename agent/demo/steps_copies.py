"""Steps of the tour about copies: sealed so that only the operator reads them, caught up, restored, mended."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import tomli_w

from agent.ctl.render.style import many
from agent.demo import evidence
from agent.demo.backup_evidence import Backup, backups
from agent.demo.parts import DemoFailed, wait_until
from agent.demo.terminal import SITE, TERMINAL
from agent.demo.witnessed import Tour

PULLED_OUT = "TXN-BKP-002"


def sealed(tour: Tour) -> str:
    for _ in range(3):
        tour.terminal.shop.sell()
    upto, found = _on_the_card(tour)
    tour.posctl("backup", "run", "--kind", "snapshot", *_control(tour))
    tour.posctl("backup", "verify", *_control(tour))
    files = many(len(found), "file")
    return f"age, by the operator's key: {upto} entries in {files}, the same as in SQLite's, chain whole"


def card_pulled_out(tour: Tour) -> str:
    away = tour.terminal.card.rename(tour.terminal.folder / "card-pulled-out")
    tour.terminal.shop.sell()
    tour.must_have_fault(PULLED_OUT)
    if tour.terminal.card.exists():
        raise DemoFailed(f"{tour.terminal.card} was made anew where the card is not")
    away.rename(tour.terminal.card)
    tour.must_not_have_fault(PULLED_OUT)
    upto, _found = _on_the_card(tour)
    return f"broker: {PULLED_OUT} while it was out, over when it was back; age: caught up with entry {upto}"


def collector_killed(tour: Tour) -> str:
    terminal = tour.terminal
    before = _collected(tour)
    terminal.collector.kill()
    unheard = [terminal.shop.sell() for _ in range(3)]
    if evidence.delivered_upto(terminal.database) > before or evidence.collected(terminal.collector.store).keys() & {
        *unheard
    }:
        raise DemoFailed("entries count as delivered that no collector was there for")
    terminal.collector.start(terminal.broker.port)
    terminal.shop.sell()
    upto = _collected(tour)
    tour.posctl("fleet", "collect", "verify", "--store", str(terminal.collector.store))
    wait_until("a signed word for all of it", lambda: evidence.delivered_upto(terminal.database) == upto)
    return f"collector's database: {upto} entries, the same as here; delivered only once its signed word was back"


def bit_flipped(tour: Tour) -> str:
    terminal = tour.terminal
    before, old_journal = evidence.entries(terminal.database), evidence.journal_id(terminal.database)
    spoilt = before[2]
    evidence.flip_a_bit(terminal.database, spoilt.hash)
    tour.posctl("journal", "verify", *_control(tour), expect=1)
    during = terminal.shop.sell()
    report = _finished_report(tour)
    aside = terminal.database.with_name(str(report["set_aside_as"]))
    if not aside.exists() or spoilt.hash in aside.read_bytes():
        raise DemoFailed(f"{aside} is not the damaged file as it was found")
    after = evidence.entries(terminal.database)
    if report["missing"] or after[: len(before)] != before or after[-1].sequence < during:
        raise DemoFailed(f"not every entry came back: {report}")
    if evidence.journal_id(terminal.database) == old_journal:
        raise DemoFailed("what was rebuilt goes on under the old name")
    evidence.check_chain(terminal.database)
    tour.all_acknowledged_are_there()
    tour.posctl("journal", "verify", *_control(tour))
    upto = _collected(tour)
    return (
        f"{aside.name} is kept; SQLite file: {len(after)} entries, none missing, chain whole; collector: {upto} as well"
    )


def restored_elsewhere(tour: Tour) -> str:
    upto, _found = _on_the_card(tour)
    config, database = _second_unit(tour.terminal.folder / "second-unit")
    recipient = str(_told(config, "keys")["recipient"])
    for_it = tour.terminal.folder / "for-the-second-unit"
    key = ["--identity", str(tour.terminal.operator_key), "--terminal", TERMINAL]
    card = str(tour.terminal.card)
    tour.posctl("fleet", "backup", "verify", card, *key)
    tour.posctl("fleet", "backup", "reencrypt", "--from", card, "--to", str(for_it), "--recipient", recipient, *key)
    restored = _told(config, "restore", "--from", str(for_it))
    length = evidence.check_chain(database)
    here, there = evidence.entries(tour.terminal.database), evidence.entries(database)
    if here[: len(there)] != there or length < upto:
        raise DemoFailed(f"the second unit has {length} entries, and they are not the first {upto} of this one")
    if restored["journal_id"] == evidence.journal_id(tour.terminal.database):
        raise DemoFailed("two units write under one journal_id")
    return f"SQLite file of the second unit: {length} entries, the same as here, chain whole, a journal of its own"


def _finished_report(tour: Tour) -> dict[str, Any]:
    """The report beside the file that was set aside, once everything is read out of it."""
    state = tour.terminal.database.parent
    found: list[dict[str, Any]] = []

    def is_finished() -> bool:
        found[:] = [json.loads(file.read_text()) for file in state.glob("*.report.json")]
        return any(one["finished_at"] for one in found)

    wait_until(f"a finished report in {state}", is_finished)
    return next(one for one in found if one["finished_at"])


def _collected(tour: Tour) -> int:
    """Wait until the collector's own database has everything that is in the file; up to which entry that is."""
    here = {entry.sequence: entry.hash for entry in evidence.entries(tour.terminal.database)}
    store = tour.terminal.collector.store
    wait_until(f"all {len(here)} entries in {store}", lambda: evidence.collected(store) == here)
    return max(here)


def _on_the_card(tour: Tour) -> tuple[int, list[Backup]]:
    """Wait until everything in the file is on the card; up to which entry that is, and the files."""
    here = evidence.entries(tour.terminal.database)
    found: list[Backup] = []

    def caught_up() -> bool:
        found[:] = backups(tour.terminal.card, tour.terminal.operator_key)
        return any(entry.sequence == here[-1].sequence for one in found for entry in one.entries)

    wait_until(f"entry {here[-1].sequence} on the card", caught_up)
    known = {entry.sequence: entry.hash for one in found for entry in one.entries}
    if missing := [entry.sequence for entry in here if known.get(entry.sequence) != entry.hash]:
        raise DemoFailed(f"on the card {len(missing)} entries are missing or others: {missing[:5]}")
    return here[-1].sequence, found


def _control(tour: Tour) -> list[str]:
    return ["--socket", str(tour.terminal.control_socket)]


def _second_unit(folder: Path) -> tuple[Path, Path]:
    """The configuration of a unit that takes this one's place, other hardware in other folders; and its database."""
    state = folder / "state"
    state.mkdir(parents=True, mode=0o700)
    settings = {
        "mode": "development",
        "terminal": {"site": SITE, "terminal": TERMINAL, "serial": "SN-DEMO-2"},
        "paths": {"state": str(state), "run": str(folder / "run")},
        "clock": {"trust": "assume"},
    }
    config = folder / "agent.toml"
    config.write_text(tomli_w.dumps(settings))
    return config, state / "agent.db"


def _told(config: Path, verb: str, *arguments: str) -> dict[str, Any]:
    """What an offline verb of ``pos-agent`` says as JSON.

    Raises:
        DemoFailed: Another exit code than 0.
    """
    command = [sys.executable, "-m", "agent", verb, "--config", str(config), *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    if done.returncode != 0:
        raise DemoFailed(f"pos-agent {verb}: exit {done.returncode}: {(done.stdout + done.stderr).strip()}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found
