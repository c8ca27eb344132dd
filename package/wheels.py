"""The pinned libraries of a release: fetched once by pip into a folder of their own, then unpacked."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from package.texts import CannotBuild, wheel_platforms

PYTHON = "3.11"


def wheels(cache: Path, names: Sequence[str], constraints: Path, architecture: str) -> list[Path]:
    """Wheels of ``names`` and all that they need, at the pinned versions, for Debian's Python on ``architecture``.

    Raises:
        CannotBuild: pip finds one of them nowhere as a wheel for that machine.
    """
    asked = repr((sorted(names), constraints.read_text(), architecture, PYTHON))
    folder = cache / f"{architecture}-{hashlib.sha256(asked.encode()).hexdigest()[:16]}"
    complete = folder / "complete"
    if not complete.exists():
        folder.mkdir(parents=True, exist_ok=True)
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--disable-pip-version-check",
            "--dest",
            str(folder),
        ]
        command += ["--only-binary", ":all:", "--implementation", "cp", "--python-version", PYTHON, "--abi", "cp311"]
        command += [word for one in wheel_platforms(architecture) for word in ("--platform", one)]
        command += ["--constraint", str(constraints), *names]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode != 0:
            raise CannotBuild(
                f"pip finds no wheel for {architecture}:\n{done.stderr[-1000:]}\n"
                "Build one on such a machine (pip wheel) and name its folder in PIP_FIND_LINKS."
            )
        complete.touch()
    return sorted(folder.glob("*.whl"))


# pyserial for other systems, over a network, and its programs: 0.25 MB.
NEVER_USED: Final = (
    *("serial/tools/", "serial/urlhandler/", "serial/threaded/", "serial/rfc2217.py", "serial/serialcli.py"),
    *("serial/serialjava.py", "serial/serialwin32.py", "serial/win32.py"),
)


def unpack(wheel: Path, packages: Path) -> None:
    """All of it but programs (``*.data``), pip's own lists and what a terminal never uses; metadata and licences stay.

    Raises:
        CannotBuild: Two wheels have the same file, or a name leads out of the folder.
    """
    with zipfile.ZipFile(wheel) as archive:
        for name in sorted(archive.namelist()):
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts:
                raise CannotBuild(f"{wheel.name} has a file {name!r}")
            top = path.parts[0]
            if name.endswith("/") or top.endswith(".data") or (top.endswith(".dist-info") and path.name == "RECORD"):
                continue
            if name.startswith(NEVER_USED):
                continue
            target = packages / path
            if target.exists():
                raise CannotBuild(f"{wheel.name} has {name!r}, and so has another wheel")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(archive.read(name))
