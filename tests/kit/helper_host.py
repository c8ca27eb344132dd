"""A world for root's helper below one folder, with a stand-in for systemctl; agent and root are the test's own user."""

from __future__ import annotations

import json
import os
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agent.machine.root_helper import Places, RootHelper

# Writes down what it was asked, and behaves as files beside it say.
SYSTEMCTL = """#!/bin/sh
here=$(dirname "$0")
echo "$*" >> "$here/asked"
shift
[ "$1" != show ] || case "$2" in
    *ActiveState*) cat "$here/active" ;;
    *MainPID*) echo 4711 ;;
    *InvocationID*) echo 0123456789abcdef0123456789abcdef ;;
    *CacheDirectory*) cat "$here/cache" ;;
esac
[ ! -e "$here/fails-$1" ] || { echo "$1 did not work" >&2; exit 1; }
"""


class Host:
    """A helper's world below one folder; the agent and root are this test's own user."""

    def __init__(self, folder: Path) -> None:
        self.run = folder / "run"
        self.requests = self.run / "machine/requests"
        self.requests.mkdir(parents=True)
        self.tools = folder / "tools"
        self.tools.mkdir()
        program = self.tools / "systemctl"
        program.write_text(SYSTEMCTL)
        program.chmod(0o755)
        (self.tools / "active").write_text("active\n")
        (self.tools / "cache").write_text("payment\n")
        procfs = folder / "proc"
        self.boot_id_file = procfs / "sys/kernel/random/boot_id"
        self.boot_id_file.parent.mkdir(parents=True)
        self.new_boot()
        (procfs / "uptime").write_text("9000.00 1.00\n")
        self.listed = folder / "machine.toml"
        self.list_units('units = ["payment.service"]\n')
        for name in ("answers", "state"):
            (folder / name).mkdir()
        self.answers = folder / "answers"
        self.places = Places(
            run=self.run,
            answers=self.answers,
            state=folder / "state",
            listed=self.listed,
            procfs=procfs,
            systemctl=str(program),
            root_uid=os.getuid(),
        )

    def new_boot(self) -> None:
        self.boot_id_file.write_text(f"{uuid.uuid4()}\n")

    def list_units(self, text: str) -> None:
        self.listed.write_text(text)
        self.listed.chmod(0o644)

    def put(self, name: str, content: str | bytes) -> Path:
        file = self.requests / name
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return file

    def ask(self, order_id: str, verb: str, unit: str | None = None) -> dict[str, Any]:
        """One request, the helper's run, and its answer's outcome."""
        self.put(f"{order_id}.json", request(order_id, verb, unit))
        assert self.helper_runs() == 1
        answer = json.loads((self.answers / f"{order_id}.json").read_text())
        assert answer["ask"] == ASK
        outcome: dict[str, Any] = answer["outcome"]
        return outcome

    def helper_runs(self, agent_uid: int | None = None) -> int:
        uid = os.getuid() if agent_uid is None else agent_uid
        return RootHelper(self.places, uid, lambda: datetime.now(UTC)).answer_all()

    def asked(self) -> list[str]:
        """What systemctl was asked to change."""
        file = self.tools / "asked"
        lines = file.read_text().splitlines() if file.exists() else []
        return [line.removeprefix("--no-ask-password ") for line in lines if " show " not in f"{line} "]


ASK = "0123456789abcdef0123456789abcdef"


def request(order_id: str, verb: str, unit: str | None = None) -> str:
    act = {"order_id": order_id, "verb": verb, **({"unit": unit} if unit is not None else {})}
    return json.dumps({"ask": ASK, "act": act})
