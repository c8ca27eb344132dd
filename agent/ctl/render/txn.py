"""Journal entries → a table, or one transaction with its history. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from agent.ctl.answers import Entry, Total, Verification
from agent.ctl.render.money import money
from agent.ctl.render.style import BAD, BOLD, DIM, GOOD, WARN, Cell, Style, many, plain, table, wrap

TONES = {
    "approved": GOOD,
    "settled": GOOD,
    "declined": WARN,
    "unknown": BAD,
    "reversing": WARN,
    "reversal_failed": BAD,
}
_FIRST = ("type", "provider", "mid", "tid", "stan", "batch_no")  # shown first, in this order; the rest as it came
MOST_NAMED = 100
"""``journal.verify`` names no more missing sequences than this."""
_FILL = (
    "What is missing can be filled from a copy that has it: stop the agent, then pos-agent restore --fill --from FOLDER"
    " (docs/restore.md)."
)
_EVIDENCE = "Keep the database as it is, delete nothing, and call your support: it is evidence."
_IN_TITLE = frozenset({"transaction_id", "state", "amount_minor", "currency", *_FIRST})


def entry_table(entries: Sequence[Entry], style: Style) -> list[str]:
    """One line an entry, in the order given."""
    if not entries:
        return ["no entries"]
    rows = [
        [
            Cell(str(entry.seq), "", right=True),
            Cell(style.local(entry.at)[5:]),
            Cell(_text(entry, "type")),
            Cell(_text(entry, "state") + ("*" if entry.mark else ""), TONES.get(_text(entry, "state"), "")),
            Cell(_amount(entry), "", right=True),
            Cell(_text(entry, "stan")),
            Cell(_text(entry, "transaction_id"), DIM),
        ]
        for entry in entries
    ]
    lines = table(["seq", "stored", "type", "state", "amount", "stan", "transaction"], rows, style, 6)
    if any(entry.mark for entry in entries):
        lines.append("* marked by the agent: posctl txn show TRANSACTION")
    return lines


def transaction_lines(history: Sequence[Entry], style: Style, copies: str = "") -> list[str]:
    """One transaction: what it is now, then how it came to be.

    Args:
        history: Its entries, oldest first, at least one.
        copies: Where they are held; empty: not known.
    """
    counted = [entry for entry in history if not _is_conflict(entry)] or list(history)
    current = counted[-1]
    state = _text(current, "state")
    title = f"{_text(current, 'type')}  {_amount(current)}  ".rstrip() + "  " + style.paint(state, TONES.get(state, ""))
    lines = [title, f"  transaction   {_text(current, 'transaction_id')}"]
    for name in _FIRST[1:]:
        if name in current.record:
            lines.append(f"  {name:<13} {_text(current, name)}")
    for name, value in current.record.items():
        if name not in _IN_TITLE:
            lines += wrap(_value(name, value, current, style), style, " " * 16, f"  {plain(name):<13} ")
    if copies:
        lines += wrap(copies, style, " " * 16, "  copies        ")
    lines += ["", style.paint("History", BOLD)]
    rows = [
        [
            Cell(str(entry.seq), "", right=True),
            Cell(style.local(entry.at)),
            Cell(_text(entry, "state"), TONES.get(_text(entry, "state"), "")),
            Cell(_amount(entry), "", right=True),
        ]
        for entry in history
    ]
    lines += table(["seq", "stored", "state", "amount"], rows, style, 2, "  ")
    for entry in history:
        if entry.mark:
            lines += wrap(f"{entry.seq} is marked: {_mark(entry)}", style, "    ", "  ")
    return lines


def total_table(totals: Sequence[Total], style: Style) -> list[str]:
    """Count and sum per batch, currency and type."""
    if not totals:
        return ["nothing to sum up"]
    rows = [
        [
            Cell(plain(total.provider or "-")),
            Cell(plain(total.tid or "-")),
            Cell(plain(total.batch_no or "-")),
            Cell(plain(total.type)),
            Cell(f"{total.count:,}", "", right=True),
            Cell(money(total.sum_minor, total.currency) if total.sum_minor is not None else "-", "", right=True),
        ]
        for total in totals
    ]
    return table(["provider", "tid", "batch", "type", "count", "sum"], rows, style, 0)


def verification_lines(verification: Verification, style: Style) -> list[str]:
    """Does the chain hold, and if not: where it ends, what is missing, what to do."""
    upto = verification.upto_sequence or 0
    if verification.intact:
        return [f"{style.paint('INTACT', GOOD)}  the chain holds up to sequence {upto}"]
    lines = [f"{style.paint('NOT INTACT', BAD)}  the chain holds only up to sequence {upto}"]
    missing = msgspec.json.decode(verification.missing)
    if isinstance(missing, int) and not isinstance(missing, bool):
        lines.append(f"  {many(missing, 'entry', 'entries')} missing")
    elif isinstance(missing, list) and missing and all(isinstance(one, int) for one in missing):
        more = ", and perhaps more" if len(missing) >= MOST_NAMED else ""
        lines += wrap(f"missing: {ranges_text(missing)}{more}", style, "    ", "  ")
    elif missing:
        lines += wrap(f"missing: {plain(msgspec.json.encode(missing).decode())}", style, "    ", "  ")
    if missing:
        lines += wrap(_FILL, style, "    ", "  → ")
    return [*lines, *wrap(_EVIDENCE, style, "    ", "  → ")]


def ranges_text(sequences: Sequence[int]) -> str:
    """``[3, 4, 5, 9]`` → ``3 to 5, 9``."""
    ranges: list[tuple[int, int]] = []
    for sequence in sorted(set(sequences)):
        if ranges and sequence == ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], sequence)
        else:
            ranges.append((sequence, sequence))
    return ", ".join(f"{first}" if first == last else f"{first} to {last}" for first, last in ranges)


def _text(entry: Entry, name: str) -> str:
    value = entry.record.get(name)
    return "" if value is None else plain(str(value))


def _amount(entry: Entry) -> str:
    amount, currency = entry.record.get("amount_minor"), entry.record.get("currency")
    if not isinstance(amount, int):
        return ""
    return money(amount, currency if isinstance(currency, str) else None)


def _value(name: str, value: object, entry: Entry, style: Style) -> str:
    if name.endswith("_minor") and isinstance(value, int):
        currency = entry.record.get("currency")
        return money(value, currency if isinstance(currency, str) else None)
    if name == "dcc" and isinstance(value, dict) and isinstance(value.get("amount_minor"), int):
        return money(value["amount_minor"], str(value.get("currency")))
    return plain(value if isinstance(value, str) else msgspec.json.encode(value).decode())


def _is_conflict(entry: Entry) -> bool:
    return bool(entry.mark and entry.mark.get("conflict_with") is not None)


def _mark(entry: Entry) -> str:
    """In words: ``conflict_with`` is the entry it contradicts, ``duplicate_of`` whose natural key it has."""
    marks = entry.mark or {}
    return ", ".join(f"{plain(name.replace('_', ' '))} {plain(str(value))}" for name, value in marks.items())
