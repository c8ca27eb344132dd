"""A real terminal of any size: a tmux server of its own for each test, read back as the person in front would."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

WAIT_S = 60.0


class Tmux:
    """Runs ``command`` in a pane of ``columns`` by ``rows``, then shows its exit code; use as a context manager.

    ``env`` is laid over the environment; None takes a variable out of it.
    """

    def __init__(
        self,
        folder: Path,
        command: Sequence[str],
        *,
        columns: int = 80,
        rows: int = 24,
        env: Mapping[str, str | None] | None = None,
    ) -> None:
        self._socket = folder / "tmux.sock"
        self._command = list(command)
        self._size = (columns, rows)
        changes = {"NO_COLOR": None, "LC_ALL": "C.UTF-8", **(env or {})}
        unset = [word for name, value in changes.items() if value is None for word in ("-u", name)]
        self._environment = ["env", *unset, *(f"{name}={value}" for name, value in changes.items() if value)]

    def __enter__(self) -> Tmux:
        columns, rows = self._size
        after = '"$@"; echo "ended with $?"; exec sleep 3600'
        line = shlex.join([*self._environment, "sh", "-c", after, "sh", *self._command])
        self.tmux("-f", os.devnull, "new-session", "-d", "-x", str(columns), "-y", str(rows), line)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        subprocess.run(["tmux", "-S", str(self._socket), "kill-server"], capture_output=True, timeout=30)

    def tmux(self, *words: str) -> str:
        """One tmux command; its output."""
        done = subprocess.run(
            ["tmux", "-S", str(self._socket), *words],
            capture_output=True,
            text=True,
            timeout=30,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
        )
        assert done.returncode == 0, f"tmux {words}: {done.stderr}"
        return done.stdout

    def keys(self, *keys: str) -> None:
        """Type: ``q``, ``Down``, ``C-c``."""
        self.tmux("send-keys", *keys)

    def line(self, text: str) -> None:
        """Type a line to a shell."""
        self.tmux("send-keys", "-l", text)
        self.tmux("send-keys", "Enter")

    def resize(self, columns: int, rows: int) -> None:
        self.tmux("resize-window", "-x", str(columns), "-y", str(rows))

    def screen(self, *, painted: bool = False) -> str:
        """What is on the screen now, with its colours if ``painted``."""
        return self.tmux("capture-pane", "-p", *(["-e"] if painted else []))

    def tells(self, variable: str) -> str:
        """A variable of the pane: ``alternate_on``, ``cursor_flag``, ``pane_title``."""
        return self.tmux("display-message", "-p", f"#{{{variable}}}").strip()

    def wait(self, until: Callable[[str], bool], what: str) -> str:
        """The screen as soon as ``until`` holds of it."""
        deadline_s = time.monotonic() + WAIT_S
        while True:
            shown = self.screen()
            if until(shown):
                return shown
            assert time.monotonic() < deadline_s, f"{what} never came:\n{shown}"
            time.sleep(0.05)

    def wait_for(self, *texts: str) -> str:
        """The screen as soon as it holds all ``texts``."""
        return self.wait(lambda shown: all(text in shown for text in texts), " and ".join(texts))

    def wait_gone(self, text: str) -> str:
        return self.wait(lambda shown: text not in shown, f"an end of {text}")

    def wait_told(self, variable: str, value: str) -> None:
        """Return as soon as a variable of the pane has ``value``."""
        deadline_s = time.monotonic() + WAIT_S
        while self.tells(variable) != value:
            assert time.monotonic() < deadline_s, f"{variable} stays {self.tells(variable)!r}:\n{self.screen()}"
            time.sleep(0.05)
