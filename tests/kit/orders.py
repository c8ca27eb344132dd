"""Keys, policies and signed orders for tests, all made by the product's own signing side."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from agent.contract.command import COMMAND_TYPE
from agent.contract.policy import POLICY_TYPE
from agent.runtime.clock import rfc3339
from agent.runtime.identifiers import uuid7
from agent.trust import envelope
from agent.trust.keys import SigningKey


@dataclass(frozen=True)
class Signer:
    """A person with one key. The same ``person`` and ``number`` always have the same key."""

    person: str
    roles: tuple[str, ...]
    organisation: str = "acquirer-a"
    number: int = 1
    key: SigningKey = field(init=False, compare=False)

    def __post_init__(self) -> None:
        seed = hashlib.sha256(f"test key {self.number} of {self.person}".encode()).digest()
        object.__setattr__(self, "key", SigningKey(seed))

    def as_policy_key(self) -> dict[str, Any]:
        return {
            "keyid": self.key.keyid,
            "public_key": base64.b64encode(self.key.public_bytes).decode(),
            "person": self.person,
            "organisation": self.organisation,
            "roles": list(self.roles),
        }


ROOT = Signer("root-person", ("root",))
SUPPORT = Signer("support-person", ("support",))
OPERATOR = Signer("operator-person", ("operator",))
SECOND_OPERATOR = Signer("second-operator", ("operator",), organisation="acquirer-b")
EVERYBODY = (ROOT, SUPPORT, OPERATOR, SECOND_OPERATOR)
STRANGER = Signer("stranger", ("root", "support", "operator", "security"))


def policy_payload(
    people: Sequence[Signer] = EVERYBODY,
    *,
    commands: Mapping[str, Any] | None = None,
    issued_at: datetime = datetime(2020, 1, 1, tzinfo=UTC),
    expires_at: datetime = datetime(2099, 1, 1, tzinfo=UTC),
    **fields: Any,
) -> dict[str, Any]:
    """The policy as plain values; ``fields`` replace or add to it."""
    return {
        "version": 1,
        "issued_at": rfc3339(issued_at),
        "expires_at": rfc3339(expires_at),
        "root_threshold": 1,
        "keys": [person.as_policy_key() for person in people],
        "commands": dict(commands or {}),
        **fields,
    }


def signed_policy(payload: Mapping[str, Any] | None = None, signers: Sequence[Signer] = (ROOT,)) -> bytes:
    """A policy in its envelope: the content of the file that ``[trust] policy`` names."""
    return sign_json(payload or policy_payload(), signers, POLICY_TYPE)


def order_payload(
    name: str = "ping",
    arguments: Mapping[str, Any] | None = None,
    *,
    terminal: str = "T-0001",
    command_id: str | None = None,
    issued_at: datetime | None = None,
    lifetime: timedelta = timedelta(hours=1),
    **fields: Any,
) -> dict[str, Any]:
    """An order as plain values, issued now unless told; ``fields`` replace or add to it."""
    issued_at = issued_at or datetime.now(UTC)
    return {
        "command_id": command_id or uuid7(),
        "name": name,
        "target": {"terminal": terminal},
        "issued_at": rfc3339(issued_at),
        "expires_at": rfc3339(issued_at + lifetime),
        "arguments": dict(arguments or {}),
        **fields,
    }


def signed_order(payload: Mapping[str, Any] | None = None, signers: Sequence[Signer] = (SUPPORT,)) -> bytes:
    """An order in its envelope: the payload of an MQTT message below ``in/req/``."""
    return sign_json(payload or order_payload(), signers, COMMAND_TYPE)


def sign_json(payload: Mapping[str, Any], signers: Sequence[Signer], payload_type: str = COMMAND_TYPE) -> bytes:
    """Any values, encoded and signed."""
    return sign_bytes(msgspec.json.encode(payload), signers, payload_type)


def sign_bytes(payload: bytes, signers: Sequence[Signer], payload_type: str = COMMAND_TYPE) -> bytes:
    """Any bytes, signed: also such as no decent sender would make."""
    return envelope.sign(payload_type, payload, [signer.key for signer in signers])
