"""The transaction journal as it is shown: entries, one transaction with its history, summaries, a verification.

Answered on the sockets; entries are what the collector is sent, too. How they are computed is the store's business.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct


class Mark(Struct, frozen=True, omit_defaults=True):
    """``conflict_with``: the entry this one contradicts. ``duplicate_of``: whose natural key it has."""

    conflict_with: int | None = None
    duplicate_of: str | None = None


class EntryItem(Struct, frozen=True, omit_defaults=True):
    """One journal entry as it is shown and sent: ``hash`` as 64 hexadecimal digits, ``record`` as received."""

    seq: int
    at: str
    record: dict[str, Any]
    hash: str
    mark: Mark | None = None


class Copies(Struct, frozen=True):
    """Where a transaction's entries are held, besides the payment application's own store."""

    local: bool
    backup: bool
    collector: bool


class TransactionView(Struct, frozen=True):
    """``current``: the first content of the latest state, with the computed ``state`` and ``refunded_minor``."""

    current: dict[str, Any]
    history: list[EntryItem]
    copies: Copies


class Page(Struct, frozen=True):
    """``next_cursor`` continues the list; None at its end."""

    items: list[EntryItem]
    next_cursor: str | None


class SummaryItem(Struct, frozen=True):
    """Count and sum of one type in one batch and currency."""

    provider: str
    mid: str
    tid: str
    batch_no: str | None
    currency: str | None
    type: str
    count: int
    sum_minor: int


class SummaryPage(Struct, frozen=True):
    """``next_cursor`` continues the summary; None at its end."""

    items: list[SummaryItem]
    next_cursor: str | None


class Verification(Struct, frozen=True):
    """``upto_sequence``: the last entry up to which everything is as it was stored; ``missing``: at most 100."""

    intact: bool
    upto_sequence: int
    missing: list[int]
