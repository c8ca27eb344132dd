"""The product as an operator installs it: a release below /opt, its units, its configuration, nothing of a checkout."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess
import sys
from pathlib import Path

import tomli_w

import agent
from tests.lab.terminal import Terminal

ROOT = Path(__file__).parents[2]
UNITS = "usr/lib/systemd/system"
CONFIGURATION = {
    "mode": "development",
    "terminal": {"site": "shop-1", "terminal": "T-0001", "serial": "SN123"},
    "binding": [{"provider": "acquirer-a", "mid": "104110058120001", "tid": "00010001"}],
    "application": [{"name": "payment", "unit": "payment.service"}],
    "clock": {"trust": "assume"},  # the container has the host's clock, and may not say whether it is synchronised
}
PAYMENT_APPLICATION = """import json, pathlib, socket, time
with pathlib.Path("/var/lib/payment/starts").open("a") as starts:
    starts.write("start\\n")
pathlib.Path("/var/cache/payment/menu").write_text("fetched again")
status = {"ready": True, "signed_in": True, "batch_no": "000001"}
status |= {"pending_reversals": 0, "unknown_results": 0, "saf_count": 0}
request = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "app.status", "params": status}).encode() + b"\\n"
while True:
    try:
        with socket.socket(socket.AF_UNIX) as agent:
            agent.connect("/run/pos-agent/payment.sock")
            answers = agent.makefile("rb")
            while True:
                agent.sendall(request)
                if not answers.readline():
                    break
                time.sleep(1)
    except OSError:
        time.sleep(0.2)
"""
PAYMENT_UNIT = """[Service]
ExecStart=/usr/bin/python3 /opt/payment/application.py
User=payer
StateDirectory=payment
CacheDirectory=payment
Restart=always

[Install]
WantedBy=multi-user.target
"""
USERS = (
    ("payer", "pos-payment"),  # what a payment application runs as
    ("technician", "pos-support"),
    ("owner", "pos-admin,pos-support"),
    ("stranger", ""),
)
MACHINE_LIST = {"units": ["payment.service"]}


def lay_out(layer: Path) -> None:
    """Everything below ``layer``, as it lies on a terminal below ``/``."""
    release = layer / "opt/pos-agent/releases" / agent.__version__
    packages = release / f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
    packages.mkdir(parents=True)
    (layer / "opt/pos-agent/current").symlink_to(f"releases/{agent.__version__}")
    (release / "bin").mkdir()
    (release / "bin/python").symlink_to("/usr/bin/python3")
    (release / "pyvenv.cfg").write_text("home = /usr/bin\ninclude-system-site-packages = false\n")
    for name in ("agent", "drivers"):
        shutil.copytree(ROOT / name, packages / name, ignore=shutil.ignore_patterns("__pycache__"))
    for distribution in _needed("pos-agent", {}).values():
        _copy(distribution, packages)
    # Bytecode is part of a release: the folder cannot be written by the agent.
    compiling = [sys.executable, "-m", "compileall", "-q", "-o", "2", "-s", str(layer), "-p", "/", str(packages)]
    subprocess.run(compiling, check=True)
    _units(layer)
    etc = layer / "etc/pos-agent"
    etc.mkdir(parents=True)
    (etc / "agent.toml").write_text(tomli_w.dumps(CONFIGURATION))
    (etc / "machine.toml").write_text(tomli_w.dumps(MACHINE_LIST))
    payment = layer / "opt/payment/application.py"
    payment.parent.mkdir()
    payment.write_text(PAYMENT_APPLICATION)
    (layer / "etc/systemd/system").mkdir(parents=True)
    (layer / "etc/systemd/system/payment.service").write_text(PAYMENT_UNIT)


def set_up(terminal: Terminal) -> None:
    """What an operator types once the files are there."""
    terminal.run("systemd-sysusers")
    terminal.run("systemd-tmpfiles", "--create")
    for user, groups in USERS:
        terminal.run("useradd", "--system", *(["--groups", groups] if groups else []), user)
    terminal.run("systemctl", "daemon-reload")
    terminal.run("systemctl", "enable", "--now", "pos-agent-machine.path", "pos-agent.service", "payment.service")


def _units(layer: Path) -> None:
    units = layer / UNITS
    units.mkdir(parents=True)
    for file in (ROOT / "systemd").iterdir():
        if file.suffix in {".service", ".socket", ".path", ".timer", ".target"}:
            shutil.copy(file, units / file.name)
    for kind in ("sysusers", "tmpfiles"):
        folder = layer / f"usr/lib/{kind}.d"
        folder.mkdir(parents=True)
        shutil.copy(ROOT / f"systemd/pos-agent.{kind}.conf", folder / "pos-agent.conf")


def _needed(name: str, found: dict[str, importlib.metadata.Distribution]) -> dict[str, importlib.metadata.Distribution]:
    """Run-time dependencies of ``name``, without itself."""
    for requirement in importlib.metadata.distribution(name).requires or []:
        if "extra ==" in requirement:
            continue
        match = re.match(r"[A-Za-z0-9._-]+", requirement)
        assert match is not None
        try:
            distribution = importlib.metadata.distribution(match[0])
        except importlib.metadata.PackageNotFoundError:
            continue  # for another platform or interpreter
        if match[0] not in found:
            found[match[0]] = distribution
            _needed(match[0], found)
    return found


def _copy(distribution: importlib.metadata.Distribution, packages: Path) -> None:
    for file in distribution.files or []:
        if ".." in file.parts or "__pycache__" in file.parts:
            continue  # programs of bin/
        target = packages / file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(str(distribution.locate_file(file)), target)
