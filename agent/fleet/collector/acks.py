"""The collector's signature under what it holds: one envelope for each journal that a commit answered."""

from __future__ import annotations

from typing import Final

import msgspec

from agent.contract import topics
from agent.contract.journal_upload import ACK_TYPE, COLLECTOR, CollectorAck
from agent.errors import BadRequest
from agent.fleet.collector.parts import Kind
from agent.fleet.collector.posting import Told
from agent.fleet.key_file import KeyFile
from agent.trust import envelope
from agent.trust.keys import SigningKey

ACK_TOPIC: Final[dict[Kind, str]] = {"txn": topics.TRANSACTIONS_ACK, "audit": topics.AUDIT_ACK}


class Signer:
    """Signs with one key of role ``collector``.

    Raises:
        BadRequest: A key of another role, or a file that is not whole.
    """

    def __init__(self, key: KeyFile) -> None:
        if COLLECTOR not in key.roles:
            raise BadRequest(
                f"the key of {key.person} has no role {COLLECTOR}: no terminal would believe it",
                field="--key",
                hint="posctl fleet keys new --roles collector; and a policy that names the key",
            )
        self._key = SigningKey(key.seed())
        if self._key.keyid != key.keyid:
            raise BadRequest(f"the key file of {key.person} is not whole", field="--key")

    def sign(self, told: Told) -> tuple[str, bytes]:
        """Topic Name and payload for one terminal and journal."""
        head, resend_from = told.reply
        ack = CollectorAck(told.source.terminal, told.journal_id, head.sequence, head.hash.hex(), resend_from)
        payload = envelope.sign(ACK_TYPE, msgspec.json.encode(ack), [self._key])
        return topics.Address(told.source.site, told.source.terminal).topic(ACK_TOPIC[told.kind]), payload
