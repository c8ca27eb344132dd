"""One booted container with the product installed: run programs in it, reboot it, and leave nothing behind."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.lab.holder import remove_cgroups

BOOT_S = 60.0
_PR_SET_PDEATHSIG = 1
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
AGENT_PYTHON = "/opt/pos-agent/current/bin/python"
CALL = """
import json, socket, sys
with socket.socket(socket.AF_UNIX) as sock:
    sock.settimeout(30)
    sock.connect(sys.argv[1])
    sock.sendall(sys.argv[2].encode() + b"\\n")
    sys.stdout.buffer.write(sock.makefile("rb").readline())
"""


def _die_with_parent() -> None:
    """Run in the new process: SIGKILL when the one that started it is gone. Source: prctl(2)."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class CommandFailed(AssertionError):
    """A program in the container ended with another code than 0."""


class Terminal:
    """``with Terminal(…) as terminal:``; ``folder`` is a scratch folder of its own.

    Args:
        layers: Folders laid over each other, the topmost first; none is written to.
    """

    def __init__(self, folder: Path, layers: Sequence[Path], *, arguments: Sequence[str] = ()) -> None:
        self.name = f"t{os.getpid()}-{time.monotonic_ns() % 1_000_000}"
        self._folder = folder
        self._layers = [str(layer) for layer in layers]
        self._arguments = list(arguments)
        self._console = folder / "console.log"
        self._holder: subprocess.Popen[bytes] | None = None

    # ── life ───────────────────────────────────────────────────────────────────────────────────────────────────
    def boot(self) -> None:
        """Start it; returns when systemd says that the boot is over."""
        work = self._folder / "work"
        work.mkdir(exist_ok=True)
        options = {
            "name": self.name,
            "work": str(work),
            "layers": self._layers,
            "arguments": self._arguments,
        }
        program = [sys.executable, str(Path(__file__).with_name("holder.py")), json.dumps(options)]
        with self._console.open("ab") as console:
            self._holder = subprocess.Popen(
                [
                    "unshare",
                    "--mount",
                    "--propagation=private",
                    "--pid",
                    "--fork",
                    "--kill-child",
                    "--mount-proc",
                    *program,
                ],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                preexec_fn=_die_with_parent,  # noqa: PLW1509  # before any thread
            )
        self.wait_booted()

    def wait_booted(self) -> None:
        """Until every unit that starts at boot was started."""
        self.wait(self._is_up, BOOT_S, "the container's boot")

    def _is_up(self) -> bool:
        assert self._holder is not None
        if self._holder.poll() is not None:
            raise AssertionError(f"the container ended with {self._holder.returncode}:\n{self.console()}")
        try:
            return self.run("systemctl", "is-system-running", check=False).strip() in {"running", "degraded"}
        except ProcessLookupError:
            return False

    def reboot(self, order: Callable[[], object] | None = None) -> None:
        """Restart it from inside (or by ``order``) and wait until it is up again under another boot id."""
        before, leader = self.boot_id(), self._leader()
        (order or (lambda: self.run("systemctl", "--no-block", "reboot")))()
        # Not by asking inside: the end of a container waits for processes that come in.
        self.wait(lambda: self._leader_or_none() not in {None, leader}, BOOT_S, "the end of this boot")
        self.wait_booted()
        assert self.boot_id() != before

    def close(self) -> None:
        """Cut it off and remove what it left."""
        if self._holder is not None and self._holder.poll() is None:
            self._holder.kill()
            self._holder.wait(20)
        left = remove_cgroups(self.name, within_s=20.0)
        assert not left, f"processes of the container are still there: {left}"

    def __enter__(self) -> Terminal:
        try:
            self.boot()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ── inside ─────────────────────────────────────────────────────────────────────────────────────────────────
    def run(self, *command: str, check: bool = True, stdin: str = "", timeout_s: float = 90.0) -> str:
        """A program as root in the container; its output.

        Raises:
            CommandFailed: It ended with another code than 0.
            ProcessLookupError: The container is not up.
        """
        entry = ["nsenter", "-t", str(self._leader()), "-m", "-u", "-i", "-n", "-p", "-C", "--"]
        clean = ["env", "-i", f"PATH={PATH}", "HOME=/root", "LC_ALL=C.UTF-8", "TERM=dumb"]
        done = subprocess.run(
            [*entry, *clean, *command], input=stdin, capture_output=True, text=True, timeout=timeout_s
        )
        if check and done.returncode != 0:
            raise CommandFailed(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def run_as(self, user: str, groups: Sequence[str], *command: str, check: bool = True) -> str:
        """As `run`, under another user with exactly these further groups."""
        more = ["--groups", ",".join(groups)] if groups else ["--clear-groups"]
        return self.run("setpriv", f"--reuid={user}", f"--regid={user}", *more, "--", *command, check=check)

    def call(
        self,
        method: str,
        params: Mapping[str, Any] | None = None,
        *,
        socket: str = "control",
        user: str = "root",
        groups: Sequence[str] = (),
    ) -> dict[str, Any]:
        """One JSON-RPC call on a socket of the agent; the whole answer."""
        request = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": dict(params or {})})
        said = self.run_as(user, groups, "/usr/bin/python3", "-c", CALL, f"/run/pos-agent/{socket}.sock", request)
        answer: dict[str, Any] = json.loads(said)
        return answer

    def show(self, unit: str, name: str) -> str:
        """One property of a unit."""
        return self.run("systemctl", "show", f"--property={name}", "--value", unit).strip()

    def drop_in(self, unit: str, setting: str) -> None:
        """Lay one setting of its service over a unit, as an operator would; it holds from the unit's next start."""
        folder = f"/etc/systemd/system/{unit}.d"
        self.run("mkdir", "-p", folder)
        self.run("tee", f"{folder}/{setting.partition('=')[0]}.conf", stdin=f"[Service]\n{setting}\n")
        self.run("systemctl", "daemon-reload")

    def boot_id(self) -> str:
        """Of this boot of the container."""
        return self.run("cat", "/proc/sys/kernel/random/boot_id").strip()

    def journal(self, unit: str = "pos-agent.service") -> str:
        """What a unit logged since the boot."""
        return self.run("journalctl", "--no-pager", "-o", "cat", "-u", unit, check=False)

    def console(self) -> str:
        """Everything the boot said."""
        return self._console.read_text(errors="replace") if self._console.exists() else ""

    def wait(self, condition: Callable[[], bool], timeout_s: float = 30.0, what: str = "the condition") -> None:
        """Return once ``condition`` holds."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, f"{what} did not come within {timeout_s} s:\n{self.console()[-2000:]}"
            time.sleep(0.05)

    def _leader_or_none(self) -> int | None:
        with contextlib.suppress(ProcessLookupError):
            return self._leader()
        return None

    def _leader(self) -> int:
        """Process 1 of the container, by its number outside."""
        assert self._holder is not None
        pid = self._holder.pid
        try:
            for _generation in ("holder", "systemd-nspawn", "systemd"):
                pid = int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
            return pid
        except (OSError, IndexError) as err:
            raise ProcessLookupError("the container is not up") from err
