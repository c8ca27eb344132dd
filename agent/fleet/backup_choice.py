"""Which backup files in a folder an operator means."""

from __future__ import annotations

from pathlib import Path

from agent.backup.place import pieces_of, terminals_in
from agent.backup.restore_plan import Piece
from agent.errors import NotFound


def chosen(folder: Path, terminal: str | None, journal: str | None) -> list[tuple[str, str, list[Piece]]]:
    """Site, terminal and files of each terminal that is meant and has some.

    Args:
        terminal: ``T`` of any site, or ``SITE/T``; None: all of them.
        journal: Only files of this journal.

    Raises:
        NotFound: There is no such folder, or nothing in it that is meant.
    """
    found = []
    there = terminals_in(folder)
    for site, name in there:
        if terminal in {None, name, f"{site}/{name}"}:
            pieces = [one for one in pieces_of(folder, site, name) if journal in {None, one.journal_id}]
            if pieces:
                found.append((site, name, pieces))
    if not found:
        known = ", ".join("/".join(one) for one in there[:8]) or "nothing"
        wanted = " of ".join(one for one in (journal and f"journal {journal}", terminal) if one)
        raise NotFound(
            f"{folder} holds no backup{f' of {wanted}' if wanted else ''}",
            field="--terminal" if terminal else None,
            hint=f"there is {known}; the folder to name is the one that holds the folders of sites",
        )
    return found
