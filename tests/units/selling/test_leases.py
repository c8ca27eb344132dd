"""Sale leases: whose they are, how long they live, and that nobody else can touch them."""

from __future__ import annotations

import pytest

from agent.contract.calls import Purpose
from agent.errors import Refused
from agent.runtime.process_identity import Process
from agent.selling.leases import MOST, MOST_OF_ONE, Leases

SHOP = Process(1000, 41, 900)


def begun(leases: Leases, lease_id: str = "a", owner: Process = SHOP, lease_s: int = 60, now_s: float = 0.0) -> str:
    return leases.begin(lease_id, owner, Purpose.SALE, lease_s, now_s).lease_id


def refusal(call: object, *args: object) -> str:
    with pytest.raises(Refused) as caught:
        call(*args)  # type: ignore[operator]
    return caught.value.reason


def test_a_lease_lives_as_long_as_was_asked_and_ends_by_itself() -> None:
    leases = Leases()
    begun(leases, lease_s=60)
    assert leases.left_s(59.5) == 0.5
    assert leases.next_end_s(59.5) == 0.5
    assert leases.left_s(60.0) is None
    assert leases.next_end_s(60.0) is None
    assert refusal(leases.renew, "a", SHOP, 60, 60.0) == "LEASE_UNKNOWN"


def test_renewing_counts_from_now_and_may_shorten() -> None:
    leases = Leases()
    begun(leases, lease_s=60)
    assert leases.renew("a", SHOP, 180, 50.0).ends_s == 230.0
    assert leases.left_s(229.0) == 1.0
    assert leases.renew("a", SHOP, 1, 229.0).ends_s == 230.0
    assert leases.left_s(230.0) is None


@pytest.mark.parametrize(
    "other", [Process(1001, 41, 900), Process(1000, 42, 900), Process(1000, 41, 901), Process(1000, 41, None)]
)
def test_nobody_else_can_renew_or_end_it_not_even_a_later_process_with_its_pid(other: Process) -> None:
    leases = Leases()
    begun(leases)
    assert refusal(leases.renew, "a", other, 60, 1.0) == "LEASE_UNKNOWN"
    assert refusal(leases.end, "a", other, 1.0) == "LEASE_UNKNOWN"
    leases.end("a", SHOP, 1.0)


def test_an_ended_one_is_unknown() -> None:
    leases = Leases()
    begun(leases)
    leases.end("a", SHOP, 1.0)
    assert refusal(leases.end, "a", SHOP, 1.0) == "LEASE_UNKNOWN"
    assert refusal(leases.renew, "b", SHOP, 60, 1.0) == "LEASE_UNKNOWN"
    assert leases.left_s(1.0) is None


def test_an_owner_may_hold_several_and_the_longest_counts() -> None:
    leases = Leases()
    begun(leases, "short", lease_s=10)
    begun(leases, "long", lease_s=100)
    assert leases.left_s(5.0) == 95.0
    assert leases.next_end_s(5.0) == 5.0
    leases.end("long", SHOP, 6.0)
    assert leases.left_s(6.0) == 4.0


def test_more_than_a_process_may_hold_are_refused_and_others_still_begin() -> None:
    leases = Leases()
    for number in range(MOST_OF_ONE):
        begun(leases, f"a{number}")
    assert refusal(leases.begin, "x", SHOP, Purpose.SALE, 60, 1.0) == "TOO_MANY_LEASES"
    begun(leases, "b", Process(1000, 42, 900))
    begun(leases, "later", now_s=60.0)  # those of before are over by now


def test_all_together_are_bounded() -> None:
    leases = Leases()
    for number in range(MOST):
        begun(leases, f"a{number}", Process(1000, number // 100, 1))
    assert refusal(leases.begin, "x", SHOP, Purpose.SALE, 60, 1.0) == "TOO_MANY_LEASES"
    assert len(leases) == MOST
