"""Identifiers, back-off, durable files, the state lock, notification: the small parts of a process."""

from __future__ import annotations

import io
import json
import os
import random
import socket
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
import structlog

from agent.errors import StateLocked
from agent.runtime import event_log
from agent.runtime.backoff import Backoff
from agent.runtime.boot_identity import read_boot_id
from agent.runtime.clock import SystemClock, rfc3339
from agent.runtime.durable_files import write_durably
from agent.runtime.identifiers import uuid7
from agent.runtime.state_lock import StateLock
from agent.runtime.systemd import Notifier, more_time, watchdog_interval_s


def test_identifiers_are_version_7_and_time_ordered() -> None:
    made = [uuid7() for _ in range(2000)]
    assert {uuid.UUID(one).version for one in made} == {7}
    assert {uuid.UUID(one).variant for one in made} == {uuid.RFC_4122}
    assert len(set(made)) == 2000
    stamps = [one[:13] for one in made]
    assert stamps == sorted(stamps)


def test_backoff_grows_to_its_limit_and_never_below_a_tenth() -> None:
    backoff = Backoff(1, 120, random.Random(7).uniform)
    waits = [backoff.next_s() for _ in range(40)]
    assert all(0.1 <= wait <= 120 for wait in waits)
    assert max(waits[-20:]) > 60
    backoff.reset()
    assert backoff.next_s() <= 1


def test_a_durable_file_is_whole_or_the_old_one(tmp_path: Path) -> None:
    file = tmp_path / "a"
    write_durably(file, b"one")
    assert file.read_bytes() == b"one"
    assert file.stat().st_mode & 0o777 == 0o600
    (tmp_path / "full").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_durably(tmp_path / "full", b"two")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "full"]


def test_the_state_folder_has_one_owner_and_the_lock_dies_with_it(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from pathlib import Path; from agent.runtime.state_lock import StateLock\n"
            f"StateLock(Path({str(tmp_path)!r})).take(); print('held', flush=True); sys.stdin.read()",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    )
    assert holder.stdin
    assert holder.stdout
    with holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(StateLocked, match=str(holder.pid)):
            StateLock(tmp_path).take()
        holder.kill()
    lock = StateLock(tmp_path)
    lock.take()
    lock.release()


def test_notifications_reach_systemd_and_its_absence_is_no_error(tmp_path: Path) -> None:
    Notifier(None).send("READY=1")
    Notifier(str(tmp_path / "nobody")).send("READY=1")
    address = f"\0test-{uuid.uuid4()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(address)
        Notifier("@" + address[1:]).send("READY=1", "STATUS=fine")
        assert sock.recv(100) == b"READY=1\nSTATUS=fine"


def test_the_watchdog_interval_is_half_of_what_systemd_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    assert watchdog_interval_s() is None
    monkeypatch.setenv("WATCHDOG_USEC", "60000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    assert watchdog_interval_s() == 30
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert watchdog_interval_s() is None


def test_the_boot_id_is_the_kernels_or_nil(tmp_path: Path) -> None:
    assert read_boot_id(Path("/proc")) == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert uuid.UUID(read_boot_id(tmp_path)).int == 0


def test_times_have_milliseconds_and_z() -> None:
    assert rfc3339(SystemClock().now())[-5] == "."
    assert rfc3339(SystemClock().now()).endswith("Z")


def test_redaction_is_the_last_stage_of_every_log_line() -> None:
    lines = io.StringIO()
    event_log.configure("info", lambda text: text.replace("4111111111111111", "[redacted]"), lines)
    log = structlog.get_logger("test")
    try:
        raise ValueError("4111111111111111 in an argument")
    except ValueError:
        log.warning("a.happened", exc_info=True, memo="x4111111111111111", deep={"k": ["4111111111111111"]}, n=3)
    log.debug("not.shown")
    structlog.reset_defaults()
    (line,) = lines.getvalue().splitlines()
    assert "4111111111111111" not in line
    event = json.loads(line)
    assert event["event"] == "a.happened"
    assert event["n"] == 3
    assert event["level"] == "warning"
    assert "ValueError at test_small_parts.py" in event["exception"]


def test_a_long_start_asks_systemd_for_more_time_again_and_again_but_not_for_ever() -> None:
    address = f"\0test-{uuid.uuid4()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(address)
        sock.settimeout(10)
        with more_time(Notifier("@" + address[1:]), longest_s=0.05, again_s=0.01):
            assert [sock.recv(100) for _ in range(5)] == [b"EXTEND_TIMEOUT_USEC=30000000"] * 5
            sock.settimeout(0.3)
            with pytest.raises(TimeoutError):
                sock.recv(100)
        with pytest.raises(ValueError, match="in the block"), more_time(Notifier(None), longest_s=60):
            raise ValueError("in the block")
