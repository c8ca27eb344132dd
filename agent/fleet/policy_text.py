"""A policy for a small fleet: which keys there are, who may order what, signed. Pure but for reading the rules' file.

What no rule names has the published default of its command, so that a small fleet needs no rules at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from agent.contract.policy import POLICY_TYPE, CommandRule, Policy, PolicyKey, RuleName
from agent.errors import BadRequest, PolicyInvalid
from agent.fleet.key_file import KeyFile
from agent.fleet.signing import sign
from agent.trust.policy import load_policy


def read_rules(path: Path) -> dict[str, CommandRule]:
    """``{"reset": {"roles": ["operator"], "people": 2, "organisations": 1, "local": null}}``.

    Raises:
        BadRequest: No such file, or another form.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[RuleName, CommandRule])
    except OSError as err:
        raise BadRequest(f"cannot read {path}: {err.strerror}", field="--rules") from err
    except msgspec.DecodeError as err:
        raise BadRequest(f"{path} is not a set of rules: {err}", field="--rules") from err


def signed_policy(
    *,
    version: int,
    issued_at: datetime,
    life: timedelta,
    root_threshold: int,
    keys: Sequence[PolicyKey],
    signers: Sequence[KeyFile],
    rules: Mapping[str, CommandRule] | None = None,
    lock_units: Sequence[str] = (),
) -> bytes:
    """The policy in its envelope, as a terminal's ``[trust] policy`` wants it: read back by the terminal's own rules.

    Args:
        keys: Every key, those of ``signers`` included.

    Raises:
        BadRequest: No terminal would take it; the message says why.
    """
    policy = Policy(
        version=version,
        issued_at=issued_at.replace(microsecond=0),
        expires_at=issued_at.replace(microsecond=0) + life,
        root_threshold=root_threshold,
        keys=tuple(keys),
        commands=dict(rules or {}),
        lock_units=tuple(lock_units),
    )
    envelope = sign(POLICY_TYPE, msgspec.json.encode(policy), signers)
    try:
        load_policy(envelope)
    except PolicyInvalid as err:
        raise BadRequest(f"no terminal would take this policy: {err.message}") from err
    return envelope
