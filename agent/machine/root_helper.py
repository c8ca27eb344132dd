"""Root's side of acts on the machine, each done once an order: ``pos-agent-machine.service`` is this program.

Started by the path unit when a request stands in the agent's folder, ended when all are answered. It trusts nothing the
agent wrote: units come from root's own ``/etc/pos-agent/machine.toml``, what was done from root's own record, and no
word of a request reaches a command line unless it stands in that list. No shell, no options, no environment.
"""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
import tomllib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from agent.contract.command import ReasonCode
from agent.contract.unit_name import UnitName
from agent.errors import NeedsPerson
from agent.machine.acts import Act, Answered, Asked, Outcome, failed, refused
from agent.machine.ledger import Ledger
from agent.machine.machine import UnitState
from agent.machine.root_requests import requests_folder, take
from agent.runtime.boot_identity import read_boot_id
from agent.runtime.durable_files import write_durably

REBOOT_INTERVAL_S: Final = 600.0
AGENT_USER: Final = "pos-agent"
SYSTEMCTL: Final = "/usr/bin/systemctl"
ACT_LIMIT_S: Final = 120.0
MOST_ANSWERS: Final = 64


class Listed(Struct, frozen=True, forbid_unknown_fields=True):
    """Root's list, ``machine.toml``. Without the file: the agent's own unit and the reboot, nothing else."""

    own_unit: UnitName = "pos-agent.service"
    units: tuple[UnitName, ...] = ()
    reboot: bool = True


class Places(Struct, frozen=True):
    """Folders and files, fixed in production; tests have their own."""

    run: Path = Path("/run/pos-agent")
    answers: Path = Path("/run/pos-agent-machine")
    state: Path = Path("/var/lib/pos-agent-machine")
    listed: Path = Path("/etc/pos-agent/machine.toml")
    procfs: Path = Path("/proc")
    systemctl: str = SYSTEMCTL
    root_uid: int = 0


class RootHelper:
    """Answers what stands in the folder."""

    def __init__(self, places: Places, agent_uid: int, now: Callable[[], datetime]) -> None:
        self._places = places
        self._agent_uid = agent_uid
        self._ledger = Ledger(places.state / "acts.json", boot_id=read_boot_id(places.procfs), now=now)

    def answer_all(self) -> int:
        """Every request that is there; how many were answered."""
        count = 0
        with requests_folder(self._places.run, self._agent_uid) as folder:
            if folder is None:
                return 0
            for asked in take(folder, self._agent_uid):
                if isinstance(asked, str):
                    _say(f"refused {asked}")
                    continue
                outcome = self._outcome(asked)
                act = asked.act
                _say(f"{act.verb} {act.unit or ''} for order {act.order_id}: {outcome.end} {outcome.text}")
                answer = msgspec.json.encode(Answered(asked.ask, outcome))
                write_durably(self._places.answers / f"{act.order_id}.json", answer, mode=0o644)
                count += 1
        self._forget_old_answers()
        return count

    def _outcome(self, asked: Asked) -> Outcome:
        act = asked.act
        try:
            self._ledger.open()
            known = self._ledger.outcome(act) or self._not_allowed(act)
            if known is not None:
                return known
            self._ledger.begin(act)
        except NeedsPerson as err:
            return refused(act, ReasonCode.STEP_FAILED, err.message)
        except OSError as err:
            return refused(act, ReasonCode.STEP_FAILED, f"the record of acts cannot be written: {err.strerror}")
        outcome = self._carry_out(act)
        try:
            self._ledger.finish(outcome)
        except OSError as err:  # done, but not on record: asked again it is called interrupted, never repeated
            _say(f"the end of order {act.order_id} could not be recorded: {err.strerror}")
        return outcome

    # ── may it be done? ────────────────────────────────────────────────────────────────────────────────────────
    def _not_allowed(self, act: Act) -> Outcome | None:
        listed = self._listed()
        if act.unit is not None:
            allowed = act.unit in listed.units or (act.unit == listed.own_unit and act.verb == "restart")
            text = f"{self._places.listed} does not list the unit for this"
            return None if allowed else refused(act, ReasonCode.INVALID_ARGUMENTS, text)
        if not listed.reboot:
            return refused(act, ReasonCode.NOT_AUTHORISED, f"{self._places.listed} allows no reboot")
        wait_s = self._ledger.reboot_wait_s(REBOOT_INTERVAL_S, self._uptime_s())
        text = f"the last reboot was too short ago; allowed again in {wait_s:.0f} s"
        return refused(act, ReasonCode.TOO_MANY_TRIES, text) if wait_s > 0 else None

    def _listed(self) -> Listed:
        """Root's list.

        Raises:
            NeedsPerson: It is not root's alone to write, or not in form.
        """
        file = self._places.listed
        try:
            with file.open("rb") as opened:
                found = os.fstat(opened.fileno())
                if found.st_uid != self._places.root_uid or found.st_mode & 0o022:
                    raise NeedsPerson(f"{file} is not root's alone to write, so nothing is done")
                return msgspec.convert(tomllib.load(opened), Listed)
        except FileNotFoundError:
            return Listed()
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as err:
            raise NeedsPerson(f"{file} cannot be read ({type(err).__name__}), so nothing is done") from err

    def _uptime_s(self) -> float:
        try:
            return float((self._places.procfs / "uptime").read_text().split()[0])
        except (OSError, ValueError, IndexError):
            return 0.0

    # ── do it ──────────────────────────────────────────────────────────────────────────────────────────────────
    def _carry_out(self, act: Act) -> Outcome:
        if act.unit is None:
            problem = self._systemctl("--no-wall", "--no-block", "reboot")
            return failed(act, problem) if problem else Outcome(act, "done", text="the reboot is queued")
        self._systemctl("reset-failed", "--", act.unit)  # a unit that gave up must start again too
        if act.verb == "restart":
            problem = self._systemctl("restart", "--", act.unit)
        else:
            problem = self._systemctl("stop", "--", act.unit)
            if problem is None and self._show(act.unit, "CacheDirectory"):
                problem = self._systemctl("clean", "--what=cache", "--", act.unit)
            started = self._systemctl("start", "--", act.unit)  # whatever failed: a stopped application is worse
            problem = problem or started
        state = self._state(act.unit)
        if problem is None and state.active != "active":
            problem = f"the unit is {state.active}"
        return failed(act, problem, state) if problem else Outcome(act, "done", state=state)

    def _state(self, unit: str) -> UnitState:
        active, main_pid, invocation = (self._show(unit, name) for name in ("ActiveState", "MainPID", "InvocationID"))
        pid = int(main_pid) if main_pid.isdigit() and main_pid != "0" else None
        return UnitState(unit, active or "unknown", pid, invocation or None)

    def _show(self, unit: str, name: str) -> str:
        return self._run(("show", f"--property={name}", "--value", "--", unit))[1].strip()

    def _systemctl(self, *arguments: str) -> str | None:
        """None when it did what was asked, else why not."""
        code, _said, why = self._run(arguments)
        return None if code == 0 else f"systemctl {arguments[0]}: {why.strip()[:200] or f'exit code {code}'}"

    def _run(self, arguments: Sequence[str]) -> tuple[int, str, str]:
        try:
            done = subprocess.run(
                [self._places.systemctl, "--no-ask-password", *arguments],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                env={"LC_ALL": "C.UTF-8", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
                timeout=ACT_LIMIT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return 1, "", f"not done within {ACT_LIMIT_S:g} s"
        except OSError as err:
            return 1, "", f"cannot be started: {err.strerror}"
        return done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")

    def _forget_old_answers(self) -> None:
        """They are for an agent that waits now; the record of acts is elsewhere."""
        answers = sorted(self._places.answers.glob("*.json"), key=lambda file: file.stat().st_mtime_ns)
        for file in answers[:-MOST_ANSWERS]:
            file.unlink(missing_ok=True)


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def main() -> int:
    """Answer and end; exit code 1 when the folder of requests cannot be used."""
    try:
        agent_uid = pwd.getpwnam(AGENT_USER).pw_uid
        RootHelper(Places(), agent_uid, lambda: datetime.now(UTC)).answer_all()
    except KeyError:
        _say(f"there is no user {AGENT_USER}; install pos-agent.sysusers.conf")
        return 1
    except OSError as err:
        _say(f"requests cannot be answered: {err}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
