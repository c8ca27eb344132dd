"""DSSE envelopes: signed bytes with a type, and whose key verifies. Pure but for the arithmetic of Ed25519.

Source: Dead Simple Signing Envelope 1.0.2, ``protocol.md`` and ``envelope.md`` of secure-systems-lab/dsse. As they say,
both base64 alphabets are taken, fields that are not known are passed over (they are not signed and never used), and a
``keyid`` is no more than a hint. Stricter than it: at most 8 signatures, a limit on size, no name twice in one object.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from agent.contract.signed import Envelope, EnvelopeSignature
from agent.errors import BadRequest
from agent.trust.keys import SigningKey, verifies

MAX_SIGNATURES: Final = 8
MAX_BYTES: Final = 64 * 1024
_URL_SAFE_TO_STANDARD: Final = str.maketrans("-_", "+/")


class Sealed(Struct, frozen=True):
    """An envelope taken apart, not yet believed. ``signatures``: pairs of hint and bytes."""

    payload_type: str
    payload: bytes
    signatures: tuple[tuple[str, bytes], ...]


def pae(payload_type: str, body: bytes) -> bytes:
    """The pre-authentication encoding: the bytes that are signed."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(body), body)


def open_envelope(data: bytes, payload_type: str, *, max_bytes: int = MAX_BYTES) -> Sealed:
    """Take an envelope apart; nothing is verified yet.

    Args:
        payload_type: The only type that is taken.

    Raises:
        BadRequest: No envelope, another type, too large, no or too many signatures, or bad base64.
    """
    if len(data) > max_bytes:
        raise BadRequest(f"an envelope has at most {max_bytes} bytes", field="envelope")
    parse_object(data, "envelope")
    try:
        envelope = msgspec.json.decode(data, type=Envelope)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as err:
        raise BadRequest("not a DSSE envelope", field="envelope") from err
    if envelope.payloadType != payload_type:
        raise BadRequest("an envelope of another payloadType", field="payloadType")
    if not 1 <= len(envelope.signatures) <= MAX_SIGNATURES:
        raise BadRequest(f"an envelope has 1 to {MAX_SIGNATURES} signatures", field="signatures")
    signatures = tuple((one.keyid, _base64(one.sig, "sig")) for one in envelope.signatures)
    return Sealed(envelope.payloadType, _base64(envelope.payload, "payload"), signatures)


def verified_keys(sealed: Sealed, public_keys: Iterable[tuple[str, bytes]]) -> frozenset[str]:
    """Key ids of those keys with which at least one signature verifies.

    Args:
        public_keys: Pairs of key id and the 32 public bytes. The hint in a signature only says which to try first.
    """
    known = dict(public_keys)
    message = pae(sealed.payload_type, sealed.payload)
    found: set[str] = set()
    for hint, signature in sealed.signatures:
        first = [hint] if hint in known else []
        for keyid in first + [other for other in known if other != hint]:
            if keyid not in found and verifies(known[keyid], message, signature):
                found.add(keyid)
                break
    return frozenset(found)


def sign(payload_type: str, payload: bytes, keys: Sequence[SigningKey]) -> bytes:
    """An envelope as JSON, signed with each of ``keys``.

    Raises:
        BadRequest: No key, or more than an envelope may carry.
    """
    if not 1 <= len(keys) <= MAX_SIGNATURES:
        raise BadRequest(f"an envelope has 1 to {MAX_SIGNATURES} signatures", field="signatures")
    message = pae(payload_type, payload)
    return msgspec.json.encode(
        Envelope(
            payload=base64.b64encode(payload).decode(),
            payloadType=payload_type,
            signatures=[EnvelopeSignature(base64.b64encode(key.sign(message)).decode(), key.keyid) for key in keys],
        )
    )


class ParsedObject(Struct, frozen=True):
    """A JSON object as Python values. ``repeated``: names that stood twice in one object, anywhere in it."""

    values: dict[str, Any]
    repeated: frozenset[str]


def parse_leniently(data: bytes) -> ParsedObject | None:
    """Parse a JSON object and say which names stood twice (two readers might read two orders); None if it is none."""
    repeated: set[str] = set()

    def collect(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values = dict(pairs)
        if len(values) != len(pairs):
            names = [name for name, _value in pairs]
            repeated.update(name for name in values if names.count(name) > 1)
        return values

    try:
        values = json.loads(data.decode("utf-8"), object_pairs_hook=collect)
    except (ValueError, RecursionError):  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        return None
    return ParsedObject(values, frozenset(repeated)) if isinstance(values, dict) else None


def parse_object(data: bytes, field: str) -> dict[str, Any]:
    """Parse a JSON object in which no name stands twice.

    Raises:
        BadRequest: It is none.
    """
    parsed = parse_leniently(data)
    if parsed is None:
        raise BadRequest("not a JSON object", field=field)
    if parsed.repeated:
        raise BadRequest("a name stands twice in one object", field=field)
    return parsed.values


def _base64(text: str, field: str) -> bytes:
    """Decode base64 in either alphabet, with its padding or without."""
    bare = text.rstrip("=").translate(_URL_SAFE_TO_STANDARD)
    padding = -len(bare) % 4
    if len(text) - len(bare) not in (0, padding):
        raise BadRequest("not base64", field=field)
    try:
        return base64.b64decode(bare + "=" * padding, validate=True)
    except (binascii.Error, ValueError) as err:
        raise BadRequest("not base64", field=field) from err
