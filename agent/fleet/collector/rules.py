"""What arriving parts do to one journal: the decisions alone. Pure: what is held and what came in, what to do out.

A part extends the journal when it links by hash to the last entry held without a hole. One that begins later waits
(several collectors share the work, so messages overtake each other) until what is missing has come; is it still
missing after `ASK_AFTER_MS`, the terminal is asked for it. Only when it has answered `INSIST` times by beginning later
again is its beginning taken, with a gap that is on record: questions that it cannot have heard, because it was away,
count for nothing, and neither do those for an entry that came and was refused. Another hash under a sequence that is
held is a fork: it is kept apart with what follows it, nothing is overwritten, and the answer is what is held: the
terminal cannot agree.

A new journal begins at its own genesis, or at an entry that another journal of the same terminal holds: that is its
parent, as after a restore. What the parent holds already is not held twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from agent.fleet.collector.parts import Entry, Part
from agent.store.chain import genesis, link

ASK_AFTER_MS: Final = 1_000
ASK_AGAIN_MS: Final = 5_000
ASK_SELDOM_MS: Final = 3_600_000
"""Without an answer the pauses double up to this: the broker keeps the questions to a terminal that is away."""
INSIST: Final = 2
MAX_WAITING_PARTS: Final = 64
MAX_WAITING_BYTES: Final = 4 * 1024 * 1024
"""Both of one journal; of more the first ones are kept, and the rest is asked for again."""


class Head(NamedTuple):
    """The last entry held without a hole (0: none), and the chain there."""

    sequence: int
    hash: bytes


class Gap(Struct, frozen=True):
    """Sequences that the terminal has no more; ``upto_seq`` below ``from_seq``: only the link to it is unproven.

    Attributes:
        before: The chain before ``from_seq``. ``after_digest``, ``after_hash``: of the entry behind the gap, which is
            what a later filling must lead to.
        row: Of the store; 0 for one that is new.
    """

    from_seq: int
    upto_seq: int
    before: bytes
    after_digest: bytes
    after_hash: bytes
    row: int = 0


class Fork(NamedTuple):
    """``theirs`` contradicts what is held: ``ours`` has its sequence, or (None) it does not follow the last entry."""

    ours: bytes | None
    theirs: Entry


class Journal(Struct, frozen=True):
    """A journal as the store knows it.

    Attributes:
        begun: False as long as nothing of it could be linked to anything.
        base: The last entry that is the parent's own.
        since_ms: Since when parts wait; ``asked_ms``: when the terminal was asked last.
        asks: Questions that were answered by beginning later again, twice; one more while a question is open.
        forked: A fork is on record: no gap is taken any more, for what comes after it may be the other branch.
    """

    journal_id: str
    head: Head
    begun: bool = False
    parent: str | None = None
    base: int = 0
    since_ms: int | None = None
    asks: int = 0
    asked_ms: int | None = None
    forked: bool = False


def new_journal(journal_id: str) -> Journal:
    """One of which nothing has come."""
    return Journal(journal_id, Head(0, genesis(journal_id)))


class Facts(Struct, frozen=True):
    """What the store holds around the parts that arrived.

    Attributes:
        held: Sequence → hash in this journal and its ancestors, for every sequence of the parts up to the head.
        kin: Sequence → hash → journal_id of the terminal's other journals, for the sequences of the parts and the one
            before each; needed as long as the journal has no entry of its own.
        origin: Where the terminal's birth message says that the journal begins, when that entry is held.
        parent: Of which journal, by that message, whether it is held or not.
        gaps: Those not filled.
    """

    held: Mapping[int, bytes] = {}
    kin: Mapping[int, Mapping[bytes, str]] = {}
    origin: tuple[str, Head] | None = None
    parent: str | None = None
    gaps: tuple[Gap, ...] = ()


class Reply(NamedTuple):
    """What the terminal is told: the journal's head, and from where to send again."""

    head: Head
    resend_from: int | None


class Settlement(Struct, frozen=True):
    """What one commit does to a journal. ``keep``, ``release``: parts that wait from now on, and no longer do."""

    journal: Journal
    added: tuple[Entry, ...]
    new_gaps: tuple[Gap, ...]
    changed_gaps: tuple[Gap, ...]
    forks: tuple[Fork, ...]
    keep: tuple[Part, ...]
    release: tuple[Part, ...]
    reply: Reply | None


def settle(
    journal: Journal, arrived: Sequence[Part], waiting: Sequence[Part], facts: Facts, now_ms: int, *, told: bool = False
) -> Settlement:
    """Decide about the parts of one journal.

    Args:
        arrived: Just received; empty when only time has passed.
        waiting: Received earlier and not linked yet, as the store keeps them.
        told: The terminal is answered in any case: something of its message was refused.
    """
    return _Settling(journal, facts).run(arrived, waiting, now_ms, told=told)


class _Settling:
    def __init__(self, journal: Journal, facts: Facts) -> None:
        self._before = journal
        self._head, self._begun = journal.head, journal.begun
        self._parent, self._base = journal.parent, journal.base
        self._facts = facts
        self._held = dict(facts.held)
        self._held[journal.head.sequence] = journal.head.hash
        self._gaps = {gap.row: gap for gap in facts.gaps}
        self._changed: dict[int, Gap] = {}
        self._new_gaps: list[Gap] = []
        self._added: list[Entry] = []
        self._forks: dict[tuple[int, bytes], Fork] = {}

    def run(self, arrived: Sequence[Part], waiting: Sequence[Part], now_ms: int, *, told: bool) -> Settlement:
        parts = {_key(part): part for part in (*waiting, *arrived)}
        stored = {_key(part) for part in waiting}
        ahead = self._take_all(parts.values())
        since, asks, asked = self._before.since_ms, self._before.asks, self._before.asked_ms
        if self._head != self._before.head or self._begun != self._before.begun or since is None:
            since, asks, asked = now_ms, 0, None  # another hole than before, if any
        forked = self._before.forked or bool(self._forks)
        if told:
            asks = 0  # what is missing is there, and was refused
        elif self._begins_again(arrived, waiting):
            asks += asks % 2
            if ahead and asks >= 2 * INSIST and not forked:
                self._accept_gap(ahead[0])
                ahead, since, asks, asked = self._take_all(ahead), now_ms, 0, None
        ask = bool(ahead) and now_ms - since >= ASK_AFTER_MS and now_ms - (asked or 0) >= _pause_ms(since, asks, asked)
        if ask:
            asks, asked = asks | 1, now_ms
        kept = _bounded(ahead)
        left = {_key(part) for part in kept}
        consumed = told or any(_key(part) not in {_key(one) for one in ahead} for part in arrived)
        after = Journal(
            self._before.journal_id,
            self._head,
            self._begun,
            self._parent,
            self._base,
            since if kept else None,
            asks if kept else 0,
            asked if kept else None,
            forked or bool(self._forks),
        )
        resend_from = self._head.sequence + 1 if ask else None
        return Settlement(
            journal=after,
            added=tuple(self._added),
            new_gaps=tuple(self._new_gaps),
            changed_gaps=tuple(self._changed.values()),
            forks=tuple(self._forks.values()),
            keep=tuple(part for part in kept if _key(part) not in stored),
            release=tuple(part for part in waiting if _key(part) not in left),
            reply=Reply(self._head, resend_from) if consumed or ask else None,
        )

    def _take_all(self, parts: Iterable[Part]) -> list[Part]:
        """Take what can be taken; the rest, first sequence first."""
        ordered = sorted(parts, key=_key)
        return [part for part in ordered if not self._take(part)]

    def _take(self, part: Part) -> bool:
        """False when something before it is missing."""
        if not self._begun and not self._begin(part):
            return False
        if self._head.sequence == self._base:
            self._pass_over_kin(part)
        known = self._head.sequence - part.from_seq + 1
        if known < 0:
            return False
        old, new = part.entries[:known], part.entries[known:]
        unknown: list[Entry] = []
        for entry in old:
            ours = self._held.get(entry.sequence)
            if ours is None:
                unknown.append(entry)
            elif ours != entry.hash:
                self._fork(part, entry.sequence)
                return True
        self._fill(part, unknown)
        if not new:
            return True
        if not old and link(self._head.hash, new[0].sequence, new[0].digest) != new[0].hash:
            self._fork(part, new[0].sequence)
            return True
        self._add(new)
        return True

    def _begin(self, part: Part) -> bool:
        """Find where a journal begins of which nothing is held."""
        first = part.entries[0]
        if first.sequence == 1 and link(self._head.hash, 1, first.digest) == first.hash:
            self._begun = True
            return True
        for hash_, owner in self._facts.kin.get(first.sequence - 1, {}).items():
            if link(hash_, first.sequence, first.digest) == first.hash:
                self._begin_at(owner, Head(first.sequence - 1, hash_))
                return True
        if owner := self._facts.kin.get(first.sequence, {}).get(first.hash, ""):
            self._begin_at(owner, Head(first.sequence, first.hash))
            return True
        if self._facts.origin is not None:
            self._begin_at(*self._facts.origin)
            return True
        if first.sequence == 1 and self._facts.parent is not None:  # restored before anything of it came here
            root = genesis(self._facts.parent)
            if link(root, 1, first.digest) == first.hash:
                self._begin_at(self._facts.parent, Head(0, root))
                return True
        return False

    def _begin_at(self, parent: str, head: Head) -> None:
        self._begun, self._parent, self._base, self._head = True, parent, head.sequence, head
        self._held[head.sequence] = head.hash

    def _pass_over_kin(self, part: Part) -> None:
        """What an ancestor holds is held: the journal begins after it."""
        for entry in part.entries:
            if entry.sequence == self._head.sequence + 1:
                owner = self._facts.kin.get(entry.sequence, {}).get(entry.hash)
                if owner is None:
                    return
                self._begin_at(owner, Head(entry.sequence, entry.hash))

    def _add(self, entries: Sequence[Entry]) -> None:
        self._added += entries
        self._held.update((entry.sequence, entry.hash) for entry in entries)
        self._head = Head(entries[-1].sequence, entries[-1].hash)

    def _fork(self, part: Part, from_seq: int) -> None:
        """Keep apart what contradicts, from ``from_seq`` on."""
        for theirs in part.entries[from_seq - part.from_seq :]:
            self._forks[theirs.sequence, theirs.hash] = Fork(self._held.get(theirs.sequence), theirs)

    def _fill(self, part: Part, entries: Sequence[Entry]) -> None:
        """Fill gaps from their beginning on; the last one must lead to the entry behind the gap."""
        for entry in entries:
            gap = next((one for one in self._gaps.values() if one.from_seq == entry.sequence <= one.upto_seq), None)
            if gap is None:
                continue
            leads = entry.sequence < gap.upto_seq or link(entry.hash, gap.upto_seq + 1, gap.after_digest) == (
                gap.after_hash
            )
            if link(gap.before, entry.sequence, entry.digest) != entry.hash or not leads:
                self._fork(part, entry.sequence)
                return
            gap = replace(gap, from_seq=entry.sequence + 1, before=entry.hash)
            self._gaps[gap.row] = self._changed[gap.row] = gap
            self._added.append(entry)
            self._held[entry.sequence] = entry.hash

    def _begins_again(self, arrived: Sequence[Part], waiting: Sequence[Part]) -> bool:
        """Whether the terminal has answered from its beginning.

        That is from no later than whatever came before; or (what came first may be gone there by now) with a part that
        came before.
        """
        first = min((part.from_seq for part in waiting), default=None)
        stored = {_key(part) for part in waiting}
        return any(
            part.from_seq > self._head.sequence + (1 if self._begun else 0)
            and (first is None or part.from_seq <= first or _key(part) in stored)
            for part in arrived
        )

    def _accept_gap(self, part: Part) -> None:
        first = part.entries[0]
        gap = Gap(self._head.sequence + 1, first.sequence - 1, self._head.hash, first.digest, first.hash)
        self._new_gaps.append(gap)
        self._begun = True
        self._add([first])


def _key(part: Part) -> tuple[int, int, bytes]:
    return part.from_seq, part.upto_seq, part.entries[-1].hash


def _pause_ms(since_ms: int, asks: int, asked_ms: int | None) -> int:
    """How long after the last question the next one may follow."""
    if asked_ms is None:
        return 0
    if 0 < asks < 2 * INSIST and asks % 2 == 0:
        return ASK_AGAIN_MS  # it was answered: the terminal is there
    return min(max(ASK_AGAIN_MS, asked_ms - since_ms), ASK_SELDOM_MS)


def _bounded(ahead: Sequence[Part]) -> list[Part]:
    """The first ones, up to the limits."""
    kept: list[Part] = []
    size = 0
    for part in ahead[:MAX_WAITING_PARTS]:
        size += sum(len(entry.record) for entry in part.entries)
        if size > MAX_WAITING_BYTES:
            break
        kept.append(part)
    return kept
