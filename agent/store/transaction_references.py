"""How a refund finds its original: one text per reference, made the same way from either side. Pure.

The strongest reference that the refund gives is taken: the transaction's id, the provider's number, the merchant's
order number, the RRN, then batch and STAN (which name a transaction of the same terminal only).
"""

from __future__ import annotations

from agent.contract.transaction_form import RecordFields

REFUND_TYPES = frozenset({"refund", "qr_refund"})


def original_reference(refund: RecordFields) -> str | None:
    """What a refund refers to; None for other types, and where nothing given identifies a transaction."""
    original = refund.original
    if original is None or refund.type not in REFUND_TYPES:
        return None
    if original.transaction_id is not None:
        return f"id:{original.transaction_id}"
    merchant = f"{refund.provider}/{refund.mid}"
    if original.provider_txn_no is not None:
        return f"provider_txn_no:{merchant}:{original.provider_txn_no}"
    if original.merchant_order_no is not None:
        return f"merchant_order_no:{merchant}:{original.merchant_order_no}"
    if original.rrn is not None:
        return f"rrn:{merchant}:{original.rrn}"
    if original.batch_no is not None and original.stan is not None:
        return f"stan:{merchant}/{refund.tid}:{original.batch_no}:{original.stan}"
    return None


def references_to(sale: RecordFields) -> list[str]:
    """Every text by which a refund may refer to this transaction."""
    merchant = f"{sale.provider}/{sale.mid}"
    references = [f"id:{sale.transaction_id}"]
    references += [f"provider_txn_no:{merchant}:{sale.provider_txn_no}"] if sale.provider_txn_no else []
    references += [f"merchant_order_no:{merchant}:{sale.merchant_order_no}"] if sale.merchant_order_no else []
    references += [f"rrn:{merchant}:{sale.rrn}"] if sale.rrn else []
    if sale.batch_no is not None and sale.stan is not None:
        references.append(f"stan:{merchant}/{sale.tid}:{sale.batch_no}:{sale.stan}")
    return references
