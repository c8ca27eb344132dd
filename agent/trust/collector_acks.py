"""Whose word lets entries count as delivered: an acknowledgement is believed when a collector's key has signed it.

Source: the product's contract, "MQTT", ``in/ack/txn``. What it does to the journal is decided by ``agent/uplink``. One
signature is enough. An expired policy authorises nothing, and this neither: what is delivered may be removed here one
day. Until a newer policy comes entries only wait and are sent again; none is lost by that.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from agent.contract.journal_upload import ACK_TYPE, COLLECTOR, CollectorAck
from agent.contract.policy import Policy
from agent.errors import BadRequest
from agent.trust.envelope import open_envelope, parse_object
from agent.trust.policy import is_expired, signers


class AckRefused(Exception):
    """Nobody entitled acknowledged anything of this terminal. ``cause`` is one of our own words."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


def believe_ack(policy: Policy | None, payload: bytes, *, retained: bool, terminal: str, now: datetime) -> CollectorAck:
    """Open and verify an acknowledgement.

    Args:
        terminal: This one; an acknowledgement of another's entries says nothing here.

    Raises:
        AckRefused: It is not authentic, not for this terminal, or the policy has expired.
    """
    if retained:  # whoever connects would be given it again and again, long after the collector has been set back
        raise AckRefused("retained_ack")
    if policy is None:
        raise AckRefused("no_policy")
    try:
        sealed = open_envelope(payload, ACK_TYPE)
    except BadRequest as err:
        raise AckRefused("no_envelope") from err
    if not any(COLLECTOR in key.roles for key in signers(policy, sealed)):
        raise AckRefused("no_collector")
    if is_expired(policy, now):
        raise AckRefused("expired_policy")
    try:
        parse_object(sealed.payload, "ack")
        ack = msgspec.json.decode(sealed.payload, type=CollectorAck)
    except (BadRequest, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as err:
        raise AckRefused("unreadable_ack") from err
    if ack.terminal != terminal:
        raise AckRefused("other_terminal")
    return ack
