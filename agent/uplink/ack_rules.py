"""What an authentic acknowledgement of the collector means for the journal here. Pure.

Source: the product's contract, "MQTT", ``in/ack/txn``. A chain that does not agree changes nothing, a claim beyond our
end neither. The collector's own word is the only one that moves the mark, forward or, when it has lost entries, back.
"""

from __future__ import annotations

from msgspec import Struct

from agent.contract.journal_upload import CollectorAck
from agent.store.upload_rows import Held


class Agreed(Struct, frozen=True):
    """Both chains are the same.

    Attributes:
        delivered: Up to here the collector holds everything.
        send_from: It asks for entries from here again; None: it asks for none.
        gone: First and last of those it asks for which are not here any more.
    """

    delivered: int
    send_from: int | None = None
    gone: tuple[int, int] | None = None


class Disputed(Struct, frozen=True):
    """The two sides hold different things at sequence ``at``; ``detail`` is for people."""

    at: int
    detail: str


class Passed(Struct, frozen=True):
    """Nothing changes; ``why`` is a word for the log."""

    why: str


def asked_again(ack: CollectorAck) -> int | None:
    """From where entries are asked for again: what the collector holds without a gap ends at ``upto_seq``."""
    return None if ack.resend_from is None else min(ack.resend_from, ack.upto_seq + 1)


def judge(ack: CollectorAck, held: Held, delivered: int) -> Agreed | Disputed | Passed:
    """Hold an acknowledgement against our own chain.

    Args:
        held: For ``ack.upto_seq`` and `asked_again`.
        delivered: How far the collector has everything, by the acknowledgements before this one.
    """
    upto, again = ack.upto_seq, asked_again(ack)
    if ack.journal_id != held.journal_id:
        return Passed("another_journal")
    if upto > held.last:
        return Disputed(upto, f"the collector acknowledges up to sequence {upto}, but the journal ends at {held.last}")
    if held.chain and ack.chain not in held.chain:
        return Disputed(upto, f"the collector has another chain at sequence {upto}")
    if again is None:
        return Agreed(max(delivered, upto)) if held.chain else Passed("nothing_to_compare")
    mark = again - 1 if held.chain else min(delivered, again - 1)
    return Agreed(mark, held.first_from, (again, held.first_from - 1) if held.first_from > again else None)
