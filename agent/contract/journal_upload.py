"""The journal on its way to the collector, and the collector's word for it: ``agent/txn`` and ``in/ack/txn``.

``agent/audit`` and ``in/ack/audit`` have the same forms. Only a signed acknowledgement marks entries delivered.
"""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta, Struct

from agent.contract.journal_views import EntryItem

ACK_TYPE: Final = "application/vnd.pos-agent.ack.v1+json"
COLLECTOR: Final = "collector"
"""The role whose signature counts."""

WINDOW: Final = 8
"""Messages that may be sent beyond the last acknowledgement."""
RESEND_S: Final = 60.0
"""After so long without an acknowledgement everything after the last one is sent again."""

Sequence = Annotated[int, Meta(ge=0, le=2**62)]
Hash = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]


class EntryBatch(Struct, frozen=True, forbid_unknown_fields=True):
    """Entries in order without a hole; ``from_seq`` is the first one's, the last one's ``hash`` is the chain so far."""

    journal_id: str
    from_seq: Sequence
    entries: list[EntryItem]


class CollectorAck(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What the collector holds durably, contiguous from the beginning.

    Attributes:
        upto_seq: The last entry of that part; 0: none.
        chain: The collector's own hash of the chain there. One that is not the terminal's means a fork.
        resend_from: Please send again from here: something is missing, or out of order.
    """

    terminal: str
    journal_id: str
    upto_seq: Sequence
    chain: Hash
    resend_from: Annotated[int, Meta(ge=1, le=2**62)] | None = None


class JournalOrigin(Struct, frozen=True, forbid_unknown_fields=True):
    """Part of the birth message: whose journal this one continues.

    Attributes:
        parent: ``journal_id`` of the journal before; None for a first journal.
        base_sequence: The last entry that is the parent's own; 0 for a first journal.
        base_hash: The chain there.
    """

    parent: str | None
    base_sequence: Sequence
    base_hash: Hash
