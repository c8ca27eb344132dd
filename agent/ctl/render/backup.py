"""``backup.list`` → lines: the places first, then their files. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from agent.ctl.answers import Backup, BackupMade, BackupProblem, BackupsRead, BackupTarget
from agent.ctl.render.style import BAD, BOLD, DIM, GOOD, Cell, Style, many, plain, table, wrap

ID_DIGITS = 8
"""Of a backup's id so many are shown, from its end: enough to name it by."""
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def backup_lines(targets: Sequence[BackupTarget], backups: Sequence[Backup], style: Style) -> list[str]:
    """Every place with its state, then the files, in the order given."""
    return [*target_lines(targets, style), "", *_table(backups, style)]


def target_lines(targets: Sequence[BackupTarget], style: Style) -> list[str]:
    """A table of the places, then what is wrong with them."""
    if not targets:
        return [
            style.paint("Places", BOLD) + "  none: no backup is made",
            "  → name a folder or a server and the operator's public key in [backup] of the configuration",
        ]
    rows = [
        [
            Cell(plain(target.name)),
            Cell("✗ not usable", BAD) if target.problem else Cell("✓ usable", GOOD),
            Cell(f"{target.backed_up_upto:,}", right=True),
            Cell(style.local(target.last_verified_at)[:16] if target.last_verified_at else "never"),
            Cell(plain(target.place)),
        ]
        for target in targets
    ]
    lines = table(["place", "state", "entries upto", "snapshot verified", "where"], rows, style, 4)
    for target in targets:
        if target.problem:
            lines += wrap(f"{plain(target.name)}: {plain(target.problem)}", style, "    ", "  ")
    return lines


def made_lines(made: BackupMade, style: Style) -> list[str]:
    """What an order made, and where it could not."""
    lines = [
        f"{style.paint('MADE', GOOD)}  {plain(one.kind)} of entries {_entries(one)} at {plain(one.target)},"
        f" {size_text(one.size_bytes)}, read back"
        for one in made.files
    ]
    if not lines and not made.problems:
        lines = [f"{style.paint('NOTHING NEW', GOOD)}  every entry is in a backup already"]
    return [*lines, *_problem_lines(made.problems, style)]


def read_lines(read: BackupsRead, style: Style) -> list[str]:
    """What reading files back found."""
    if not read.right and not read.wrong and not read.problems:
        return ["there is no backup to verify: posctl backup run"]
    lines = []
    if read.right:
        lines.append(f"{style.paint('RIGHT', GOOD)}  {many(read.right, 'file is', 'files are')} as written")
    if read.wrong:
        lines += [style.paint("WRONG", BAD), *_table(read.wrong, style)]
        lines.append(
            "  → entries that no other file has count as not protected now, and are copied again by themselves"
        )
    return [*lines, *_problem_lines(read.problems, style)]


def _problem_lines(problems: Sequence[BackupProblem], style: Style) -> list[str]:
    lines: list[str] = []
    for one in problems:
        lines += wrap(f"{plain(one.target)}: {plain(one.problem)}", style, "    ", "  ✗ ")
    return lines


def _table(backups: Sequence[Backup], style: Style) -> list[str]:
    if not backups:
        return ["no backups recorded"]
    rows = [
        [
            Cell(style.local(backup.made_at)[5:16] if backup.made_at else "-"),
            Cell(plain(backup.kind)),
            Cell(plain(backup.target)),
            Cell(_entries(backup)),
            Cell(size_text(backup.size_bytes), right=True),
            _verified(backup, style),
            Cell(plain(backup.backup_id[-ID_DIGITS:]), DIM),
        ]
        for backup in backups
    ]
    lines = table(["made", "kind", "place", "entries", "size", "verified", "id"], rows, style, 2)
    for backup in backups:
        if backup.problem:
            name = backup.file.rpartition("/")[2]
            said = f"{plain(backup.backup_id[-ID_DIGITS:])} {plain(name)}: {plain(backup.problem)}"
            lines += wrap(said, style, "    ", "  ")
    return lines


def _entries(backup: Backup) -> str:
    return "none" if backup.upto_seq < backup.from_seq else f"{backup.from_seq}-{backup.upto_seq}"


def _verified(backup: Backup, style: Style) -> Cell:
    if backup.problem:
        return Cell("✗ problem", BAD)
    return Cell(style.local(backup.verified_at)[5:16], GOOD) if backup.verified_at else Cell("not yet")


def size_text(size_bytes: int) -> str:
    """``812 B``, ``1.4 KiB``, ``23 MiB``."""
    size, unit = float(max(0, size_bytes)), 0
    while size >= 1024 and unit < len(_UNITS) - 1:
        size, unit = size / 1024, unit + 1
    return f"{size:.0f} {_UNITS[unit]}" if unit == 0 or size >= 10 else f"{size:.1f} {_UNITS[unit]}"
