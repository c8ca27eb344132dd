"""The product as an operator installs it: its Debian package and a configuration, nothing of a checkout."""

from __future__ import annotations

import subprocess
from pathlib import Path

import tomli_w

import agent
from package.build_deb import Wanted, build, own_architecture, source_epoch_s
from tests.lab.terminal import PATH, Terminal

ROOT = Path(__file__).parents[2]
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


# In a mount namespace of its own, so nothing stays mounted. Overlay folders must not lie on an overlay themselves.
INSTALL = """set -eu
mount -t tmpfs -o mode=0755 tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=$2,upperdir=$1/upper,workdir=$1/work" "$1/root"
cp "$3" "$1/root/run/pos-agent.deb"
chroot "$1/root" dpkg --install /run/pos-agent.deb
rm "$1/root/run/pos-agent.deb"
cp -a "$1/upper/." "$4"
"""


def build_package(folder: Path, version: str = agent.__version__) -> Path:
    """The Debian package of this checkout."""
    return build(folder, Wanted(version, own_architecture(), source_epoch_s()), ROOT / "build/wheels")


def lay_out(layer: Path, package: Path, below: Path) -> None:
    """What installing ``package`` onto ``below`` adds to it, and a configuration; nothing is started by it."""
    scratch = layer.with_name(f"{layer.name}-scratch")
    scratch.mkdir()
    layer.chmod(0o755)  # it becomes the root folder
    command = ["unshare", "--mount", "--propagation=private", "sh", "-c", INSTALL, "sh"]
    command += [str(path) for path in (scratch, below, package, layer)]
    environment = {"PATH": PATH, "LC_ALL": "C.UTF-8"}
    done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, f"the package cannot be installed:\n{done.stdout}{done.stderr}"
    etc = layer / "etc/pos-agent"
    (etc / "agent.toml").write_text(tomli_w.dumps(CONFIGURATION))
    (etc / "machine.toml").write_text(tomli_w.dumps(MACHINE_LIST))
    payment = layer / "opt/payment/application.py"
    payment.parent.mkdir()
    payment.write_text(PAYMENT_APPLICATION)
    (layer / "etc/systemd/system").mkdir(parents=True, exist_ok=True)
    (layer / "etc/systemd/system/payment.service").write_text(PAYMENT_UNIT)


def set_up(terminal: Terminal) -> None:
    """What an operator types once the files are there."""
    for user, groups in USERS:
        terminal.run("useradd", "--system", *(["--groups", groups] if groups else []), user)
    terminal.run("systemctl", "enable", "--now", "payment.service")
    terminal.run("systemctl", "start", "pos-agent.service")  # it did at boot; this waits until it is ready
