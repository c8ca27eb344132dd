"""A real PostgreSQL server in a folder of its own, on a unix socket only, as a user that is not root.

Needs Debian's ``postgresql`` binaries. It flushes its commits, as it must: a collector refuses one that does not.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

import psycopg

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
START_S = 30.0


def _user() -> str:
    return "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name


class Postgres:
    """``with Postgres() as server:``; ``kill`` and ``start`` by hand. ``store`` makes an empty one for ``--store``.

    Its folder is a short one below the system's temporary folder, because a socket's path may have 107 bytes.
    """

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pos-pg-"))
        self._data = self.folder / "data"
        self._process: subprocess.Popen[bytes] | None = None
        self._stores = 0
        user = pwd.getpwnam(_user())
        if os.geteuid() == 0:
            os.chown(self.folder, user.pw_uid, user.pw_gid)
        self._run(
            "initdb",
            "-D",
            str(self._data),
            "-A",
            "trust",
            "-U",
            "collector",
            "--no-instructions",
            "--no-sync",
            "-E",
            "UTF8",
        )
        with (self._data / "postgresql.conf").open("a") as file:
            file.write(
                f"listen_addresses = ''\nunix_socket_directories = '{self.folder}'\nshared_buffers = 64MB\n"
                "max_connections = 20\n"
            )

    def _run(self, program: str, *words: str) -> None:
        command = [str(BINARIES[-1] / program), *words]
        done = subprocess.run(command, capture_output=True, user=self._as(), cwd="/", env={"LC_ALL": "C.UTF-8"})
        assert done.returncode == 0, done.stderr.decode()

    def _as(self) -> str | None:
        return _user() if os.geteuid() == 0 else None

    def start(self) -> None:
        """Returns when it takes connections."""
        assert self._process is None
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(BINARIES[-1] / "postgres"), "-D", str(self._data)],
                user=self._as(),
                cwd="/",
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + START_S
        ready = [str(BINARIES[-1] / "pg_isready"), "-q", "-h", str(self.folder), "-U", "collector", "-d", "postgres"]
        while subprocess.run(ready).returncode != 0:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError((self.folder / "log").read_text())
            time.sleep(0.02)

    def store(self) -> str:
        """An empty schema of its own in the server's database, as ``--store`` names it."""
        self._stores += 1
        with self._connected() as connection:
            connection.execute(f"CREATE SCHEMA store{self._stores}".encode())
        folder = quote(str(self.folder), safe="")
        return f"postgresql://collector@/postgres?host={folder}&options=-c%20search_path%3Dstore{self._stores}"

    def _connected(self) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(host=str(self.folder), user="collector", dbname="postgres", autocommit=True)

    def configure(self, name: str, value: str) -> None:
        """Change a setting of the running server; returns when it holds."""
        with self._connected() as connection:
            connection.execute(f"ALTER SYSTEM SET {name} = {value}".encode())
            connection.execute("SELECT pg_reload_conf()")
            deadline = time.monotonic() + START_S
            while connection.execute("SELECT current_setting(%s)", (name,)).fetchone() != (value,):
                assert time.monotonic() < deadline
                time.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL to the whole server: what it had not written is lost, what it had confirmed must not be."""
        assert self._process is not None
        children = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(self._process.pid)], capture_output=True, text=True
        )
        self._process.kill()
        self._process.wait(20)
        for child in children.stdout.split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(child), signal.SIGKILL)
            while Path(f"/proc/{child}").exists():  # they hold its shared memory
                time.sleep(0.01)
        self._process = None

    def stop(self) -> None:
        """An immediate end in order."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(20)
            self._process = None

    def __enter__(self) -> Postgres:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        shutil.rmtree(self.folder)
