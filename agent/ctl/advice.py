"""What a fault means and what to do about it, from the published catalogue."""

from __future__ import annotations

from agent.contract.faults import CATALOGUE


def advice(code: str) -> tuple[str, str] | None:
    """Title and what to do; None for a code that this release does not know."""
    kind = CATALOGUE.get(code)
    return (kind.text, kind.what_to_do) if kind else None
