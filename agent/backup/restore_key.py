"""The terminal's own age key: ``<paths.state>/restore-key``, made once, used by a restore alone.

The operator encrypts backups again to its public part (``posctl fleet backup reencrypt``). The file is what
``age-keygen`` makes, so that the ``age`` program reads it, too. The operator's private key never comes near it.
"""

from __future__ import annotations

import stat
from datetime import datetime
from pathlib import Path
from typing import Final

from msgspec import Struct

from agent.backup.age import present
from agent.errors import BadRequest, NeedsPerson
from agent.runtime.clock import rfc3339
from agent.runtime.durable_files import write_durably

FILE: Final = "restore-key"
_BEGINS: Final = "AGE-SECRET-KEY-1"
_MAX_BYTES: Final = 64 * 1024


class RestoreKey(Struct, frozen=True):
    """``public``: the recipient ``age1…``. ``secret`` is shown nowhere."""

    public: str
    secret: str

    def __repr__(self) -> str:
        return f"RestoreKey({self.public})"


def read_key(state: Path) -> RestoreKey | None:
    """The key of this terminal; None while none was made.

    Raises:
        NeedsPerson: The file is there and is no such key, or others than its owner may read it.
    """
    path = state / FILE
    if not path.exists():
        return None
    hint = f"if it is of no use any more, move it away: mv {path} {path}.old; then pos-agent keys makes a new one"
    try:
        if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise NeedsPerson(f"{path} may be read by others than its owner: it is not used", hint=hint)
        secrets = read_identities(path)
        return RestoreKey(present().public_of(secrets[0]), secrets[0])
    except BadRequest as err:
        raise NeedsPerson(f"{path} is no key of age", hint=hint) from err


def make_key(state: Path, now: datetime) -> RestoreKey:
    """Make the key of this terminal and write it down; one that is there is kept. The caller holds the state lock.

    Raises:
        NeedsPerson: The folder cannot be written, or the file there is no key.
    """
    if (known := read_key(state)) is not None:
        return known
    pair = present().generate()
    text = f"# created: {rfc3339(now)}\n# public key: {pair.public}\n{pair.secret}\n"
    try:
        write_durably(state / FILE, text.encode(), 0o600)
    except OSError as err:
        hint = "check paths.state, its owner, and the room on its disk"
        raise NeedsPerson(f"{state / FILE} cannot be written: {err.strerror}", hint=hint) from err
    return RestoreKey(pair.public, pair.secret)


def read_identities(path: Path) -> list[str]:
    """The private keys in a file as ``age-keygen`` makes it: one a line, comments and empty lines between.

    Raises:
        BadRequest: It cannot be read, or holds anything else; the error shows nothing of it.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES)
    except OSError as err:
        raise BadRequest(f"cannot read {path}: {err.strerror}", field="--identity") from err
    if content.startswith((b"age-encryption.org/", b"-----BEGIN AGE ENCRYPTED FILE-----")):
        raise BadRequest(
            f"{path} is itself encrypted, with a passphrase perhaps",
            field="--identity",
            hint=f"decrypt it into memory first: age -d {path} > /dev/shm/identity, and remove that afterwards",
        )
    lines = [line.strip() for line in content.decode("utf-8", "replace").splitlines()]
    secrets = [line for line in lines if line and not line.startswith("#")]
    if not secrets or not all(line.startswith(_BEGINS) for line in secrets):
        raise BadRequest(
            f"{path} is no identity file of age",
            field="--identity",
            hint="it has a line that begins with AGE-SECRET-KEY-1, as age-keygen makes it",
        )
    for secret in secrets:
        present().public_of(secret)
    return secrets
