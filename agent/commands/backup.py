"""``backup`` and ``verify_backup``: copies of the journal made, or read back, now.

They read the journal and write elsewhere, so they run beside whatever else the terminal does, with any clock. One that
was interrupted is begun again: what it had made counts already, or counts for nothing. A backup is made when it is at
one of the places wanted, and the result says which of them failed; a verification fails when one file is not right.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Final, TypeVar

from msgspec import Struct

from agent.commands.command import Command
from agent.commands.means import Copying, Means
from agent.commands.operation import Operation, Touch
from agent.contract.backup_views import BackupId, BackupKind, TargetName
from agent.contract.command import Reason, ReasonCode
from agent.errors import NotFound, TargetUnusable
from agent.workflow.plan import Futile, IfInterrupted, Perform, Plan, Step, StepContext

S = TypeVar("S", bound=Struct)

TIMEOUT_S: Final = 6 * 3600.0


class BackupArguments(Struct, frozen=True, forbid_unknown_fields=True):
    """``target``: left out (or null), at all places that are configured."""

    kind: BackupKind
    target: TargetName | None = None


class VerifyBackupArguments(Struct, frozen=True, forbid_unknown_fields=True):
    """``backup_id``: left out (or null), every file of every target."""

    backup_id: BackupId | None = None


def build_backup(means: Means) -> Command[BackupArguments]:
    def plan(arguments: BackupArguments) -> Plan:
        async def perform(_context: StepContext) -> Struct:
            return await _told(_copying(means).make(arguments.kind, arguments.target))

        return _plan("copy", perform)

    def refuse(arguments: BackupArguments) -> Reason | None:
        nowhere = _nowhere(means)
        if nowhere is not None or arguments.target in (None, *_targets(means)):
            return nowhere
        return Reason(ReasonCode.INVALID_ARGUMENTS, "this terminal has no such place for backups")

    return Command(
        name="backup",
        arguments=BackupArguments,
        plan=plan,
        touch=lambda _arguments: Touch(Operation.READING),
        needs_trusted_clock=lambda _arguments: False,
        refuse=refuse,
    )


def build_verify_backup(means: Means) -> Command[VerifyBackupArguments]:
    def plan(arguments: VerifyBackupArguments) -> Plan:
        async def perform(_context: StepContext) -> Struct:
            found = await _told(_copying(means).verify(arguments.backup_id))
            if found.wrong:
                names = ", ".join(f"{one.target} {one.file.rpartition('/')[2]}" for one in found.wrong)
                raise Futile(f"not as they were written: {names}", reason=ReasonCode.NOT_VERIFIED)
            if found.problems:
                names = ", ".join(f"{one.target}: {one.problem}" for one in found.problems)
                raise Futile(f"could not be read: {names}", reason=ReasonCode.STEP_FAILED)
            return found

        return _plan("read_back", perform)

    return Command(
        name="verify_backup",
        arguments=VerifyBackupArguments,
        rule=lambda _arguments: "backup",  # whoever may make them may look whether they are right
        plan=plan,
        touch=lambda _arguments: Touch(Operation.READING),
        needs_trusted_clock=lambda _arguments: False,
        refuse=lambda _arguments: _nowhere(means),
    )


def _targets(means: Means) -> frozenset[str]:
    return means.backups.targets if means.backups is not None else frozenset()


def _nowhere(means: Means) -> Reason | None:
    return None if _targets(means) else Reason(ReasonCode.INVALID_ARGUMENTS, "no place for backups is configured")


def _plan(name: str, perform: Perform) -> Plan:
    step = Step(name, perform, IfInterrupted.REPEAT, TIMEOUT_S, max_attempts=3, may_cancel=True)
    return Plan((step,), exclusive=False)


def _copying(means: Means) -> Copying:
    if means.backups is None:
        raise Futile("no place for backups is configured any more", reason=ReasonCode.INVALID_ARGUMENTS)
    return means.backups


async def _told(work: Awaitable[S]) -> S:
    """Its result; a target that cannot be used now cannot be used a second later either."""
    try:
        return await work
    except TargetUnusable as err:
        raise Futile(err.message, reason=ReasonCode.STEP_FAILED) from err
    except NotFound as err:
        raise Futile(err.message, reason=ReasonCode.INVALID_ARGUMENTS) from err
