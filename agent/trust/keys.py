"""Ed25519 keys (RFC 8032), by PyNaCl. Where a private key is kept is the owner's business."""

from __future__ import annotations

import hashlib
import os

from agent.runtime.lean_imports import stand_ins

# The bindings for everything but signatures would be 0.2 MB for ever.
_UNUSED = ("aead", "box", "core", "generichash", "hash", "kx", "pwhash", "scalarmult", "secretbox", "secretstream")
with stand_ins(*(f"nacl.bindings.crypto_{part}" for part in _UNUSED)):
    from nacl.bindings import crypto_sign, crypto_sign_BYTES, crypto_sign_open, crypto_sign_seed_keypair
    from nacl.exceptions import BadSignatureError

PUBLIC_BYTES = 32
SEED_BYTES = 32


def keyid(public_key: bytes) -> str:
    """Hex SHA-256 of the 32 public bytes."""
    return hashlib.sha256(public_key).hexdigest()


def verifies(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """True when ``signature`` (64 bytes) over ``message`` was made with the private half of ``public_key`` (32 bytes).

    libsodium refuses non-canonical signatures and public keys of small order.
    """
    if len(signature) != crypto_sign_BYTES or len(public_key) != PUBLIC_BYTES:
        return False
    try:
        crypto_sign_open(signature + message, public_key)
    except BadSignatureError:
        return False
    return True


class SigningKey:
    """A private key. Its text form shows nothing."""

    __slots__ = ("_secret", "public_bytes")

    def __init__(self, seed: bytes) -> None:
        """``seed``: the 32 secret bytes of RFC 8032.

        Raises:
            ValueError: Not 32 bytes.
        """
        if len(seed) != SEED_BYTES:
            raise ValueError("an Ed25519 seed has 32 bytes")
        self.public_bytes, self._secret = crypto_sign_seed_keypair(seed)

    @classmethod
    def generate(cls) -> SigningKey:
        """A new key from the kernel's random numbers."""
        return cls(os.urandom(SEED_BYTES))

    @property
    def keyid(self) -> str:
        """Hex SHA-256 of the public bytes."""
        return keyid(self.public_bytes)

    @property
    def seed(self) -> bytes:
        """The 32 secret bytes, to be kept in a key file."""
        return self._secret[:SEED_BYTES]

    def sign(self, message: bytes) -> bytes:
        """The 64 bytes of the signature."""
        return crypto_sign(message, self._secret)[:crypto_sign_BYTES]

    def __repr__(self) -> str:
        return f"SigningKey({self.keyid[:12]}…)"
