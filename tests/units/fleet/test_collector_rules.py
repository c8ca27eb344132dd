"""The collector's rules: any order, repetition and loss of messages ends in a chain that verifies, or in no entry."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.fleet.collector.parts import Checked, Entry, Part, check_batch
from agent.fleet.collector.rules import (
    ASK_AFTER_MS,
    ASK_AGAIN_MS,
    ASK_SELDOM_MS,
    MAX_WAITING_PARTS,
    Facts,
    Gap,
    Head,
    Journal,
    Settlement,
    new_journal,
    settle,
)
from agent.store.chain import link
from tests.kit.swarm import BINDING, Book

JOURNAL = "0192f6d0-0000-7000-8000-0000000000aa"
BINDINGS = frozenset({(BINDING["provider"], BINDING["mid"], BINDING["tid"])})
BOOK = Book("T-1", JOURNAL)
BOOK.write(80)
OTHER = Book("T-2", JOURNAL)  # the same journal id with other records: a terminal that was set back, or a thief
OTHER.write(80)


def part(first: int, last: int, book: Book = BOOK) -> Part:
    checked: Checked = check_batch(book.message(first, last), "txn", BINDINGS)
    assert checked.refusal is None
    assert checked.part is not None
    return checked.part


PARTS = {first: part(first, first + 4) for first in range(1, 80, 5)}
FORKED = {first: part(first, first + 4, OTHER) for first in range(1, 80, 5)}


class Store:
    """The store's side of the rules, in memory: one journal, with what waits and what is on record."""

    def __init__(self) -> None:
        self.journal: Journal = new_journal(JOURNAL)
        self.entries: dict[int, Entry] = {}
        self.waiting: list[Part] = []
        self.gaps: list[Gap] = []
        self.filled: list[Gap] = []
        self.forks: set[tuple[int, bytes]] = set()
        self.now_ms = 0

    def decide(self, *arrived: Part) -> Settlement:
        held = {sequence: entry.hash for sequence, entry in self.entries.items()}
        return settle(self.journal, arrived, self.waiting, Facts(held, gaps=tuple(self.gaps)), self.now_ms)

    def commit(self, settled: Settlement) -> None:
        self.journal = settled.journal
        for entry in settled.added:
            assert entry.sequence not in self.entries, "an entry was overwritten"
            self.entries[entry.sequence] = entry
        self.waiting = [one for one in self.waiting if one not in settled.release] + list(settled.keep)
        changed = {gap.row: gap for gap in settled.changed_gaps}
        now = [changed.get(gap.row, gap) for gap in self.gaps]
        self.filled += [gap for gap in now if gap.from_seq > gap.upto_seq]
        self.gaps = [gap for gap in now if gap.from_seq <= gap.upto_seq]
        self.gaps += [msgspec.structs.replace(gap, row=id(gap)) for gap in settled.new_gaps]
        self.forks |= {(fork.theirs.sequence, fork.theirs.hash) for fork in settled.forks}

    def take(self, *arrived: Part) -> Settlement:
        settled = self.decide(*arrived)
        self.commit(settled)
        return settled

    def check(self) -> None:
        """Everything up to the head is held and verifies from the genesis on, but for what a gap on record names."""
        chain = new_journal(JOURNAL).head.hash
        absent = {sequence for gap in self.gaps for sequence in range(gap.from_seq, gap.upto_seq + 1)}
        for sequence in range(1, self.journal.head.sequence + 1):
            assert (sequence in self.entries) == (sequence not in absent)
            if sequence not in absent:
                entry = self.entries[sequence]
                if sequence - 1 not in absent:
                    assert link(chain, sequence, entry.digest) == entry.hash
                chain = entry.hash
        assert self.journal.head == Head(self.journal.head.sequence, chain)
        assert len(self.entries) + len(absent) == self.journal.head.sequence


@settings(max_examples=120, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.lists(st.sampled_from(sorted(PARTS)), min_size=1, max_size=6),
            st.sampled_from(["commit", "crash", "commit"]),
            st.sampled_from([0, 10, ASK_AFTER_MS, ASK_AGAIN_MS + ASK_AFTER_MS]),
        ),
        max_size=30,
    )
)
def test_any_order_repetition_loss_and_crash_leaves_a_chain_that_verifies(
    rounds: list[tuple[list[int], str, int]],
) -> None:
    store = Store()
    for firsts, outcome, pause_ms in rounds:
        store.now_ms += pause_ms
        before = store.journal.head
        settled = store.decide(*(PARTS[first] for first in firsts))
        if outcome == "crash":  # between receive and commit: the broker brings them again, or they are lost
            assert store.journal.head == before
            continue
        store.commit(settled)
        store.check()
        if settled.reply is not None:
            head = settled.reply.head
            assert head.sequence == 0 or store.entries[head.sequence].hash == head.hash
            assert head.sequence <= store.journal.head.sequence
            assert settled.reply.resend_from in {None, head.sequence + 1}
    store.take(*PARTS.values())  # and in the end, when everything came, everything is there, gaps and all
    store.check()
    assert store.journal.head.sequence == len(store.entries) == 80
    assert not store.waiting
    assert not store.gaps
    assert not store.forks


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.sampled_from(sorted(PARTS))), max_size=40))
def test_a_fork_overwrites_nothing_and_is_never_signed_for(arrivals: list[tuple[bool, int]]) -> None:
    store = Store()
    store.take(*(PARTS[first] for first in range(1, 40, 5)))
    ours = dict(store.entries)
    for theirs, first in arrivals:
        store.now_ms += 700
        settled = store.take(FORKED[first] if theirs else PARTS[first])
        if settled.reply is not None:
            assert settled.reply.head.hash == BOOK.hashes[settled.reply.head.sequence]
    assert {sequence: store.entries[sequence] for sequence in ours} == ours
    assert not store.gaps
    assert all(entry.hash == BOOK.hashes[sequence] for sequence, entry in store.entries.items())
    expected = {first for theirs, first in arrivals if theirs and first < 40}
    assert {sequence for sequence, _hash in store.forks} >= expected


def test_parts_in_order_extend_the_journal_and_are_answered_with_its_head() -> None:
    store = Store()
    settled = store.take(PARTS[1], PARTS[6])
    assert settled.reply is not None
    assert settled.reply.head == Head(10, BOOK.hashes[10])
    assert settled.reply.resend_from is None


def test_what_is_held_already_is_answered_again_and_stored_once() -> None:
    store = Store()
    store.take(PARTS[1])
    settled = store.take(PARTS[1])
    assert settled.added == ()
    assert settled.reply is not None
    assert settled.reply.head.sequence == 5


def test_a_part_that_overlaps_brings_only_what_is_new() -> None:
    store = Store()
    store.take(part(1, 7))
    settled = store.take(part(4, 12))
    assert [entry.sequence for entry in settled.added] == [8, 9, 10, 11, 12]


def test_a_part_that_came_too_early_waits_is_not_answered_and_is_linked_when_the_hole_fills() -> None:
    store = Store()
    store.take(PARTS[1])
    settled = store.take(PARTS[11])
    assert settled.reply is None
    assert store.waiting == [PARTS[11]]
    settled = store.take(PARTS[6])
    assert settled.reply is not None
    assert settled.reply.head.sequence == 15
    assert not store.waiting


def test_a_hole_that_stays_is_asked_for_and_not_more_often_than_needed() -> None:
    store = Store()
    store.take(PARTS[1], PARTS[11])
    assert store.take().reply is None
    store.now_ms += ASK_AFTER_MS
    settled = store.take()
    assert settled.reply is not None
    assert settled.reply.resend_from == 6
    store.now_ms += ASK_AFTER_MS
    assert store.take().reply is None
    store.now_ms += ASK_AGAIN_MS
    assert store.take().reply is not None


def test_a_beginning_that_retention_removed_is_taken_after_the_terminal_insisted_and_the_gap_is_on_record() -> None:
    store = Store()
    for _asked in range(2):
        store.take(PARTS[41])
        store.now_ms += ASK_AFTER_MS + ASK_AGAIN_MS
        settled = store.take()
        assert settled.reply is not None
        assert settled.reply.resend_from == 1
        assert not store.entries
    settled = store.take(PARTS[41])
    assert [(gap.from_seq, gap.upto_seq) for gap in store.gaps] == [(1, 40)]
    assert settled.reply is not None
    assert settled.reply.head == Head(45, BOOK.hashes[45])


def test_only_a_new_beginning_counts_as_the_answer_not_what_was_still_on_its_way() -> None:
    store = Store()
    store.take(PARTS[41])
    for _asked in range(3):
        store.now_ms += ASK_AFTER_MS + ASK_AGAIN_MS
        store.take()
    store.take(PARTS[46])  # goes on after what waits: no answer to the question
    assert not store.gaps


def test_questions_to_a_terminal_that_was_away_make_no_gap() -> None:
    store = Store()
    store.take(PARTS[41])
    for _asked in range(10):
        store.now_ms += ASK_AFTER_MS + 2 * ASK_SELDOM_MS
        assert store.take().reply is not None  # to nobody
    assert store.take(PARTS[41]).reply is None  # it is back, and goes on from its own mark, which is beyond ours
    assert not store.gaps
    store.now_ms += ASK_AGAIN_MS
    settled = store.take()
    assert settled.reply is not None
    assert settled.reply.resend_from == 1  # now it hears


def test_pauses_between_questions_without_an_answer_grow() -> None:
    store = Store()
    store.take(PARTS[41])
    asked = 0
    for _minute in range(7 * 24 * 60):
        store.now_ms += 60_000
        asked += store.take().reply is not None
    assert asked < 200  # while the terminal is away for a week, in the broker's queue


def test_what_was_refused_is_no_gap_however_often_it_comes() -> None:
    store = Store()
    store.take(PARTS[1])
    for _again in range(10):
        refused = settle(store.journal, (), store.waiting, Facts(), store.now_ms, told=True)  # the part with 6
        store.commit(refused)
        store.take(PARTS[11], PARTS[16])
        store.now_ms += 2 * ASK_SELDOM_MS
        store.take()
    assert not store.gaps
    assert store.journal.head.sequence == 5


def test_what_waits_and_is_gone_at_the_terminal_by_now_does_not_block_the_rest() -> None:
    store = Store()
    store.take(PARTS[1], PARTS[11])  # 6 to 10 are lost; then retention removes up to 40 there
    for _again in range(10):
        store.take(PARTS[41])
        store.now_ms += 2 * ASK_SELDOM_MS
        store.take()
    assert [(gap.from_seq, gap.upto_seq) for gap in store.gaps] == [(6, 10), (16, 40)]
    assert store.journal.head.sequence == 45


def test_a_gap_is_filled_from_its_beginning_and_must_lead_to_what_stands_behind_it() -> None:
    store = Store()
    store.take(PARTS[1])
    for _asked in range(2):
        store.take(PARTS[16])
        store.now_ms += ASK_AFTER_MS + ASK_AGAIN_MS
        store.take()
    settled = store.take(PARTS[16])
    (gap,) = settled.new_gaps
    assert (gap.from_seq, gap.upto_seq) == (6, 15)
    stored = msgspec.structs.replace(gap, row=7)
    held = {sequence: entry.hash for sequence, entry in store.entries.items()}
    half = settle(store.journal, [PARTS[6]], [], Facts(held, gaps=(stored,)), store.now_ms)
    (left,) = half.changed_gaps
    assert (left.from_seq, left.upto_seq) == (11, 15)
    held |= {entry.sequence: entry.hash for entry in half.added}
    whole = settle(store.journal, [PARTS[11]], [], Facts(held, gaps=(left,)), store.now_ms)
    assert whole.changed_gaps[0].from_seq == 16
    forged = settle(store.journal, [FORKED[6]], [], Facts(held, gaps=(stored,)), store.now_ms)
    assert forged.forks
    assert not forged.added


def test_after_a_fork_no_gap_is_taken() -> None:
    store = Store()
    store.take(PARTS[1])
    store.take(FORKED[1])
    for _asked in range(4):
        store.take(FORKED[16])
        store.now_ms += ASK_AFTER_MS + ASK_AGAIN_MS
        store.take()
    assert not store.gaps
    assert store.journal.head.sequence == 5


def test_what_waits_is_bounded_and_the_first_parts_are_kept() -> None:
    store = Store()
    single = [part(sequence, sequence) for sequence in range(2, 81)]
    store.take(*reversed(single))
    assert [one.from_seq for one in store.waiting] == list(range(2, 2 + MAX_WAITING_PARTS))


@pytest.mark.parametrize("first", [1, 6])
def test_a_journal_continues_the_parent_whose_entry_it_links_to(first: int) -> None:
    child = new_journal("0192f6d0-0000-7000-8000-0000000000bb")
    moved = [Part(child.journal_id, PARTS[first].entries)]
    kin = {sequence: {BOOK.hashes[sequence]: JOURNAL} for sequence in range(first)}
    settled = settle(child, moved, [], Facts(kin=kin), 0)
    assert (settled.journal.parent, settled.journal.base) == (JOURNAL, first - 1)
    assert [entry.sequence for entry in settled.added] == list(range(first, first + 5))


def test_what_the_parent_holds_is_not_held_twice() -> None:
    child = new_journal("0192f6d0-0000-7000-8000-0000000000bb")
    kin = {sequence: {BOOK.hashes[sequence]: JOURNAL} for sequence in range(4)}
    settled = settle(child, [Part(child.journal_id, PARTS[1].entries)], [], Facts(kin=kin), 0)
    assert (settled.journal.parent, settled.journal.base) == (JOURNAL, 3)
    assert [entry.sequence for entry in settled.added] == [4, 5]


def test_a_journal_whose_first_part_is_late_begins_where_its_birth_message_says() -> None:
    child = new_journal("0192f6d0-0000-7000-8000-0000000000bb")
    origin = (JOURNAL, Head(10, BOOK.hashes[10]))
    late = Part(child.journal_id, PARTS[16].entries)
    settled = settle(child, [late], [], Facts(origin=origin), 0)
    assert settled.journal.head == Head(10, BOOK.hashes[10])
    asked = settle(settled.journal, [], [late], Facts(), ASK_AFTER_MS)
    assert asked.reply is not None
    assert asked.reply.resend_from == 11
