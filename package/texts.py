"""What is written into the Debian package: versions, control file, changelog, checksums. Pure; no I/O in this file.

Source: Debian Policy 4.6.2, chapters 4 (changelog), 5 (control fields); deb-control(5).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Final

MAINTAINER: Final = "pos-agent developers <pos-agent@localhost>"
# Debian 12 has these fit for us. PyNaCl: 1.5 does all that `agent/trust/keys.py` asks, and libsodium is kept safe by
# Debian's security updates, not by ours. All other libraries are too old there (structlog 22.3, paho-mqtt 1.6), are
# not there (aiomqtt, msgspec), or are one that we pin and that costs no more than 0.3 MB (pyserial, tomli-w).
# The age program does what pyrage does, in a process of its own as well, and pyrage would be 2.2 MB.
FROM_DEBIAN: Final = {"PyNaCl": "python3-nacl (>= 1.5)", "pyrage": "age (>= 1.0)"}
# Debian's name of a machine → what pip calls the wheels that run there, and Debian's triple in names of its modules.
# Debian 12 has glibc 2.36; a wheel for any older one runs.
MACHINES: Final = {
    "amd64": ("x86_64", "x86_64-linux-gnu"),
    "arm64": ("aarch64", "aarch64-linux-gnu"),
    "armhf": ("armv7l", "arm-linux-gnueabihf"),
}
GLIBC_MINORS: Final = (17, 24, 28, 31, 34, 35)


class CannotBuild(Exception):
    """No package was made; says why and what to do next."""


def checked_version(version: str) -> str:
    """A release is numbers with dots: then Debian, the folder below ``releases/`` and we order versions alike."""
    if re.fullmatch(r"\d+(\.\d+){1,3}", version) is None:
        raise CannotBuild(f"version {version!r}: a release is numbers with dots, like 0.2.0; say --version")
    return version


def with_version(source: str, version: str) -> str:
    """``agent/__init__.py`` that says ``version``."""
    text, count = re.subn(r'^__version__ = "[^"]*"$', f'__version__ = "{version}"', source, flags=re.MULTILINE)
    if count != 1:
        raise CannotBuild('agent/__init__.py has no line __version__ = "…"')
    return text


def bundled(dependencies: Iterable[str]) -> list[str]:
    """Names out of pyproject's ``dependencies`` that the package brings along.

    >>> bundled(["PyNaCl>=1.5", "paho-mqtt>=2.2,<3"])
    ['paho-mqtt']
    """
    names = [re.split(r"[^A-Za-z0-9._-]", one, maxsplit=1)[0] for one in dependencies]
    return [name for name in names if name not in FROM_DEBIAN]


def wheel_platforms(architecture: str) -> list[str]:
    """pip's names for Debian 12 on ``architecture``, the plainest last."""
    if architecture not in MACHINES:
        raise CannotBuild(f"architecture {architecture!r}: known are {', '.join(MACHINES)}")
    machine = MACHINES[architecture][0]
    return [f"manylinux_2_{minor}_{machine}" for minor in reversed(GLIBC_MINORS)] + [f"linux_{machine}"]


def control(version: str, architecture: str, size_kib: int, maintainer: str) -> str:
    """The control file."""
    depends = ["python3 (>= 3.11)", "python3 (<< 3.12)", *FROM_DEBIAN.values(), "libc6 (>= 2.28)", "systemd (>= 252)"]
    return f"""Package: pos-agent
Version: {version}
Architecture: {architecture}
Maintainer: {maintainer}
Installed-Size: {size_kib}
Depends: {", ".join(depends)}
Suggests: mosquitto, acl
Section: misc
Priority: optional
Description: agent of a payment terminal
 Watches the hardware of a Linux payment terminal and says whether it can sell,
 keeps a backup journal of transactions that never loses an acknowledged record,
 and carries out signed orders that arrive over MQTT, each once. Payment
 applications and technicians reach it over two unix sockets.
"""


def changelog(version: str, epoch_s: int, maintainer: str) -> str:
    """Debian's own form; what changed stands in ``CHANGELOG.md`` beside it."""
    day = datetime.fromtimestamp(epoch_s, tz=UTC).strftime("%a, %d %b %Y %H:%M:%S +0000")
    return f"""pos-agent ({version}) stable; urgency=medium

  * Release {version}; /usr/share/doc/pos-agent/CHANGELOG.md.gz says what it brings.

 -- {maintainer}  {day}
"""


def installed_size_kib(sizes: Iterable[int | None]) -> int:
    """Of files by their bytes, folders and links as None: each file in whole KiB, all else 1.

    Source: deb-substvars(5).
    """
    return sum(1 if size is None else -(-size // 1024) for size in sizes)


def md5sums(digests: Mapping[str, str]) -> str:
    """Path below ``/`` → hex digest, as dpkg(1) ``--verify`` reads them."""
    return "".join(f"{digest}  {path}\n" for path, digest in sorted(digests.items()))
