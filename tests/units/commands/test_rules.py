"""Admission, pure: every rule, and that the contract's order decides which one is told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from agent.commands.rules import MAX_KEPT, Accepted, Asked, Contradiction, Facts, Known, Overflow, Turned, admit
from agent.contract.command import CommandRequest, Reason, ReasonCode, Target
from agent.trust.policy import Verdict
from agent.workflow.transition import Phase

NOW = datetime(2026, 11, 21, 2, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
REQUEST = CommandRequest("c-1", "ping", Target("T-0001"), NOW, NOW + HOUR)
ASKED = Asked(REQUEST, "", b"digest", Verdict(True), None)
FACTS = Facts(NOW, True, NOW - HOUR, None, None, 0)


def _times(issued: timedelta, expires: timedelta) -> Asked:
    request = CommandRequest("c-1", "ping", Target("T-0001"), NOW + issued, NOW + expires)
    return replace(ASKED, request=request)


def _code(asked: Asked, facts: Facts = FACTS) -> ReasonCode | None:
    decision = admit(asked, facts)
    return decision.reason.code if isinstance(decision, Turned) else None


def test_a_good_order_is_accepted() -> None:
    assert admit(ASKED, FACTS) == Accepted()


def test_the_first_broken_rule_in_the_contracts_order_is_told() -> None:
    """Everything is wrong at once; then one after the other is mended."""
    asked = replace(
        _times(-2 * HOUR - timedelta(days=40), -HOUR),
        verdict=Verdict(False, "nobody"),
        argument_problem=Reason(ReasonCode.INVALID_ARGUMENTS, "x"),
    )
    facts = replace(FACTS, known_digest=b"other", replay_floor=NOW + 2 * HOUR, waiting=32)
    assert admit(asked, facts) == Contradiction()
    assert admit(asked, replace(facts, known_digest=b"digest")) == Known()
    facts = replace(facts, known_digest=None)
    assert _code(asked, facts) is ReasonCode.NOT_AUTHORISED
    asked = replace(asked, verdict=Verdict(True))
    assert _code(replace(asked, request=None), facts) is ReasonCode.INVALID_REQUEST
    assert _code(asked, facts) is ReasonCode.EXPIRED
    asked = replace(asked, request=_times(-HOUR, timedelta(days=30)).request)
    assert _code(asked, facts) is ReasonCode.LIFETIME_TOO_LONG
    asked = replace(asked, request=_times(timedelta(minutes=6), HOUR).request)
    assert _code(asked, facts) is ReasonCode.INVALID_REQUEST
    asked = replace(asked, request=REQUEST)
    assert _code(asked, facts) is ReasonCode.REPLAYED
    facts = replace(facts, replay_floor=None, journal_began_at=NOW + timedelta(seconds=1))
    assert _code(asked, facts) is ReasonCode.REPLAYED
    facts = replace(facts, journal_began_at=NOW)
    assert _code(asked, facts) is ReasonCode.INVALID_ARGUMENTS
    asked = replace(asked, argument_problem=None)
    assert _code(asked, facts) is ReasonCode.QUEUE_FULL
    assert admit(asked, replace(facts, waiting=31)) == Accepted()


def test_what_begins_at_once_is_not_kept_out_by_those_that_wait() -> None:
    """Otherwise 32 orders for tonight would forbid asking the terminal how it is, and later a cancel."""
    asked = replace(ASKED, begins_at_once=True)
    assert admit(asked, replace(FACTS, waiting=32)) == Accepted()
    assert _code(asked, replace(FACTS, waiting=96)) is ReasonCode.QUEUE_FULL


@pytest.mark.parametrize(
    ("issued", "expires", "code"),
    [
        (timedelta(0), timedelta(days=30), None),
        (timedelta(0), timedelta(days=30, milliseconds=1), ReasonCode.LIFETIME_TOO_LONG),
        (timedelta(minutes=5), HOUR, None),
        (timedelta(minutes=5, milliseconds=1), HOUR, ReasonCode.INVALID_REQUEST),
        (timedelta(minutes=-1), timedelta(milliseconds=1), None),
        (timedelta(minutes=-1), timedelta(0), ReasonCode.EXPIRED),
        (timedelta(minutes=2), timedelta(minutes=2), ReasonCode.INVALID_REQUEST),
        (timedelta(minutes=3), timedelta(minutes=2), ReasonCode.INVALID_REQUEST),
    ],
)
def test_the_edges_of_time(issued: timedelta, expires: timedelta, code: ReasonCode | None) -> None:
    assert _code(_times(issued, expires)) is code


def test_late_on_arrival_is_expired_and_anything_else_rejected() -> None:
    late = admit(_times(-2 * HOUR, -HOUR), FACTS)
    early = admit(_times(HOUR, 2 * HOUR), FACTS)
    assert isinstance(late, Turned)
    assert isinstance(early, Turned)
    assert (late.phase, early.phase) == (Phase.EXPIRED, Phase.REJECTED)


def test_the_journals_beginning_is_compared_in_whole_seconds() -> None:
    began = NOW + timedelta(milliseconds=900)
    assert _code(ASKED, replace(FACTS, journal_began_at=began)) is None
    assert _code(ASKED, replace(FACTS, journal_began_at=NOW + timedelta(seconds=1))) is ReasonCode.REPLAYED


def test_at_the_floor_is_refused_and_above_it_is_not() -> None:
    assert _code(ASKED, replace(FACTS, replay_floor=REQUEST.expires_at)) is ReasonCode.REPLAYED
    below = REQUEST.expires_at - timedelta(milliseconds=1)
    assert _code(ASKED, replace(FACTS, replay_floor=below)) is None


def test_an_untrusted_clock_does_not_call_an_order_early() -> None:
    assert _code(_times(HOUR, 2 * HOUR), replace(FACTS, clock_trusted=False)) is None


def test_a_journal_that_is_full_of_orders_keeps_no_more_and_still_knows_those_it_has() -> None:
    full = replace(FACTS, kept=MAX_KEPT)
    assert admit(ASKED, replace(FACTS, kept=MAX_KEPT - 1)) == Accepted()
    assert admit(ASKED, full) == Overflow()
    assert admit(replace(ASKED, verdict=Verdict(False, "nobody")), full) == Overflow(), "a refusal would be a row, too"
    assert admit(ASKED, replace(full, known_digest=b"digest")) == Known()
    assert admit(ASKED, replace(full, known_digest=b"other")) == Contradiction()
