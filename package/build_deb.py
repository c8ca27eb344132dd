"""``python -m package.build_deb``: stage the files as they will lie below ``/``, then let dpkg-deb pack them.

The same commit gives the same bytes: every time is the commit's (``SOURCE_DATE_EPOCH`` says another), owners are root,
modes are set here, and bytecode is made on the terminal (`package/bytecode.py`).
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import agent
from package import texts
from package.texts import CannotBuild
from package.wheels import PYTHON, unpack, wheels

ROOT: Final = Path(__file__).parents[1]
CURRENT: Final = "/opt/pos-agent/current"
DEBIAN_MODULES: Final = "/usr/lib/python3/dist-packages"
PROGRAMS: Final = {"pos-agent": "agent", "posctl": "agent.ctl"}
# Not -s or -E alone: -I, as in the units, so that neither the environment nor the working folder says what is imported.
PROGRAM: Final = """#!/bin/sh
exec {current}/bin/python -I -OO -X pycache_prefix={current}/bytecode -m {module} "$@"
"""
UNITS: Final = (".service", ".socket", ".path", ".timer", ".target")
# To be filled in or chosen by whoever sets a terminal up; in force at once they would start an unconfigured terminal,
# keep a unit from starting, or name a device of somebody else.
EXAMPLES: Final = (
    "config/agent.toml",
    "config/machine.toml",
    "config/mosquitto.acl",
    "systemd/pos-agent-keypad.rules",
    "systemd/pos-agent.service.d/backup-medium.conf",
    "systemd/pos-agent.service.d/broker-credentials.conf",
    "systemd/pos-agent.service.d/keypad-reports.conf",
)
SCRIPTS: Final = ("postinst", "prerm", "postrm")


@dataclass(frozen=True)
class Wanted:
    """Which package; ``maintainer`` is a name and an address, ``epoch_s`` the time of every file."""

    version: str
    architecture: str
    epoch_s: int
    maintainer: str = texts.MAINTAINER


def stage(root: Path, wanted: Wanted, found: list[Path]) -> None:
    """Every file of the package below ``root``, as it lies on a terminal below ``/``; ``found`` are the wheels."""
    release = root / "opt/pos-agent/releases" / wanted.version
    packages = release / f"lib/python{PYTHON}/site-packages"
    packages.mkdir(parents=True)
    for name in ("agent", "drivers"):
        shutil.copytree(ROOT / name, packages / name, ignore=shutil.ignore_patterns("__pycache__"))
    says = packages / "agent/__init__.py"
    says.write_text(texts.with_version(says.read_text(), wanted.version))
    for wheel in found:
        unpack(wheel, packages)
    # Only these two of Debian's: one could have structlog find Debian's `rich`, which must never be beside it.
    triple = texts.MACHINES[wanted.architecture][1]
    for name in ("nacl", f"_cffi_backend.cpython-{PYTHON.replace('.', '')}-{triple}.so"):
        (packages / name).symlink_to(f"{DEBIAN_MODULES}/{name}")
    (release / "bin").mkdir()
    (release / "bin/python").symlink_to(f"/usr/bin/python{PYTHON}")
    (release / "pyvenv.cfg").write_text("home = /usr/bin\ninclude-system-site-packages = false\n")
    (root / "usr/bin").mkdir(parents=True)
    for program, module in PROGRAMS.items():
        (release / "bin" / program).write_text(PROGRAM.format(current=CURRENT, module=module))
        (release / "bin" / program).chmod(0o755)
        (root / "usr/bin" / program).symlink_to(f"{CURRENT}/bin/{program}")
    _copy(ROOT / "package/bytecode.py", release / "libexec/bytecode.py")
    for file in (ROOT / "systemd").iterdir():
        if file.suffix in UNITS:
            _copy(file, root / "usr/lib/systemd/system" / file.name)
        for kind in ("sysusers", "tmpfiles"):
            if file.name.endswith(f".{kind}.conf"):
                _copy(file, root / f"usr/lib/{kind}.d" / file.name.replace(f".{kind}", ""))
    for model in sorted((ROOT / "config/models").glob("*.toml")):
        _copy(model, root / "etc/pos-agent/models" / model.name)
    _documents(root / "usr/share/doc/pos-agent", wanted)
    _copy(ROOT / "package/lintian-overrides", root / "usr/share/lintian/overrides/pos-agent")


def build(output: Path, wanted: Wanted, cache: Path) -> Path:
    """Fetch the libraries into ``cache``, where they are not yet there, and `pack`.

    Raises:
        CannotBuild: The version is no release's, or a library is not there for this architecture.
    """
    texts.checked_version(wanted.version)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = texts.bundled(project["dependencies"])
    return pack(output, wanted, wheels(cache, names, ROOT / "constraints.txt", wanted.architecture))


def pack(output: Path, wanted: Wanted, found: list[Path]) -> Path:
    """The package with the wheels ``found``: ``pos-agent_<version>_<architecture>.deb`` in ``output``.

    Raises:
        CannotBuild: Not on a Debian.
    """
    if shutil.which("dpkg-deb") is None:
        raise CannotBuild("dpkg-deb is missing: a Debian package is made on a Debian")
    output.mkdir(parents=True, exist_ok=True)
    package = output / f"pos-agent_{wanted.version}_{wanted.architecture}.deb"
    with tempfile.TemporaryDirectory(prefix="pos-agent-deb-") as scratch:
        root = Path(scratch) / "root"
        root.mkdir()
        stage(root, wanted, found)
        _control_files(root, wanted, _settle(root))
        for path in (root, *root.rglob("*")):
            os.utime(path, (wanted.epoch_s, wanted.epoch_s), follow_symlinks=False)
        command = ["dpkg-deb", "--root-owner-group", "--threads-max=1", "-Zxz", "--build", str(root), f"{package}.new"]
        environment = {**os.environ, "SOURCE_DATE_EPOCH": str(wanted.epoch_s)}
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    Path(f"{package}.new").rename(package)
    return package


def source_epoch_s() -> int:
    """When the source was last changed: ``SOURCE_DATE_EPOCH``, or the last commit.

    Raises:
        CannotBuild: Neither is there.
    """
    said = os.environ.get("SOURCE_DATE_EPOCH")
    if said is None:
        command = ["git", "-C", str(ROOT), "log", "-1", "--format=%ct"]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        said = done.stdout.strip()
    if not said.isdecimal():
        raise CannotBuild("no git checkout to take the time of the last commit from: set SOURCE_DATE_EPOCH")
    return int(said)


def own_architecture() -> str:
    """This machine's, as dpkg names it."""
    done = subprocess.run(["dpkg", "--print-architecture"], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def _documents(folder: Path, wanted: Wanted) -> None:
    for name in EXAMPLES:
        _copy(ROOT / name, folder / "examples" / Path(name).name)
    _copy(ROOT / "package/copyright", folder / "copyright")
    for name, text in (
        ("changelog.gz", texts.changelog(wanted.version, wanted.epoch_s, wanted.maintainer)),
        ("CHANGELOG.md.gz", (ROOT / "CHANGELOG.md").read_text()),
    ):
        (folder / name).write_bytes(gzip.compress(text.encode(), mtime=0))


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _settle(root: Path) -> list[Path]:
    """Modes that do not depend on the builder's; returns ``root`` and everything below it."""
    everything = [root, *sorted(root.rglob("*"))]
    for path in everything:
        if not path.is_symlink():
            runs = path.is_dir() or path.parent.name == "bin"
            path.chmod(0o755 if runs else 0o644)
    return everything


def _control_files(root: Path, wanted: Wanted, staged: list[Path]) -> None:
    files = [path for path in staged if path.is_file() and not path.is_symlink()]
    names = {path: str(path.relative_to(root)) for path in files}
    sizes = [path.stat().st_size if path in names else None for path in staged]
    folder = root / "DEBIAN"
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    content = {
        "control": texts.control(
            wanted.version, wanted.architecture, texts.installed_size_kib(sizes), wanted.maintainer
        ),
        "conffiles": "".join(f"/{name}\n" for name in names.values() if name.startswith("etc/")),
        "md5sums": texts.md5sums(
            {name: hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() for path, name in names.items()}
        ),
        "triggers": (ROOT / "package/maintainer/triggers").read_text(),
    }
    for name in SCRIPTS:
        content[name] = (ROOT / "package/maintainer" / name).read_text().replace("@VERSION@", wanted.version)
    for name, text in content.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755 if name in SCRIPTS else 0o644)


def main() -> int:
    """Build one package and print where it is; 1 with the reason when there is none."""
    parser = argparse.ArgumentParser(prog="make deb", description="Build the Debian package.")
    parser.add_argument("--output", type=Path, default=ROOT / "dist", metavar="FOLDER")
    parser.add_argument("--version", default=agent.__version__, help="of the release, default: %(default)s")
    parser.add_argument("--architecture", default=own_architecture(), choices=sorted(texts.MACHINES))
    parser.add_argument("--cache", type=Path, default=ROOT / "build/wheels", metavar="FOLDER", help="fetched libraries")
    parser.add_argument("--maintainer", default=texts.MAINTAINER, help="name and address, default: %(default)s")
    asked = parser.parse_args()
    try:
        wanted = Wanted(asked.version, asked.architecture, source_epoch_s(), asked.maintainer)
        package = build(asked.output, wanted, asked.cache)
    except CannotBuild as err:
        print(f"no package: {err}", file=sys.stderr)
        return 1
    print(package)
    return 0


if __name__ == "__main__":
    sys.exit(main())
