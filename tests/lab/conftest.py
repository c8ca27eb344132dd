"""One booted terminal for all tests of a file, with the product installed and running."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.conditions import what_is_missing
from tests.lab.release import build_package, lay_out, set_up
from tests.lab.root_filesystem import root_filesystem
from tests.lab.terminal import Terminal


def _interrupted(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.fixture(scope="session")
def debian() -> Path:
    """The root file system, without us."""
    missing = what_is_missing()
    if missing is not None and os.environ.get("POS_AGENT_LAB") == "required":
        pytest.fail(f"the lab must run here: {missing}")
    if missing is not None:
        pytest.skip(missing)
    signal.signal(signal.SIGTERM, _interrupted)  # a run that is ended leaves no container behind
    return root_filesystem()


@pytest.fixture(scope="session")
def package(debian: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Debian package of this checkout."""
    return build_package(tmp_path_factory.mktemp("package"))


@pytest.fixture(scope="session")
def layers(debian: Path, package: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """What the package and an operator add, and below it Debian."""
    release = tmp_path_factory.mktemp("release")
    lay_out(release, package, debian)
    return [release, debian]


@pytest.fixture(scope="module")
def own_boot_id(terminal: Terminal) -> None:
    """The services see the container's boot id, which changes with every boot of it, and not this machine's.

    The container's is a mount over a file of /proc, and a sandbox has a /proc of its own; so a copy is laid over it
    there. On a terminal it is the kernel's, and needs none of this.
    """
    copy = "/run/lab-boot-id"
    terminal.run("tee", "/etc/tmpfiles.d/lab.conf", stdin=f"C+ {copy} - - - - /proc/sys/kernel/random/boot_id\n")
    terminal.run("systemd-tmpfiles", "--create", "/etc/tmpfiles.d/lab.conf")
    for unit in ("pos-agent.service", "pos-agent-machine.service"):
        terminal.drop_in(unit, f"BindReadOnlyPaths={copy}:/proc/sys/kernel/random/boot_id")
    terminal.run("systemctl", "restart", "pos-agent.service")


@pytest.fixture(scope="module")
def terminal(layers: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    with Terminal(tmp_path_factory.mktemp("terminal"), layers) as booted:
        set_up(booted)
        yield booted
