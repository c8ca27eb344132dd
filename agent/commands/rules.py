"""Admission: may this order come in? Pure, and in the order that the contract fixes.

Source: the product's contract, "Commands": signatures and policy, target, known id, expiry, arguments, interlocks.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from msgspec import Struct

from agent.commands.interlocks import FUTURE_TOLERANCE, MAX_WAITING
from agent.contract.command import CommandRequest, Reason, ReasonCode
from agent.trust.policy import Verdict
from agent.workflow.transition import Phase

MAX_KEPT: Final = 65_536
"""Orders on record, whatever became of them: what anybody entitled can make this terminal keep is bounded."""
MAX_NOT_BEGUN: Final = 3 * MAX_WAITING  # so that asking how it is works while 32 wait, and a flood still ends somewhere
LONGEST_LIFE: Final = timedelta(days=30)


class Asked(Struct, frozen=True):
    """An authentic order for this terminal, as far as it could be understood.

    ``request`` is None when its form is wrong, and ``form_problem`` says where. ``argument_problem``: an unknown
    command, wrong arguments, or what this terminal cannot do. ``begins_at_once``: it runs beside others and nothing
    holds it back, so it does not wait.
    """

    request: CommandRequest | None
    form_problem: str
    digest: bytes
    verdict: Verdict
    argument_problem: Reason | None
    begins_at_once: bool = False


class Facts(Struct, frozen=True):
    """What the terminal knows.

    ``known_digest``: of the recorded order with the same id; ``waiting``: not begun yet; ``kept``: on record.
    """

    now: datetime
    clock_trusted: bool
    journal_began_at: datetime
    replay_floor: datetime | None
    known_digest: bytes | None
    waiting: int
    kept: int = 0


class Accepted(Struct, frozen=True):
    """A run is opened."""


class Turned(Struct, frozen=True):
    """Refused: the order gets its final state at once."""

    phase: Phase
    reason: Reason


class Known(Struct, frozen=True):
    """It was here before: the recorded state is the answer."""


class Contradiction(Struct, frozen=True):
    """Its id is known with another content: a security event, and nothing changes."""


class Overflow(Struct, frozen=True):
    """No further order can be kept on record: it is counted, and leaves no row."""


Decision = Accepted | Turned | Known | Contradiction | Overflow


def admit(asked: Asked, facts: Facts) -> Decision:
    """Decide. A known id never gets a second row, so it goes first; all other checks have the contract's order."""
    if facts.known_digest is not None:
        return Known() if facts.known_digest == asked.digest else Contradiction()
    if facts.kept >= MAX_KEPT:
        return Overflow()
    if not asked.verdict.allowed:
        return _rejected(ReasonCode.NOT_AUTHORISED, asked.verdict.why_not)
    if asked.request is None:
        return _rejected(ReasonCode.INVALID_REQUEST, asked.form_problem)
    untimely = _untimely(asked.request, facts)
    if untimely is not None:
        return untimely
    if asked.argument_problem is not None:
        return Turned(Phase.REJECTED, asked.argument_problem)
    if facts.waiting >= (MAX_NOT_BEGUN if asked.begins_at_once else MAX_WAITING):
        return _rejected(ReasonCode.QUEUE_FULL, f"{facts.waiting} orders are waiting already")
    return Accepted()


def _untimely(request: CommandRequest, facts: Facts) -> Turned | None:
    """An untrusted clock is most often behind, so only a trusted one says that an order comes from the future."""
    if facts.now >= request.expires_at:
        return Turned(Phase.EXPIRED, Reason(ReasonCode.EXPIRED, "it arrived after its expiry"))
    life = request.expires_at - request.issued_at
    if life > LONGEST_LIFE:
        return _rejected(ReasonCode.LIFETIME_TOO_LONG, f"an order lives at most {LONGEST_LIFE.days} days")
    if life <= timedelta(0):
        return _rejected(ReasonCode.INVALID_REQUEST, "expires_at is not after issued_at")
    if facts.clock_trusted and request.issued_at > facts.now + FUTURE_TOLERANCE:
        return _rejected(ReasonCode.INVALID_REQUEST, "issued_at lies in the future")
    if facts.replay_floor is not None and request.expires_at <= facts.replay_floor:
        return _rejected(ReasonCode.REPLAYED, "orders of that time have been forgotten here")
    if request.issued_at.replace(microsecond=0) < facts.journal_began_at.replace(microsecond=0):
        return _rejected(ReasonCode.REPLAYED, "it was issued before this journal began")
    return None


def _rejected(code: ReasonCode, text: str) -> Turned:
    return Turned(Phase.REJECTED, Reason(code, text))
