"""Amounts in minor units → text with the currency's own number of decimals, for people. Pure."""

from __future__ import annotations

from agent.contract.currencies import CURRENCIES
from agent.ctl.render.style import plain


def money(amount_minor: int, currency: str | None) -> str:
    """``money(1234567, "156")`` is ``12,345.67 CNY``; a number that is not listed keeps its minor units.

    Args:
        amount_minor: Integer, may be negative (a sum of refunds).
        currency: ISO 4217 number as three digits of text.
    """
    if currency not in CURRENCIES:
        return f"{amount_minor:,} minor units" + (f" of {plain(currency)}" if currency else "")
    return f"{decimal(amount_minor, currency, ',')} {CURRENCIES[currency][0]}"


def decimal(amount_minor: int, currency: str | None, thousands: str = "") -> str:
    """``decimal(1234567, "156")`` is ``12345.67``; empty for a currency that is not listed.

    Args:
        thousands: Between every three digits: ``,`` or nothing.
    """
    if currency not in CURRENCIES:
        return ""
    decimals = CURRENCIES[currency][1]
    whole, part = divmod(abs(amount_minor), 10**decimals)
    fraction = f".{part:0{decimals}d}" if decimals else ""
    sign = "-" if amount_minor < 0 else ""
    return f"{sign}{f'{whole:,}'.replace(',', thousands)}{fraction}"
