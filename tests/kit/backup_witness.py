"""What is really on a backup medium: every file opened with the operator's private key and proved to its end.

A file of a final name is whole, or it is a finding: only names that begin with a dot may be unfinished.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from agent.backup.age import present
from agent.backup.file_format import Entry
from agent.backup.place import opened, pieces_of
from tests.kit.agent_process import ROOT, AgentProcess, call

SITE, TERMINAL = "shop-1", "T-0001"
CHILD = b"agent.backup.child"


class BackupWitness:
    """One medium. Files that were proved once are not read again, only looked for."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self._keys = present().generate()
        self._proved: dict[str, dict[int, str]] = {}

    def config(self, **more: Any) -> dict[str, Any]:
        """``[backup]`` of an agent that copies here, every 20 entries or second."""
        folder = {"name": "card", "path": str(self.place)}
        return {
            "recipients": [self._keys.public],
            "folder": [folder],
            "segment_entries": 20,
            "segment_after_s": 1.0,
            **more,
        }

    def entries(self) -> dict[int, str]:
        """sequence → transaction_id of everything that can be restored from here."""
        there = {piece.file: piece for piece in pieces_of(self.place, SITE, TERMINAL)}
        self._proved = {file: held for file, held in self._proved.items() if file in there}
        for file in there.keys() - self._proved.keys():
            with opened(self.place, there[file], [self._keys.secret]) as (_header, parts):
                self._proved[file] = {
                    part.seq: json.loads(bytes(part.record))["transaction_id"]
                    for part in parts
                    if isinstance(part, Entry)
                }
        return {sequence: one for held in self._proved.values() for sequence, one in held.items()}

    @property
    def files(self) -> int:
        return len(self._proved)

    def restore(self, folder: Path) -> AgentProcess:
        """A replacement terminal with the whole journal from here, as an operator and a technician do it."""
        identity = folder / "operator.key"
        identity.parent.mkdir(parents=True, exist_ok=True)
        identity.write_text(self._keys.secret + "\n")
        unit = AgentProcess(folder)
        unit.state.mkdir(mode=0o700)
        recipient = json.loads(_run(["agent", "keys", "--config", str(unit.config_file), "--json"]))["recipient"]
        again = folder / "reencrypted"
        again.mkdir()
        places = ["--from", str(self.place), "--to", str(again)]
        _run(
            [
                "agent.ctl",
                "fleet",
                "backup",
                "reencrypt",
                *places,
                "--recipient",
                recipient,
                "--identity",
                str(identity),
            ]
        )
        _run(["agent", "restore", "--config", str(unit.config_file), "--from", str(again)])
        return unit


def _run(arguments: list[str]) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
    return done.stdout


def sealing_children(agent: AgentProcess) -> list[int]:
    """Process ids of its children that make backups now."""
    assert agent.process is not None
    found = []
    for task in Path(f"/proc/{agent.process.pid}/task").glob("*/children"):
        try:
            for pid in task.read_text().split():
                if CHILD in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.append(int(pid))
        except OSError:  # it has ended meanwhile
            continue
    return found


def kill_child(pid: int) -> None:
    """SIGKILL; one that has ended already is a child that was not killed in time."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def backed_up_upto(agent: AgentProcess) -> int:
    """What the agent says is in a verified file on the medium."""
    page = call(agent.run / "control.sock", "backup.list")["result"]
    return int(page["targets"][0]["backed_up_upto"])
