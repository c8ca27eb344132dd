"""Key files of operators: the private one (0600, stays with its person) and the public one (may go anywhere).

Both are JSON. The public part is exactly an entry of ``keys`` in a policy; a private file holds the same and the
32-byte Ed25519 seed. For a fleet with a hardware token or an HSM these files are not the way: this is for development
and small fleets.
"""

from __future__ import annotations

import base64
import binascii
import os
import stat
from pathlib import Path
from typing import get_args

import msgspec

from agent.contract.policy import PolicyKey, Role
from agent.errors import BadRequest, Refused

ROLES: tuple[str, ...] = get_args(Role)
_MAX_BYTES = 64 * 1024


class KeyFile(PolicyKey, frozen=True, forbid_unknown_fields=True):
    """A private key file. ``private_key`` is the seed as standard base64; it is never shown."""

    private_key: str

    def seed(self) -> bytes:
        return base64.b64decode(self.private_key, validate=True)

    def public(self) -> PolicyKey:
        return PolicyKey(self.keyid, self.public_key, self.person, self.organisation, self.roles)

    def __repr__(self) -> str:
        return f"KeyFile({self.keyid[:16]}…)"


def read_private(path: Path) -> KeyFile:
    """A private key.

    Raises:
        BadRequest: No such file, or not a private key file.
        Refused: Others than its owner may read it.
    """
    content, mode = _read(path)
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise Refused(
            f"{path} may be read by others than its owner: it is not used",
            reason="KEY_EXPOSED",
            hint=f"if nobody has seen it: chmod 600 {path}; else make a new key and a policy without this one",
        )
    try:
        key = msgspec.json.decode(content, type=KeyFile)
        if len(key.seed()) == 32:
            return key
    except (msgspec.DecodeError, binascii.Error, ValueError):
        pass  # and never the cause: it could show a part of the key
    raise BadRequest(f"{path} is no private key file", hint="posctl fleet keys new makes one")


def is_private(path: Path) -> bool:
    """Whether ``path`` holds a private key; reads it, and judges nothing else.

    Raises:
        BadRequest: No such file.
    """
    content, _mode = _read(path)
    try:
        msgspec.json.decode(content, type=KeyFile)
    except msgspec.DecodeError:
        return False
    return True


def read_public(path: Path) -> PolicyKey:
    """A public key, from either kind of file.

    Raises:
        BadRequest: No such file, or no key file.
    """
    content, _mode = _read(path)
    for shape in (PolicyKey, KeyFile):
        try:
            key = msgspec.json.decode(content, type=shape)
        except msgspec.DecodeError:
            continue
        return key.public() if isinstance(key, KeyFile) else key
    raise BadRequest(f"{path} is no key file", hint="posctl fleet keys new makes one")


def check_roles(roles: list[str]) -> list[str]:
    """``roles`` without repeats.

    Raises:
        BadRequest: One that no policy knows, or none.
    """
    if not roles or not set(roles) <= set(ROLES):
        raise BadRequest(f"roles are {', '.join(ROLES)}", field="--roles")
    return list(dict.fromkeys(roles))


def write_new(path: Path, content: bytes, mode: int) -> None:
    """Write a file that must not be there yet: a key is never overwritten.

    Raises:
        BadRequest: It exists, or the folder cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError as err:
        raise BadRequest(f"{path} is there already and is not overwritten", field="--out") from err
    except OSError as err:
        raise BadRequest(f"cannot write {path}: {err.strerror}", field="--out") from err


def _read(path: Path) -> tuple[bytes, int]:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            return file.read(_MAX_BYTES), mode
    except OSError as err:
        raise BadRequest(f"cannot read {path}: {err.strerror}", field="--key") from err
