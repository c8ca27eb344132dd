"""``backup`` and ``verify_backup``: what they take, what refuses them, and what their outcome says."""

from __future__ import annotations

from typing import Any

import pytest

from agent.commands.backup import build_backup, build_verify_backup
from agent.commands.command import Command, Prepared
from agent.commands.means import Means
from agent.commands.operation import Operation
from agent.contract.backup_views import BackupItem, BackupKind, BackupResult, TargetProblem, VerifyResult
from agent.contract.command import Reason, ReasonCode
from agent.errors import NotFound, TargetUnusable
from agent.workflow.plan import Futile, IfInterrupted, StepContext

ITEM = BackupItem("id", "segment", "card", "a/b/c/segment-1.age", "j", 1, 2, 3, "ab", "at", None, "gone")
CONTEXT = StepContext("order", 1)


class Copying:
    """Backups that do as they are told."""

    targets = frozenset({"card", "vault"})

    def __init__(self, outcome: Any = None) -> None:
        self.outcome = outcome
        self.asked: list[tuple[object, ...]] = []

    async def make(self, kind: BackupKind, target: str | None) -> BackupResult:
        self.asked.append((kind, target))
        return self._done()  # type: ignore[no-any-return]

    async def verify(self, backup_id: str | None) -> VerifyResult:
        self.asked.append((backup_id,))
        return self._done()  # type: ignore[no-any-return]

    def _done(self) -> Any:
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


async def _check(_device: str, _level: str) -> Any:
    raise AssertionError


def _means(backups: Copying | None) -> Means:
    return Means(check=_check, devices=frozenset, backups=backups)


def _prepared(command: Command[Any], arguments: bytes) -> Prepared:
    prepared = command.prepare(arguments)
    assert isinstance(prepared, Prepared), prepared
    return prepared


async def _perform(command: Command[Any], arguments: bytes) -> Any:
    (step,) = _prepared(command, arguments).plan.steps
    return await step.perform(CONTEXT)


def test_both_run_beside_others_with_any_clock_and_may_be_repeated_and_given_up() -> None:
    means = _means(Copying())
    for command, arguments in ((build_backup(means), b'{"kind":"segment"}'), (build_verify_backup(means), b"{}")):
        prepared = _prepared(command, arguments)
        (step,) = prepared.plan.steps
        assert (prepared.rule, prepared.refusal, prepared.touch.operation) == ("backup", None, Operation.READING)
        assert [prepared.plan.exclusive, prepared.needs_trusted_clock, prepared.site_wide] == [False] * 3
        assert (step.if_interrupted, step.may_cancel) == (IfInterrupted.REPEAT, True)


async def test_what_is_asked_for_is_done() -> None:
    copying = Copying(BackupResult([ITEM], [TargetProblem("vault", "away")]))
    assert await _perform(build_backup(_means(copying)), b'{"kind":"snapshot","target":"card"}') == copying.outcome
    assert await _perform(build_backup(_means(copying)), b'{"kind":"segment"}') == copying.outcome
    copying.outcome = VerifyResult(2, [], [])
    backup_id = "0192f6d0-7c1e-7000-8000-000000000001"
    arguments = b'{"backup_id":"%b"}' % backup_id.encode()
    assert await _perform(build_verify_backup(_means(copying)), arguments) == copying.outcome
    assert copying.asked == [("snapshot", "card"), ("segment", None), (backup_id,)]


@pytest.mark.parametrize(
    "arguments",
    [b"{}", b'{"kind":"full"}', b'{"kind":"segment","more":1}', b'{"kind":"segment","target":"../x"}', b"[]"],
)
def test_wrong_arguments_are_refused(arguments: bytes) -> None:
    answer = build_backup(_means(Copying())).prepare(arguments)
    assert isinstance(answer, Reason)
    assert answer.code is ReasonCode.INVALID_ARGUMENTS


@pytest.mark.parametrize("arguments", [b'{"backup_id":"1"}', b'{"kind":"segment"}', b'{"backup_id":1}'])
def test_wrong_arguments_of_a_verification_are_refused(arguments: bytes) -> None:
    assert isinstance(build_verify_backup(_means(Copying())).prepare(arguments), Reason)


def test_a_terminal_without_that_place_refuses() -> None:
    without = Copying()
    without.targets = frozenset()
    for means in (_means(None), _means(without)):
        for command, arguments in ((build_backup(means), b'{"kind":"segment"}'), (build_verify_backup(means), b"{}")):
            refusal = _prepared(command, arguments).refusal
            assert refusal is not None
            assert refusal.code is ReasonCode.INVALID_ARGUMENTS
    refusal = _prepared(build_backup(_means(Copying())), b'{"kind":"segment","target":"stick"}').refusal
    assert refusal is not None
    assert "stick" not in refusal.text


@pytest.mark.parametrize(
    ("outcome", "code", "says"),
    [
        (TargetUnusable("card: away"), "STEP_FAILED", "away"),
        (NotFound("no such backup"), "INVALID_ARGUMENTS", "no such"),
        (VerifyResult(4, [ITEM], []), "NOT_VERIFIED", "card segment-1.age"),
        (VerifyResult(4, [], [TargetProblem("vault", "away")]), "STEP_FAILED", "vault: away"),
    ],
)
async def test_a_verification_that_does_not_find_everything_right_fails(outcome: Any, code: str, says: str) -> None:
    with pytest.raises(Futile, match=says) as caught:
        await _perform(build_verify_backup(_means(Copying(outcome))), b"{}")
    assert caught.value.reason == code


async def test_places_that_were_taken_out_of_the_configuration_meanwhile_end_the_order() -> None:
    with pytest.raises(Futile) as caught:
        await _perform(build_backup(_means(None)), b'{"kind":"segment"}')
    assert caught.value.reason == ReasonCode.INVALID_ARGUMENTS
