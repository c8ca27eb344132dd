"""A transaction record's fields and their exact forms, as the payment application sends them.

Source: ISO 8583:1987 as Chinese acquirers use it (digits stay text), RFC 9562 for ids, RFC 3339 for times. What a type
requires and what a state may follow is not here: ``transaction.py`` and ``transaction_states.py``.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

Uuid = Annotated[str, Meta(pattern=r"\A[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z")]
SixDigits = Annotated[str, Meta(pattern=r"\A[0-9]{6}\Z")]
ThreeDigits = Annotated[str, Meta(pattern=r"\A[0-9]{3}\Z")]
Amount = Annotated[int, Meta(ge=0, le=999_999_999_999)]
Count = Annotated[int, Meta(ge=0, le=999_999_999)]
Attempt = Annotated[int, Meta(ge=1, le=999_999)]
Name = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9._-]{1,32}\Z")]
Rrn = Annotated[str, Meta(pattern=r"\A[0-9A-Za-z]{12}\Z")]
OrderNumber = Annotated[str, Meta(min_length=1, max_length=64)]
OriginalDate = Annotated[str, Meta(pattern=r"\A(?:[0-9]{4}-)?(?:0[1-9]|1[0-2])-?(?:0[1-9]|[12][0-9]|3[01])\Z")]
LocalTime = Annotated[
    str,
    Meta(
        pattern=r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?(?:Z|[+-][0-9]{2}:[0-9]{2})\Z"
    ),
]

State = Literal[
    "created",
    "sent",
    "approved",
    "declined",
    "unknown",
    "cancelled",
    "reversing",
    "reversed",
    "reversal_failed",
    "voided",
    "refunded",
    "settled",
]
Type = Literal[
    "sale",
    "pre_auth",
    "completion",
    "offline_sale",
    "balance_inquiry",
    "sale_void",
    "pre_auth_void",
    "completion_void",
    "refund",
    "tip",
    "adjustment",
    "qr_sale",
    "qr_refund",
    "sign_in",
    "sign_out",
    "settlement",
]


class Dcc(Struct, frozen=True, forbid_unknown_fields=True):
    """The amount in the cardholder's own currency, where conversion was offered."""

    amount_minor: Amount
    currency: ThreeDigits


class Original(Struct, frozen=True, forbid_unknown_fields=True):
    """What a void, refund, tip or adjustment refers to; at least one field. ``date``: MMDD, MM-DD or YYYY-MM-DD."""

    transaction_id: Uuid | None = None
    batch_no: SixDigits | None = None
    stan: SixDigits | None = None
    date: OriginalDate | None = None
    rrn: Rrn | None = None
    merchant_order_no: OrderNumber | None = None
    provider_txn_no: OrderNumber | None = None


class Total(Struct, frozen=True, forbid_unknown_fields=True):
    """One currency's line of a settlement."""

    currency: ThreeDigits
    debit_count: Count
    debit_minor: Amount
    credit_count: Count
    credit_minor: Amount


class RecordFields(Struct, frozen=True, forbid_unknown_fields=True):
    """Every field of a record. None: the sender left it out (an explicit null is refused)."""

    transaction_id: Uuid
    state: State
    type: Type
    provider: Name
    mid: Annotated[str, Meta(pattern=r"\A[A-Za-z0-9._-]{1,15}\Z")]
    tid: Annotated[str, Meta(pattern=r"\A[A-Za-z0-9._-]{1,8}\Z")]
    local_at: LocalTime
    amount_minor: Amount | None = None
    currency: ThreeDigits | None = None
    stan: SixDigits | None = None
    batch_no: SixDigits | None = None
    attempt: Attempt | None = None
    mti: Annotated[str, Meta(pattern=r"\A[0-9]{4}\Z")] | None = None
    processing_code: SixDigits | None = None
    pos_entry_mode: ThreeDigits | None = None
    pos_condition_code: Annotated[str, Meta(pattern=r"\A[0-9]{2}\Z")] | None = None
    rrn: Rrn | None = None
    auth_code: Annotated[str, Meta(pattern=r"\A[0-9A-Za-z]{6}\Z")] | None = None
    response_code: Annotated[str, Meta(pattern=r"\A[0-9A-Za-z]{2}\Z")] | None = None
    masked_pan: Annotated[str, Meta(pattern=r"\A[0-9]{6}\*{2,9}[0-9]{4}\Z")] | None = None
    scheme: Name | None = None
    channel: Name | None = None
    merchant_order_no: OrderNumber | None = None
    provider_txn_no: OrderNumber | None = None
    receipt_no: OrderNumber | None = None
    tip_minor: Amount | None = None
    cashback_minor: Amount | None = None
    surcharge_minor: Amount | None = None
    dcc: Dcc | None = None
    original: Original | None = None
    totals: Annotated[tuple[Total, ...], Meta(max_length=16)] | None = None
    balanced: bool | None = None
    memo: Annotated[str, Meta(max_length=256)] | None = None


_MONEY = ("stan", "batch_no", "currency", "amount_minor")
_ORDER = ("amount_minor", "currency", "merchant_order_no")
REQUIRED: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("sale", "pre_auth", "completion", "offline_sale"), _MONEY),
    "balance_inquiry": ("stan", "batch_no", "currency"),
    **dict.fromkeys(
        ("sale_void", "pre_auth_void", "completion_void", "refund", "tip", "adjustment"), (*_MONEY, "original")
    ),
    "qr_sale": _ORDER,
    "qr_refund": (*_ORDER, "original"),
    "sign_in": (),
    "sign_out": (),
    "settlement": ("batch_no", "totals", "balanced"),
}
"""Fields that a type requires beside the always required ones."""
SETTLEMENT_ONLY = ("totals", "balanced")

MTI_CLASS: dict[str, str] = {
    **dict.fromkeys(("pre_auth", "pre_auth_void"), "1"),
    **dict.fromkeys(
        (
            *("balance_inquiry", "completion", "completion_void", "sale", "sale_void", "refund", "offline_sale"),
            *("tip", "adjustment", "qr_sale", "qr_refund"),
        ),
        "2",
    ),
    **dict.fromkeys(("sign_in", "sign_out"), "8"),
    "settlement": "5",
}
"""Second digit of the MTI that a type travels under, for records that carry no MTI."""
