"""The payload of a policy: which keys there are, and who may order what. Pure but for reading the rules' file.

Source: contract of the product, "Commands", the policy. What no rule names has the published default of its command,
so that a small fleet needs no rules at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from agent.errors import BadRequest
from agent.fleet.key_file import PublicKey

POLICY_TYPE = "application/vnd.pos-agent.policy.v1+json"
Count = Annotated[int, Meta(ge=1, le=8)]
Role = Literal["root", "support", "operator", "security", "collector"]


class Rule(Struct, frozen=True, forbid_unknown_fields=True):
    """Who may order one command: ``local`` names the group that may do so on the terminal itself."""

    roles: list[Role]
    people: Count = 1
    organisations: Count = 1
    local: Literal["support", "admin"] | None = None


class _Policy(Struct, frozen=True):
    version: int
    issued_at: str
    expires_at: str
    root_threshold: int
    keys: list[PublicKey]
    commands: dict[str, Rule]
    lock_units: list[str]


def read_rules(path: Path) -> dict[str, Rule]:
    """``{"reset": {"roles": ["operator"], "people": 2, "organisations": 1, "local": null}}``.

    Raises:
        BadRequest: No such file, or another form.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Rule])
    except OSError as err:
        raise BadRequest(f"cannot read {path}: {err.strerror}", field="--rules") from err
    except msgspec.DecodeError as err:
        raise BadRequest(f"{path} is not a set of rules: {err}", field="--rules") from err


def policy_payload(
    *,
    version: int,
    issued_at: datetime,
    life: timedelta,
    root_threshold: int,
    keys: Sequence[PublicKey],
    rules: Mapping[str, Rule],
    lock_units: Sequence[str],
) -> bytes:
    """The policy as JSON, before it is signed."""
    policy = _Policy(
        version=version,
        issued_at=_rfc3339(issued_at),
        expires_at=_rfc3339(issued_at + life),
        root_threshold=root_threshold,
        keys=list(keys),
        commands=dict(rules),
        lock_units=list(lock_units),
    )
    return msgspec.json.encode(policy)


def _rfc3339(at: datetime) -> str:
    return at.isoformat(timespec="seconds").replace("+00:00", "Z")
