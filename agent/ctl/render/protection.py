"""Where the journal's entries have copies → a line. Pure.

An entry is protected when it is in a verified backup or with the collector as well as on this terminal.
"""

from __future__ import annotations

from agent.ctl.answers import StoreFigures
from agent.ctl.render.style import WARN, Style, duration, many

LONG_S = 120.0
"""Twice what it takes at most while a place for backups or the collector can be reached."""


def protection_text(copies: StoreFigures, style: Style) -> str:
    """How many entries are on this terminal alone; empty where the agent does not tell."""
    alone, age_s = copies.unprotected_entries, copies.oldest_unprotected_age_s
    if alone is None:
        return ""
    if not alone:
        return "every entry is protected: backup or collector has it, too"
    oldest = f", the oldest for {duration(age_s)}" if age_s is not None else ""
    text = f"{many(alone, 'entry', 'entries')} not protected yet{oldest}"
    return style.paint(text, WARN) if (age_s or 0.0) > LONG_S else text


def copies_of(upto_seq: int, copies: StoreFigures) -> dict[str, bool]:
    """Where every entry up to ``upto_seq`` is held; empty where the agent does not tell."""
    if copies.backed_up_upto is None or copies.delivered_upto is None:
        return {}
    return {
        "local": True,
        "backup": upto_seq <= copies.backed_up_upto,
        "collector": upto_seq <= copies.delivered_upto,
    }


def copies_text(held: dict[str, bool]) -> str:
    """``this terminal, backup; not yet collector``; empty for nothing known."""
    have = ", ".join("this terminal" if name == "local" else name for name, there in held.items() if there)
    lack = ", ".join(name for name, there in held.items() if not there)
    return f"{have}; not yet: {lack}" if have and lack else have
