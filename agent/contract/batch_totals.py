"""A batch's totals: which transactions count, on which side, to which settlement, and how totals differ. Pure.

Source: domain reference 5.4 and 5.2. Debits are sales, completions and offline sales; credits are their voids and
refunds. Tips and adjustments are debits, too, each with its own amount: the second digit of their type code (60.1: 34
and 32) is even. A transaction counts by its current state while that is one in which money moved and stayed (approved,
voided, refunded, settled): a void is a transaction of its own, so the sale that it undoes still counts.

Left out are pre-authorisations, whatever is declined, cancelled, unknown, reversed or being reversed, contents that
contradict others, and QR payments, which their own channels settle. A suspected twin counts: it shows as a difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from msgspec import Struct

from agent.contract.transaction_form import Total
from agent.contract.transaction_states import MONEY_COUNTS

DEBITS: Final = frozenset({"sale", "completion", "offline_sale", "tip", "adjustment"})
CREDITS: Final = frozenset({"sale_void", "completion_void", "refund"})
COUNTED_TYPES: Final = DEBITS | CREDITS
COUNTED_STATES: Final = MONEY_COUNTS

Side = tuple[int, int]
"""Count and sum of debits or credits in one currency."""


class Settlement(Struct, frozen=True):
    """An approved settlement that still is one. ``closes``: it was balanced, so that its batch ends with it."""

    sequence: int
    at: datetime
    closes: bool
    totals: tuple[Total, ...]


class Counted(Struct, frozen=True):
    """A transaction of a batch as it is now. ``first_sequence``, ``first_at``: of the first entry recorded of it."""

    type: str
    currency: str
    amount_minor: int
    first_sequence: int
    first_at: datetime


class Sums:
    """Totals of several transactions, per currency."""

    def __init__(self) -> None:
        self._sides: dict[tuple[str, bool], Side] = {}

    def add(self, one: Counted) -> None:
        """Count one more; its type is one of `COUNTED_TYPES`."""
        self._add(one.currency, 1, one.amount_minor, is_debit=one.type in DEBITS)

    def add_total(self, total: Total) -> None:
        """Count a settlement's line; a currency may have several."""
        self._add(total.currency, total.debit_count, total.debit_minor, is_debit=True)
        self._add(total.currency, total.credit_count, total.credit_minor, is_debit=False)

    def _add(self, currency: str, count: int, minor: int, *, is_debit: bool) -> None:
        count_before, minor_before = self.side(currency, is_debit=is_debit)
        self._sides[currency, is_debit] = (count_before + count, minor_before + minor)

    def side(self, currency: str, *, is_debit: bool) -> Side:
        return self._sides.get((currency, is_debit), (0, 0))

    def currencies(self) -> set[str]:
        return {currency for currency, _ in self._sides}


class Comparison:
    """Adds up what belongs to one settlement, and tells how it differs from what that says."""

    def __init__(self, settlement: Settlement, closed_before: Sequence[Settlement]) -> None:
        """``closed_before``: the settlements that closed a batch of the same number before, oldest first."""
        self._settlement = settlement
        self._closed_before = closed_before
        self._own = Sums()
        self._with_one_before = Sums()

    def add(self, transactions: Iterable[Counted]) -> None:
        """Count those that belong here.

        A transaction belongs to the first settlement of its batch that was recorded after it, or that took place after
        it by the application's own clock: so does what is recorded late. What began after the settlement is of another
        batch that has the same number.
        """
        *before, last = self._closed_before or (None,)
        for one in transactions:
            if not _is_of(one, self._settlement) or any(_is_of(one, each) for each in before if each is not None):
                continue
            self._with_one_before.add(one)
            if last is None or not _is_of(one, last):
                self._own.add(one)

    def difference(self) -> str | None:
        """For people, the first currency that differs with both figures; None when they agree.

        A settlement that differed may be made again: one that repeats the whole batch agrees, too.
        """
        said = Sums()
        for total in self._settlement.totals:
            said.add_total(total)
        found = _difference(self._own, said)
        if found is not None and self._closed_before and _difference(self._with_one_before, said) is None:
            return None
        return found


def _is_of(one: Counted, settlement: Settlement) -> bool:
    return one.first_sequence < settlement.sequence or one.first_at <= settlement.at


def _difference(journal: Sums, said: Sums) -> str | None:
    for currency in sorted(journal.currencies() | said.currencies()):
        ours = [journal.side(currency, is_debit=is_debit) for is_debit in (True, False)]
        theirs = [said.side(currency, is_debit=is_debit) for is_debit in (True, False)]
        if ours != theirs:
            return f"currency {currency}: journal {_text(*ours)}; settlement {_text(*theirs)}"
    return None


def _text(debits: Side, credit: Side) -> str:
    return f"debits {debits[0]} = {debits[1]}, credits {credit[0]} = {credit[1]}"
