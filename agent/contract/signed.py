"""A DSSE envelope as it travels. Source: Dead Simple Signing Envelope 1.0.2. Opening and signing: ``agent/trust``."""

from __future__ import annotations

from msgspec import Struct


class EnvelopeSignature(Struct, frozen=True):
    """One signature as it travels. ``keyid`` is a hint and no more."""

    sig: str
    keyid: str = ""


class Envelope(Struct, frozen=True):
    """The envelope as it travels. Not ``forbid_unknown_fields``: the specification has consumers ignore them."""

    payload: str
    payloadType: str  # the specification's spelling
    signatures: list[EnvelopeSignature]
