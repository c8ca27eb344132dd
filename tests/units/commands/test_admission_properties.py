"""Admission for any order and any facts: it always decides, and what it decides keeps its promises."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from agent.commands.interlocks import FUTURE_TOLERANCE, MAX_WAITING
from agent.commands.rules import (
    LONGEST_LIFE,
    MAX_NOT_BEGUN,
    Accepted,
    Asked,
    Contradiction,
    Facts,
    Known,
    Turned,
    admit,
)
from agent.contract.command import CommandRequest, Reason, ReasonCode, Target
from agent.trust.policy import Verdict
from agent.workflow.transition import Phase

NOW = datetime(2026, 11, 21, 2, 0, tzinfo=UTC)
TIMES = st.timedeltas(timedelta(days=-40), timedelta(days=40)).map(lambda apart: NOW + apart)
REQUESTS = st.none() | st.builds(CommandRequest, st.just("c-1"), st.just("ping"), st.just(Target("T-1")), TIMES, TIMES)
DIGESTS = st.sampled_from([b"one", b"two"])
ASKED = st.builds(
    Asked,
    REQUESTS,
    st.just("somewhere"),
    DIGESTS,
    st.builds(Verdict, st.booleans(), st.just("too few")),
    st.none() | st.sampled_from([Reason(ReasonCode.UNKNOWN_COMMAND, "x"), Reason(ReasonCode.INVALID_ARGUMENTS, "y")]),
    st.booleans(),
)
FACTS = st.builds(
    Facts, TIMES, st.booleans(), TIMES, st.none() | TIMES, st.none() | DIGESTS, st.integers(0, MAX_NOT_BEGUN + 5)
)


@given(ASKED, FACTS)
def test_every_order_is_decided_and_what_is_accepted_may_be(asked: Asked, facts: Facts) -> None:
    decision = admit(asked, facts)
    if isinstance(decision, Turned):
        assert decision.phase in {Phase.REJECTED, Phase.EXPIRED}
        assert (decision.phase is Phase.EXPIRED) == (decision.reason.code is ReasonCode.EXPIRED)
    if not isinstance(decision, Accepted):
        return
    request = asked.request
    assert request is not None
    assert asked.verdict.allowed
    assert asked.argument_problem is None
    assert facts.known_digest is None
    assert facts.now < request.expires_at
    assert timedelta(0) < request.expires_at - request.issued_at <= LONGEST_LIFE
    assert facts.replay_floor is None or request.expires_at > facts.replay_floor
    assert request.issued_at + timedelta(seconds=1) > facts.journal_began_at
    assert not facts.clock_trusted or request.issued_at <= facts.now + FUTURE_TOLERANCE
    assert facts.waiting < (MAX_NOT_BEGUN if asked.begins_at_once else MAX_WAITING)


@given(ASKED, FACTS, DIGESTS)
def test_a_known_id_never_gets_a_second_row_whatever_else_is_so(asked: Asked, facts: Facts, known: bytes) -> None:
    expected = Known() if known == asked.digest else Contradiction()
    assert admit(asked, replace(facts, known_digest=known)) == expected


@given(ASKED, FACTS)
def test_deciding_twice_decides_alike(asked: Asked, facts: Facts) -> None:
    assert admit(asked, facts) == admit(asked, facts)


@given(ASKED, FACTS, st.timedeltas(timedelta(0), timedelta(days=40)))
def test_an_order_once_too_late_stays_too_late(asked: Asked, facts: Facts, later: timedelta) -> None:
    first = admit(asked, facts)
    if isinstance(first, Turned) and first.reason.code is ReasonCode.EXPIRED:
        second = admit(asked, replace(facts, now=facts.now + later))
        assert isinstance(second, Turned)
        assert second.reason.code is ReasonCode.EXPIRED


@given(ASKED, FACTS)
def test_a_fuller_queue_accepts_nothing_more(asked: Asked, facts: Facts) -> None:
    if isinstance(admit(asked, replace(facts, waiting=facts.waiting + 1)), Accepted):
        assert isinstance(admit(asked, facts), Accepted)
