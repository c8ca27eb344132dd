"""The idle agent with everything on, beside collectd: printer polled, board watched, a broker over TLS, backups."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from agent.backup.age import present
from agent.demo.parts import PrinterPart
from tests.bench.idle import Idle, watch
from tests.bench.row import Row
from tests.kit import orders
from tests.kit.agent_process import ROOT, AgentProcess
from tests.kit.broker import Broker

SETTLE_S, MEASURE_S = 20.0, 120.0
GATE_SETTLE_S, GATE_MEASURE_S = 20.0, 30.0  # the first snapshot is made 10 s after the start
UNIT = {"MALLOC_ARENA_MAX": "1"}  # as systemd/pos-agent.service sets it
_BARE = (
    "import asyncio, ssl, sqlite3, json, logging; ssl.create_default_context;"
    "print('ready', flush=True); asyncio.run(asyncio.sleep(600))"
)
_COLLECTD = """
FQDNLookup false
Hostname "bench"
Interval 10
BaseDir "{folder}"
PIDFile "{folder}/pid"
LoadPlugin cpu
LoadPlugin memory
LoadPlugin load
LoadPlugin swap
LoadPlugin disk
LoadPlugin interface
LoadPlugin thermal
LoadPlugin battery
LoadPlugin df
<Plugin df>
  MountPoint "/"
  ReportInodes true
</Plugin>
LoadPlugin unixsock
<Plugin unixsock>
  SocketFile "{folder}/socket"
</Plugin>
"""


@contextlib.contextmanager
def running_agent(folder: Path) -> Iterator[int]:
    """One agent at its default intervals, precompiled, ``-OO``; its pid."""
    certificate, key = _certificates(folder)
    models = folder / "agent" / "etc" / "models"
    models.mkdir(parents=True)
    (models / "countertop.toml").write_text((ROOT / "config" / "models" / "countertop.toml").read_text())
    printer = PrinterPart(folder)
    card = folder / "card"
    card.mkdir()
    backup = {"recipients": [present().generate().public], "folder": [{"name": "card", "path": str(card)}]}
    tls = f"cafile {certificate}\ncertfile {certificate}\nkeyfile {key}"
    with Broker(folder, config=tls) as broker:
        printer.start()
        uplink = {"host": broker.host, "port": broker.port, "tls": True, "ca_file": str(certificate)}
        agent = AgentProcess(
            folder / "agent",
            {
                "terminal": {"model": "countertop"},
                "uplink": uplink,
                "backup": backup,
                "devices": {"printer-0": {"port": str(printer.port)}},
            },
            program=["-OO", "-m", "agent", "run"],
        )
        (folder / "agent" / "etc" / "policy.json").write_bytes(orders.signed_policy())
        try:
            agent.start(env=UNIT)
            agent.stop()  # the first start may have compiled something
            agent.start(env=UNIT)
            assert agent.process is not None
            yield agent.process.pid
        finally:
            agent.close()
            printer.stop()


@contextlib.contextmanager
def running_collectd(folder: Path) -> Iterator[int | None]:
    """collectd over the same parts of the board at the same interval, no network; None where it is not installed."""
    program = shutil.which("collectd") or shutil.which("/usr/sbin/collectd")
    if program is None:
        yield None
        return
    folder.mkdir()
    config = folder / "collectd.conf"
    config.write_text(_COLLECTD.format(folder=folder))
    with subprocess.Popen(
        [program, "-f", "-C", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as it:
        try:
            yield it.pid
        finally:
            it.terminate()


@contextlib.contextmanager
def bare_interpreter() -> Iterator[int]:
    """The floor: the same interpreter with asyncio, ssl and sqlite3 imported."""
    with subprocess.Popen([sys.executable, "-OO", "-c", _BARE], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield process.pid
        finally:
            process.kill()


def report(*, settle_s: float = SETTLE_S, measure_s: float = MEASURE_S) -> list[Row]:
    """Watch all three over the same time; prints what each used."""
    with tempfile.TemporaryDirectory(prefix="pos-bench-") as name, contextlib.ExitStack() as running:
        folder = Path(name)
        pids = {"agent": running.enter_context(running_agent(folder))}
        collectd = running.enter_context(running_collectd(folder / "collectd"))
        if collectd is not None:
            pids["collectd"] = collectd
        pids["floor"] = running.enter_context(bare_interpreter())
        seen = watch(pids, settle_s, measure_s)
    print(
        f"idle over {measure_s:g} s: printer and board looked at every 10 s, TLS; collectd: the board only, no network"
    )
    print(f"{'':>12} {'RSS MiB':>8} {'PSS MiB':>8} {'CPU ms/s':>9} {'wake-ups/s':>11} {'MB/day':>7}")
    for label, one in seen.items():
        sizes = f"{one.rss_mib:8.1f} {one.pss_mib:8.1f} {one.cpu_ms_per_s:9.3f}"
        print(f"{label:>12} {sizes} {one.wakeups_per_s:11.2f} {one.written_mb_per_day:7.2f}", flush=True)
    return _rows(seen["agent"], seen["floor"], seen.get("collectd"))


def _rows(agent: Idle, floor: Idle, collectd: Idle | None) -> list[Row]:
    rows = [
        Row("idle memory, RSS", agent.rss_mib, "MiB", 32.0, floor.rss_mib, "bare python", absolute=True, steady=True),
        Row("idle wake-ups", agent.wakeups_per_s, "1/s", 0.5, steady=True),
        Row("idle flash writes", agent.written_mb_per_day, "MB/day", 2.0, steady=True),
    ]
    if collectd is None:
        print("idle CPU: no peer, collectd is not installed (Debian: collectd-core)")
    else:
        rows.append(Row("idle CPU", agent.cpu_ms_per_s, "ms/s", 1.0, collectd.cpu_ms_per_s, "collectd"))
    return rows


def _certificates(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1 and its key."""
    certificate, key = folder / "broker.pem", folder / "broker.key"
    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    subprocess.run([*made, *names, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    return certificate, key
