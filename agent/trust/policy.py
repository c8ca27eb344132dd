"""Who may order what: reading a signed policy, and deciding by it. Pure but for `read_policy`.

Source: the product's contract, "Commands". Replacing a policy by a newer one belongs to the command ``policy``.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Final

import msgspec
from msgspec import Struct

from agent.contract.policy import DEVELOPMENT, POLICY_TYPE, CommandRule, Policy, PolicyKey
from agent.errors import BadRequest, PolicyInvalid
from agent.trust.envelope import Sealed, open_envelope, parse_object, verified_keys
from agent.trust.keys import keyid

MAX_POLICY_BYTES: Final = 512 * 1024
_SUPPORT = CommandRule(("support",), local="support")
_OPERATOR = CommandRule(("operator",))
_OPERATOR_LOCAL = CommandRule(("operator",), local="admin")
_TWO_OPERATORS = CommandRule(("operator",), people=2)

DEFAULT_RULES: Final[Mapping[str, CommandRule]] = MappingProxyType(
    {
        "ping": _SUPPORT,
        "rebirth": _SUPPORT,
        "check_device": _SUPPORT,
        "collect_diagnostics": _SUPPORT,
        "backup": _SUPPORT,
        "maintenance": _SUPPORT,
        "cancel": _OPERATOR_LOCAL,
        "reset": _OPERATOR_LOCAL,
        "reset.force": _TWO_OPERATORS,
        "reinit": _OPERATOR_LOCAL,
        "reinit.terminal": _TWO_OPERATORS,
        "configure": _OPERATOR,
        "policy": CommandRule(("root",)),
        "update": _OPERATOR,
        "lock": CommandRule(("security",), local="admin"),
        "unlock": CommandRule(("security",)),
        "activate": _TWO_OPERATORS,
        "switch_provider": CommandRule(("operator",), people=2, organisations=2),
        "decommission": _TWO_OPERATORS,
    }
)


class Verdict(Struct, frozen=True):
    """Whether it is allowed. ``why_not`` is for people and empty when it is; ``people``: whose signatures counted."""

    allowed: bool
    why_not: str = ""
    people: tuple[str, ...] = ()


def load_policy(data: bytes) -> Policy:
    """Read a policy out of its envelope and see that it is self-consistent: signed by its own threshold of root keys.

    Raises:
        PolicyInvalid: Any rule is broken; the message names it.
    """
    try:
        sealed = open_envelope(data, POLICY_TYPE, max_bytes=MAX_POLICY_BYTES)
        parse_object(sealed.payload, "policy")
        policy = msgspec.json.decode(sealed.payload, type=Policy)
    except BadRequest as err:
        raise _invalid(err.message) from err
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as err:
        where = str(err).rpartition(" - at ")[2] if " - at " in str(err) else "its form"
        raise _invalid(f"not a policy: wrong at {where}") from err
    _check_keys(policy.keys)
    if policy.expires_at <= policy.issued_at:
        raise _invalid("it expires before it is issued")
    roots = {key.person for key in signers(policy, sealed) if "root" in key.roles}
    if len(roots) < policy.root_threshold:
        raise _invalid(f"signed by {len(roots)} of the {policy.root_threshold} people with role root that it asks for")
    return policy


def read_policy(path: Path) -> Policy | None:
    """The policy in ``path``, or None where there is no such file.

    Raises:
        PolicyInvalid: The file cannot be read, or holds no usable policy.
    """
    try:
        return load_policy(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as err:
        raise _invalid(f"{path} cannot be read: {err.strerror}") from err
    except PolicyInvalid as err:
        raise PolicyInvalid(f"{path}: {err.message}", hint=err.hint) from err


def signers(policy: Policy, sealed: Sealed) -> tuple[PolicyKey, ...]:
    """Keys of the policy that verify a signature of the envelope; none: it is not authentic."""
    found = verified_keys(sealed, ((key.keyid, base64.b64decode(key.public_key)) for key in policy.keys))
    return tuple(key for key in policy.keys if key.keyid in found)


def is_expired(policy: Policy, now: datetime) -> bool:
    """An expired policy authorises nothing but a newer policy."""
    return now >= policy.expires_at


def is_development_policy(policy: Policy) -> bool:
    """True when a key belongs to the organisation ``development``: for a demo on one machine, never for a terminal."""
    return any(key.organisation == DEVELOPMENT for key in policy.keys)


def rule_for(policy: Policy | None, name: str) -> CommandRule | None:
    """The policy's rule, else the default one; None for a name that neither knows."""
    return (policy.commands.get(name) if policy else None) or DEFAULT_RULES.get(name)


def authorise(policy: Policy, rule: CommandRule, keys: Iterable[PolicyKey], now: datetime) -> Verdict:
    """May these signers order it? People and organisations count once, and only with one of the rule's roles."""
    if is_expired(policy, now):
        return Verdict(False, "the policy has expired")
    entitled = [key for key in keys if not set(rule.roles).isdisjoint(key.roles)]
    people = {key.person for key in entitled}
    organisations = {key.organisation for key in entitled}
    if len(people) < rule.people:
        return Verdict(False, f"{len(people)} of {rule.people} people with role {' or '.join(rule.roles)} signed")
    if len(organisations) < rule.organisations:
        return Verdict(False, f"signed for {len(organisations)} of {rule.organisations} organisations")
    return Verdict(True, people=tuple(sorted(people)))


def authorise_local(
    policy: Policy | None, rule: CommandRule, rights: frozenset[str], now: datetime, *, unusable: bool = False
) -> Verdict:
    """May a caller at the terminal order it?

    Args:
        rights: Of ``support`` and ``admin``; an admin has both.
        unusable: There is a policy, and it cannot be used: what it may forbid is not known.
    """
    if unusable and rule.local != "support":
        return Verdict(False, "the trust policy cannot be used, so only support may order, and only what is support's")
    if policy is not None and is_expired(policy, now):
        return Verdict(False, "the policy has expired")
    if rule.local is None:
        return Verdict(False, "it must be signed: it cannot be ordered at the terminal")
    if rule.local in rights or "admin" in rights:
        return Verdict(True)
    return Verdict(False, f"it needs membership of pos-{rule.local}")


def _check_keys(keys: tuple[PolicyKey, ...]) -> None:
    homes: dict[str, str] = {}
    seen: set[str] = set()
    for place, key in enumerate(keys):
        public = base64.b64decode(key.public_key)
        if base64.b64encode(public).decode() != key.public_key:
            raise _invalid(f"keys[{place}].public_key is not canonical base64")
        if keyid(public) != key.keyid:
            raise _invalid(f"keys[{place}].keyid is not the SHA-256 of its public key")
        if key.keyid in seen:
            raise _invalid(f"keys[{place}] stands twice")
        if homes.setdefault(key.person, key.organisation) != key.organisation:
            raise _invalid(f"keys[{place}]: one person cannot speak for two organisations")
        seen.add(key.keyid)


def _invalid(why: str) -> PolicyInvalid:
    return PolicyInvalid(f"the trust policy is not used: {why}", hint="have its owners sign it again, or restore it")
