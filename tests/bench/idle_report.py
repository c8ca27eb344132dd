"""The idle agent with everything on: printer polled, board watched, connected to a broker over TLS."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from agent.demo.parts import PrinterPart
from tests.bench.idle import MEASURE_S, Idle, bare_interpreter, measure
from tests.kit import orders
from tests.kit.agent_process import ROOT, AgentProcess
from tests.kit.broker import Broker


def _certificates(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1 and its key."""
    certificate, key = folder / "broker.pem", folder / "broker.key"
    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    subprocess.run([*made, *names, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    return certificate, key


def measure_agent(folder: Path) -> Idle:
    """One idle agent at its default intervals, precompiled, ``-OO``."""
    certificate, key = _certificates(folder)
    models = folder / "agent" / "etc" / "models"
    models.mkdir(parents=True)
    (models / "countertop.toml").write_text((ROOT / "config" / "models" / "countertop.toml").read_text())
    printer = PrinterPart(folder)
    tls = f"cafile {certificate}\ncertfile {certificate}\nkeyfile {key}"
    with Broker(folder, config=tls) as broker:
        printer.start()
        uplink = {"host": broker.host, "port": broker.port, "tls": True, "ca_file": str(certificate)}
        agent = AgentProcess(
            folder / "agent",
            {
                "terminal": {"model": "countertop"},
                "uplink": uplink,
                "devices": {"printer-0": {"port": str(printer.port)}},
            },
            program=["-OO", "-m", "agent", "run"],
        )
        (folder / "agent" / "etc" / "policy.json").write_bytes(orders.signed_policy())
        try:
            agent.start()
            agent.stop()  # the first start may have compiled something
            agent.start()
            assert agent.process is not None
            return measure(agent.process.pid)
        finally:
            agent.close()
            printer.stop()


def report() -> None:
    """Print both, and the budgets beside them."""
    with tempfile.TemporaryDirectory(prefix="pos-bench-") as name:
        ours = measure_agent(Path(name))
    floor = bare_interpreter()
    print(
        f"idle over {MEASURE_S:g} s, printer and board looked at every 10 s, TLS; floor: asyncio, ssl, sqlite3 imported"
    )
    print(f"{'':>12} {'RSS MiB':>8} {'PSS MiB':>8} {'CPU ms/s':>9} {'wake-ups/s':>11}")
    for label, one in (("agent", ours), ("floor", floor)):
        print(f"{label:>12} {one.rss_mib:8.1f} {one.pss_mib:8.1f} {one.cpu_ms_per_s:9.2f} {one.wakeups_per_s:11.2f}")
    print(f"{'ratio':>12} {ours.rss_mib / floor.rss_mib:7.2f}× {ours.pss_mib / floor.pss_mib:7.2f}×", flush=True)
