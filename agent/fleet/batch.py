"""An order to several terminals with the ids that each was given; kept in a file, so that a second run goes on with it.

One JSON document a line: first the order and its recipients, written and on disk before anything is sent; then each
final state as it becomes known. A line that was cut off by a crash is passed over: the terminal tells its state again.
Neither keys nor signatures are kept.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import msgspec
from msgspec import Struct

from agent.contract.command import Window
from agent.errors import BadRequest
from agent.fleet.messages import OperationState
from agent.fleet.orders import EVERY_TERMINAL, Recipient, Wish, order_for

FORM = 1
_MAX_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Batch:
    """One order, and to whom."""

    site: str
    wish: Wish
    recipients: tuple[Recipient, ...]

    @property
    def whole_site(self) -> bool:
        return any(one.terminal == EVERY_TERMINAL for one in self.recipients)


class _Head(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    form: int
    site: str
    name: str
    arguments: dict[str, object]
    life_s: float
    recipients: tuple[_Recipient, ...]
    reason: str | None = None
    window: Window | None = None


class _Recipient(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    terminal: str
    command_id: str
    serial: str | None = None


class _Ended(Struct, frozen=True, forbid_unknown_fields=True):
    terminal: str
    state: OperationState


def new_batch(
    site: str, wish: Wish, terminals: Mapping[str, str | None], new_id: Callable[[], str], command_id: str | None
) -> Batch:
    """Give every terminal an order of its own; ``command_id`` is that of an earlier try, for one terminal.

    Raises:
        BadRequest: No terminal would take it; so nothing is begun.
    """
    if command_id is not None and len(terminals) != 1:
        raise BadRequest(
            "an id belongs to the order of one terminal", field="--command-id", hint="several: --batch FILE goes on"
        )
    batch = Batch(
        site, wish, tuple(Recipient(name, command_id or new_id(), serial) for name, serial in terminals.items())
    )
    for recipient in batch.recipients:
        order_for(wish, recipient)
    return batch


class BatchFile:
    """A batch on disk. ``ended``: terminal → its final state as far as the file knows."""

    def __init__(self, path: Path, batch: Batch, ended: Mapping[str, OperationState], *, cut_off: bool = False) -> None:
        """``cut_off``: its last line has no end."""
        self.path, self.batch = path, batch
        self.ended = dict(ended)
        self._cut_off = cut_off

    def note(self, terminal: str, state: OperationState) -> None:
        """Keep a final state.

        Raises:
            BadRequest: The file cannot be written any more.
        """
        if terminal in self.ended:
            return
        self.ended[terminal] = state
        line = msgspec.json.encode(_Ended(terminal, state))
        try:
            with self.path.open("ab") as file:
                file.write(b"\n" + line if self._cut_off else line)
                file.write(b"\n")
        except OSError as err:
            raise BadRequest(f"cannot write {self.path}: {err.strerror}", field="--batch") from err
        self._cut_off = False


def create(path: Path, batch: Batch) -> BatchFile:
    """A new file, on disk when this returns.

    Raises:
        BadRequest: It is there already, or cannot be written.
    """
    wish = batch.wish
    head = _Head(
        FORM,
        batch.site,
        wish.name,
        wish.arguments,
        wish.life.total_seconds(),
        tuple(_Recipient(one.terminal, one.command_id, one.serial) for one in batch.recipients),
        wish.reason,
        wish.window,
    )
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.encode(head) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as err:
        raise BadRequest(f"cannot write {path}: {err.strerror}", field="--batch") from err
    return BatchFile(path, batch, {})


def read(path: Path) -> BatchFile | None:
    """A file of an earlier run; None when there is none.

    Raises:
        BadRequest: It cannot be read, or is no batch file.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as err:
        raise BadRequest(f"cannot read {path}: {err.strerror}", field="--batch") from err
    head_line, *lines = content.split(b"\n")
    head, wish = _head(head_line if len(content) <= _MAX_BYTES else b"", path)
    recipients = tuple(Recipient(one.terminal, one.command_id, one.serial) for one in head.recipients)
    cut_off = not content.endswith(b"\n")
    return BatchFile(path, Batch(head.site, wish, recipients), _ended(lines, recipients), cut_off=cut_off)


def _head(line: bytes, path: Path) -> tuple[_Head, Wish]:
    try:
        head = msgspec.json.decode(line, type=_Head)
        if head.form == FORM:
            return head, Wish(head.name, head.arguments, timedelta(seconds=head.life_s), head.reason, head.window)
    except (ValueError, OverflowError, RecursionError):
        pass
    raise BadRequest(f"{path} is no batch file of this program", field="--batch", hint="name a file that is new")


def _ended(lines: Sequence[bytes], recipients: Sequence[Recipient]) -> dict[str, OperationState]:
    ids = {one.terminal: one.command_id for one in recipients}
    found: dict[str, OperationState] = {}
    for line in lines:
        try:
            ended = msgspec.json.decode(line, type=_Ended)
        except (ValueError, RecursionError):
            continue
        if ended.state.command_id == ids.get(ended.terminal, ids.get(EVERY_TERMINAL)):
            found[ended.terminal] = ended.state
    return found
