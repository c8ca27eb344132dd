"""A file that appears whole or not at all, written piece by piece: temporary file beside it, fsync, rename.

Like ``runtime/durable_files.py``, for content that is never in memory as a whole.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from agent.errors import AgentError, BadRequest
from agent.runtime.durable_files import sync_folder

_MODE = 0o600  # amounts are nobody else's business


class OutputFailed(AgentError):
    """The file could not be written; what stood there before still does."""

    code = "OUTPUT_FAILED"


@contextmanager
def whole_file(path: Path, option: str) -> Iterator[BinaryIO]:
    """Replace ``path`` when the block has come to its end; on any error, an interruption included, leave no trace.

    Args:
        option: The option that named the file, for the errors.

    Raises:
        BadRequest: There can be no such file.
        OutputFailed: It could not be written.
    """
    _check(path, option)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, _MODE)
    except OSError as err:
        raise BadRequest(
            f"cannot write into {path.parent}: {err.strerror}", field=option, hint="name a folder of your own"
        ) from err
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as err:
        temporary.unlink(missing_ok=True)
        raise OutputFailed(
            f"writing {path} failed: {err.strerror or err}", field=option, hint="make room there, or name another place"
        ) from err
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _check(path: Path, option: str) -> None:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return
    except (OSError, ValueError) as err:
        raise BadRequest("that is no name of a file", field=option, hint="name a file, or - for the output") from err
    if not stat.S_ISREG(mode):
        raise BadRequest(
            f"{path} is there and is no ordinary file", field=option, hint="name a new file, or - for standard output"
        )
