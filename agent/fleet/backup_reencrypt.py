"""``posctl fleet backup reencrypt``: the same backups, encrypted to other keys, each proved on the way."""

from __future__ import annotations

import argparse
import hashlib
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, cast

from msgspec import Struct

from agent.backup.age import present
from agent.backup.file_format import read_compressed
from agent.backup.file_names import file_name, name_in_work
from agent.backup.place import checked, decrypted
from agent.backup.restore_key import read_identities
from agent.backup.restore_plan import Piece
from agent.errors import BackupUnusable, BadRequest
from agent.fleet.backup_choice import chosen
from agent.fleet.screen import BAD, GOOD, Screen
from agent.runtime.durable_files import sync_folder

_NONE = datetime.min.replace(tzinfo=UTC)  # a segment's name has no time


class Done(Struct, frozen=True):
    """A file and what it became; ``to`` None: it is not usable, for ``problem``."""

    file: str
    to: str | None
    problem: str | None


def reencrypt(args: argparse.Namespace, screen: Screen) -> int:
    """Each file that is meant; 1 when one was not usable."""
    identities = read_identities(args.identity)
    for recipient in args.recipient:
        try:
            present().check_recipient(recipient)
        except BadRequest as err:
            hint = "give a public key that begins with age1, as pos-agent keys prints it"
            raise BadRequest("this is no public key of age", field="--recipient", hint=hint) from err
    if args.folder.resolve() == args.to.resolve():
        raise BadRequest("the files come from there", field="--to", hint="name another folder")
    pieces = [one for _site, _terminal, of_one in chosen(args.folder, args.terminal, args.journal) for one in of_one]
    done = []
    for number, piece in enumerate(pieces, 1):
        screen.work(f"{number} of {len(pieces)} files: {piece.file}")
        try:
            done.append(Done(piece.file, _encrypt_again(args.folder, args.to, piece, identities, args.recipient), None))
        except BackupUnusable as err:
            done.append(Done(piece.file, None, err.message))
    bad = [one for one in done if one.to is None]
    if screen.as_json:
        screen.document({"done": len(done) - len(bad), "unusable": len(bad), "items": done})
    else:
        screen.line(screen.paint(f"{len(done) - len(bad)} files proved and encrypted again, in {args.to}", GOOD))
        for one in bad:
            problem = screen.plain(one.problem or "")
            screen.line(f"{screen.paint('not usable', BAD)} {screen.plain(one.file)}: {problem}")
    return 1 if bad else 0


class _Copying:
    """A stream that is read here and goes on as it is to where it is encrypted again."""

    def __init__(self, source: IO[bytes], to: IO[bytes]) -> None:
        self._source, self._to = source, to

    def read(self, size: int = -1) -> bytes:
        content = self._source.read(size)
        self._to.write(content)
        return content


def _encrypt_again(place: Path, to: Path, piece: Piece, identities: Sequence[str], recipients: Sequence[str]) -> str:
    """The new file's path below ``to``; durable when this returns.

    Raises:
        BackupUnusable: The file cannot be read, or is not what it should be; nothing is left of it.
        BadRequest: The other folder cannot be written.
    """
    folder = (to / piece.file).parent
    part = folder / name_in_work(piece.says.kind, str(os.getpid()))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with part.open("w+b") as out:
            with decrypted(place, piece, identities) as plain:
                _copy(plain, out, piece, recipients)
            os.fsync(out.fileno())
            out.seek(0)
            digest = hashlib.file_digest(out, "sha256").hexdigest()
        name = file_name(piece.says.kind, piece.says.from_seq, piece.says.upto_seq, piece.says.made_at or _NONE, digest)
        part.rename(folder / name)
        sync_folder(folder)
    except OSError as err:
        raise _cannot_write(to, err) from err
    finally:
        part.unlink(missing_ok=True)
    return str((folder / name).relative_to(to))


def _copy(plain: IO[bytes], out: IO[bytes], piece: Piece, recipients: Sequence[str]) -> None:
    """Prove the content while it goes by. A failing target is told as BadRequest: the source's troubles are its own."""
    try:
        with present().encrypting(out, recipients) as sealed:
            parts = read_compressed(cast("IO[bytes]", _Copying(plain, sealed)))
            checked(next(parts), piece)
            for _part in parts:
                pass
        out.flush()
    except OSError as err:
        raise _cannot_write(Path(out.name), err) from err


def _cannot_write(where: Path, err: OSError) -> BadRequest:
    return BadRequest(f"cannot write {where}: {os.strerror(err.errno or 0)}", field="--to")
