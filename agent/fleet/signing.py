"""Key files and signatures put together: the arithmetic and the envelope are ``agent/trust``'s."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import msgspec

from agent.errors import BadRequest
from agent.fleet.key_file import KeyFile
from agent.trust import envelope
from agent.trust.keys import SigningKey


def new_key(person: str, organisation: str, roles: Sequence[str]) -> KeyFile:
    """A new key pair.

    Raises:
        BadRequest: A name or role that no policy could hold.
    """
    key = SigningKey.generate()
    facts = {
        "keyid": key.keyid,
        "public_key": base64.b64encode(key.public_bytes).decode(),
        "person": person,
        "organisation": organisation,
        "roles": list(roles),
        "private_key": base64.b64encode(key.seed).decode(),
    }
    try:
        return msgspec.convert(facts, KeyFile)
    except msgspec.ValidationError as err:
        raise BadRequest("a person and an organisation are letters, digits, ., - and _, at most 64") from err


def sign(payload_type: str, payload: bytes, keys: Sequence[KeyFile]) -> bytes:
    """``payload`` in an envelope signed with each of ``keys``.

    Raises:
        BadRequest: No key or too many, or a file whose private and public halves do not belong together.
    """
    signing = [SigningKey(key.seed()) for key in keys]
    for key, secret in zip(keys, signing, strict=True):
        if secret.keyid != key.keyid:
            raise BadRequest(
                f"the key file of {key.person} is not whole: its private and public halves do not belong together",
                field="--key",
            )
    return envelope.sign(payload_type, payload, signing)
