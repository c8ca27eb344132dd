"""``posctl fleet collect`` as a process of its own: started, read line by line, killed."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from agent.ctl.__main__ import main

END_S = 30.0


def new_key(folder: Path, roles: str = "collector") -> Path:
    """A private key file."""
    person = f"person-{roles}"
    words = ["--out", str(folder), "--person", person, "--organisation", "a", "--roles", roles]
    with contextlib.redirect_stdout(io.StringIO()):
        assert main(["fleet", "keys", "new", *words]) == 0
    return folder / f"{person}.key.json"


def public_bytes(key: Path) -> bytes:
    """The 32 bytes that verify what ``key`` signed."""
    return base64.b64decode(json.loads(key.read_text())["public_key"])


class CollectorProcess:
    """``with CollectorProcess(port, store, key) as collector:``; it has subscribed when the block begins."""

    def __init__(self, port: int, store: str, key: Path, *words: str, site: str = "S-01") -> None:
        command = [sys.executable, "-u", "-m", "agent.ctl", "fleet", "collect", "--broker", f"127.0.0.1:{port}"]
        self._command = [*command, "--site", site, "--store", store, "--key", str(key), "--json", *words]
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Returns when it collects."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.until("collecting")

    @property
    def process(self) -> subprocess.Popen[str]:
        assert self._process is not None
        return self._process

    def until(self, event: str) -> dict[str, Any]:
        """Read until an event of this name; gives it."""
        out: IO[str] | None = self.process.stdout
        assert out is not None
        for line in out:
            if line == "{\n":
                break  # the document of an error
            found: dict[str, Any] = json.loads(line)
            if found["event"] == event:
                return found
        raise AssertionError(f"ended without {event}: {self.process.communicate(timeout=END_S)}")

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.communicate(timeout=END_S)

    def stop(self) -> tuple[int, dict[str, Any]]:
        """SIGTERM; its exit code and the last line, with its counts."""
        self.process.send_signal(signal.SIGTERM)
        out, _err = self.process.communicate(timeout=END_S)
        last: dict[str, Any] = json.loads(out.splitlines()[-1])
        return self.process.returncode, last

    def __enter__(self) -> CollectorProcess:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()
        elif self._process is not None:
            for stream in (self._process.stdout, self._process.stderr):
                assert stream is not None
                stream.close()
