"""What is said of an order to several terminals: before it goes out, on its way, and at its end."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from agent.errors import AgentError, Refused
from agent.fleet.batch import Batch, BatchFile
from agent.fleet.messages import FINAL, reason_text, state_tone
from agent.fleet.orders import issued_at_of
from agent.fleet.screen import BAD, Screen
from agent.fleet.tally import SILENT, Outcome, Tally

_EXITS = {Outcome.SUCCEEDED: 0, Outcome.REFUSED: 4, Outcome.FAILED: 1}


class NotAllSucceeded(AgentError):
    """An order was sent, and did not succeed everywhere."""

    code = "NOT_ALL_SUCCEEDED"


class AllRefused(Refused):
    """An order was sent, and every terminal refused it."""

    code = "REFUSED_BY_TERMINAL"


def dry_run(batch: Batch, kept: BatchFile | None, people: list[str], screen: Screen) -> None:
    """Who would get what, and until when it must begin."""
    ended = kept.ended if kept is not None else {}
    left = [one for one in batch.recipients if one.terminal not in ended]
    if screen.as_json:
        orders = [
            {
                "terminal": one.terminal,
                "serial": one.serial,
                "command_id": one.command_id,
                "expires_at": _expires_at(batch, one.command_id),
            }
            for one in left
        ]
        wish = batch.wish
        screen.document({"name": wish.name, "arguments": wish.arguments, "signed_by": people, "would_send": orders})
        return
    rows = [
        [(one.terminal, ""), (one.serial or "-", ""), (_local(batch, one.command_id, screen), ""), (one.command_id, "")]
        for one in left
    ]
    screen.table(["terminal", "serial", "expires", "command id"], rows, 0)
    done = f"; {len(ended)} have come to their end already" if ended else ""
    screen.line(f"{batch.wish.name} would go to {len(left)}, signed by {', '.join(people)}; nothing was sent{done}")


def progress_text(tally: Tally, count: int) -> str:
    """One line: how many have come to their end, and how."""
    states = ", ".join(f"{number} {state}" for state, number in tally.counts().items())
    return f"{count - tally.open} of {count} at their end: {states}"


def report_sent(batch: Batch, screen: Screen) -> int:
    """The broker has all of them; nobody waits for more."""
    if screen.as_json:
        orders = [{"terminal": one.terminal, "command_id": one.command_id} for one in batch.recipients]
        names = [one.terminal for one in batch.recipients]
        screen.document({**_one_id(batch), "name": batch.wish.name, "sent": names, "orders": orders})
    return 0


def report(tally: Tally, batch: Batch, file: Path | None, screen: Screen) -> int:
    """The table of all terminals and their count by state; raises what the exit code is made of."""
    rows, outcome, counts = tally.rows(), tally.outcome(), tally.counts()
    ids = {one.terminal: one.command_id for one in batch.recipients}
    only_id = batch.recipients[0].command_id
    if screen.as_json:
        terminals = [
            {"terminal": terminal, "command_id": ids.get(terminal, only_id), "state": state} for terminal, state in rows
        ]
        head = {**_one_id(batch), "name": batch.wish.name, "outcome": outcome.value, "counts": counts}
        screen.document({**head, "terminals": terminals})
        return _EXITS[outcome]
    cells = [
        [
            (terminal, ""),
            (state.state, state_tone(state.state)) if state else (SILENT, BAD),
            (reason_text(state) if state else "", ""),
        ]
        for terminal, state in rows
    ]
    screen.line("")
    screen.line(
        f"{len(rows)} terminals: " + ", ".join(f"{number} {screen.plain(name)}" for name, number in counts.items())
    )
    screen.table(["terminal", "state", "reason"], cells, 2)
    if outcome is Outcome.SUCCEEDED:
        return 0
    if outcome is Outcome.REFUSED:
        raise AllRefused("the order was refused", hint="the reason is in the table")
    again = _again(batch, file)
    if SILENT in counts:
        raise NotAllSucceeded(
            "not every terminal answered: it is offline, or takes neither signature nor target and then says nothing",
            hint=f"posctl fleet watch shows who is online; {again}",
        )
    if any(state is not None and state.state not in FINAL for _terminal, state in rows):
        raise NotAllSucceeded("the order did not come to its end everywhere within the time", hint=again)
    raise NotAllSucceeded("the order did not succeed everywhere", hint="the reasons are in the table")


def _again(batch: Batch, file: Path | None) -> str:
    if file is not None:
        return f"to go on with the same orders: --batch {file}"
    if len(batch.recipients) == 1:
        return f"the same order again: --command-id {batch.recipients[0].command_id} and the same words"
    return "with --batch FILE a second run could go on; now only single ones can: --command-id ID and --terminal T"


def _one_id(batch: Batch) -> dict[str, str]:
    return {"command_id": batch.recipients[0].command_id} if len(batch.recipients) == 1 else {}


def _expires_at(batch: Batch, command_id: str) -> datetime:
    return issued_at_of(command_id) + batch.wish.life


def _local(batch: Batch, command_id: str, screen: Screen) -> str:
    return screen.local(_expires_at(batch, command_id))
