"""What is on the card, by the operator's key: decrypted by age, read as anybody would, the chain computed anew.

Nothing of the agent's own reading of backups is used; what a line means is published in ``docs/backup.md``.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from agent.backup.age import present
from agent.demo.evidence import Entry, chain_start, follow_chain
from agent.demo.parts import DemoFailed


@dataclass(frozen=True)
class Backup:
    """One file as it was decrypted."""

    name: str
    journal_id: str
    entries: list[Entry]


def backups(card: Path, key: Path) -> list[Backup]:
    """Every backup on the card.

    Raises:
        DemoFailed: The key does not open one, its trailer disagrees, or a hash in it does not follow.
    """
    found = []
    for file in sorted(card.rglob("*.age")):
        with contextlib.suppress(FileNotFoundError), file.open("rb") as sealed:  # gone: a newer one has what it held
            found.append(_backup(file, _decrypted(sealed, key)))
    return found


def _backup(file: Path, plain: bytes) -> Backup:
    *lines, trailer = gzip.decompress(plain).splitlines(keepends=True)
    header, end = json.loads(lines[0]), json.loads(trailer)
    if hashlib.sha256(b"".join(lines)).hexdigest() != end["sha256"]:
        raise DemoFailed(f"{file.name}: its lines are not those that its trailer speaks of")
    parts = [json.loads(line) for line in lines[1:]]  # of a snapshot also tables and their rows
    found = [_entry(part) for part in parts if "seq" in part]
    before, after = bytes.fromhex(header["anchor"]["hash"]), header["anchor"]["sequence"]
    if after == 0 and before != chain_start(header["journals"][0]["journal_id"]):
        raise DemoFailed(
            f"{file.name}: its chain does not begin as one of journal {header['journals'][0]['journal_id']}"
        )
    if follow_chain(found, before, after).hex() != end["chain"]:
        raise DemoFailed(f"{file.name}: its chain ends otherwise than its trailer says")
    return Backup(file.name, header["journal_id"], found)


def _entry(line: dict[str, Any]) -> Entry:
    return Entry(line["seq"], json.dumps(line["record"], ensure_ascii=False).encode(), bytes.fromhex(line["hash"]))


def _decrypted(sealed: BinaryIO, key: Path) -> bytes:
    """By the ``age`` program where there is one, else by the library that the agent encrypts with."""
    if (program := shutil.which("age")) is not None:
        command = [program, "-d", "-i", str(key)]
        done = subprocess.run(command, stdin=sealed, capture_output=True, timeout=60, check=False)
        if done.returncode != 0:
            raise DemoFailed(f"{sealed.name}: {done.stderr.decode(errors='replace').strip()}")
        return done.stdout
    secrets = [line for line in key.read_text().splitlines() if line.startswith("AGE-SECRET-KEY-")]
    with present().decrypting(sealed, secrets) as plain:
        return plain.read()
