"""The trust policy as it is written: keys with people and roles, and who may order what.

Source: the product's contract, "Commands". Signatures and decisions are in ``agent/trust/policy.py``.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from agent.contract.command import Instant

POLICY_TYPE: Final = "application/vnd.pos-agent.policy.v1+json"
DEVELOPMENT: Final = "development"

Role = Literal["root", "support", "operator", "security", "collector"]
LocalRight = Literal["support", "admin"]
Party = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")]
RuleName = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,63}(\.[a-z][a-z0-9_]{0,63})?\Z")]
Threshold = Annotated[int, Meta(ge=1, le=8)]


class PolicyKey(Struct, frozen=True, forbid_unknown_fields=True):
    """One person's key. ``keyid``: hex SHA-256 of the 32 public bytes; ``public_key``: padded standard base64."""

    keyid: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
    public_key: Annotated[str, Meta(pattern=r"^[A-Za-z0-9+/]{43}=\Z")]
    person: Party
    organisation: Party
    roles: Annotated[tuple[Role, ...], Meta(min_length=1, max_length=5)]


class CommandRule(Struct, frozen=True, forbid_unknown_fields=True):
    """How many people, of how many organisations, with one of ``roles``; ``local``: who may at the terminal."""

    roles: Annotated[tuple[Role, ...], Meta(min_length=1, max_length=5)]
    people: Threshold = 1
    organisations: Threshold = 1
    local: LocalRight | None = None


class Policy(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole policy. ``lock_units``: application units that a lock stops."""

    version: Annotated[int, Meta(ge=1, le=2**53)]
    issued_at: Instant
    expires_at: Instant
    root_threshold: Threshold
    keys: Annotated[tuple[PolicyKey, ...], Meta(min_length=1, max_length=256)]
    commands: Annotated[dict[RuleName, CommandRule], Meta(max_length=256)] = {}
    lock_units: Annotated[
        tuple[Annotated[str, Meta(pattern=r"^[A-Za-z0-9@:._\\-]{1,200}\.service\Z")], ...], Meta(max_length=64)
    ] = ()
