"""What arrives on ``agent/txn`` and ``agent/birth`` → checked parts of a journal. Pure; strict, and blind to nothing.

The broker's word counts for nothing here: every record is decoded as strictly as at a terminal's own door, looked
through for card data, and hashed again. A record of a form that is not known (a terminal may be newer than this
program) is kept when its chain is right and no card data is in it, and counted; one with card data is refused, and
nothing of it goes further than its field's name and the rule.
"""

from __future__ import annotations

import re
from collections.abc import Set
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Raw, Struct

from agent.contract import card_data, topics
from agent.contract.canonical_json import NotCanonical, canonical
from agent.contract.journal_upload import Hash, JournalOrigin, Sequence
from agent.contract.journal_views import Mark
from agent.contract.transaction import Bindings, decode_record
from agent.contract.transaction_form import LocalTime, Uuid
from agent.errors import BadRequest, CardDataRejected
from agent.store.chain import link, record_digest
from agent.trust.envelope import parse_leniently

MAX_BYTES: Final = 128 * 1024
"""Of one message; terminals send at most half of it."""
Kind = Literal["txn", "audit"]
KIND_OF: Final[dict[str, Kind]] = {topics.TRANSACTIONS: "txn", topics.AUDIT: "audit"}
_MAX_ENTRIES: Final = 10_000
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
"""Of a site or a terminal. Exports make folders of them, so a broker's word for one is held to the form of all ids."""


class Entry(Struct, frozen=True, array_like=True, gc=False):
    """One entry of a right form. ``record``: its canonical bytes; ``digest``: their SHA-256; ``mark``: as JSON."""

    sequence: int
    at: str
    record: bytes
    digest: bytes
    hash: bytes
    mark: bytes | None


class Part(Struct, frozen=True, array_like=True):
    """Entries of one journal in order without a hole, at least one; each is linked to the one before it."""

    journal_id: str
    entries: tuple[Entry, ...]

    @property
    def from_seq(self) -> int:
        return self.entries[0].sequence

    @property
    def upto_seq(self) -> int:
        return self.entries[-1].sequence


class Refusal(Struct, frozen=True):
    """Why something was not taken. ``reason`` is a fixed word; ``detail`` names a field, a rule or a sequence only."""

    reason: Literal["card_data", "not_a_batch", "not_canonical", "broken_chain", "too_large", "not_a_birth"]
    detail: str


class Checked(Struct, frozen=True):
    """What became of one message: the part up to the first entry that was refused.

    Attributes:
        journal_id: Also when nothing could be taken; None when not even that is known.
        unknown_form: Sequences of records that this program does not know the form of.
    """

    part: Part | None
    journal_id: str | None = None
    refusal: Refusal | None = None
    unknown_form: tuple[int, ...] = ()


class Source(Struct, frozen=True, order=True):
    """Whose message it was: two levels of its Topic Name."""

    site: str
    terminal: str


class Born(Struct, frozen=True):
    """What a birth message says that a collector needs."""

    serial: str
    bindings: tuple[tuple[str, str, str], ...]
    journal_id: str
    origin: JournalOrigin | None


class _WireMark(Mark, frozen=True, forbid_unknown_fields=True):
    """A mark, and nothing beside it."""

    def __post_init__(self) -> None:
        if self.duplicate_of is not None and card_data.scan_request_id(self.duplicate_of):
            raise ValueError("a mark names a transaction by its id")


class _WireEntry(Struct, frozen=True, forbid_unknown_fields=True):
    seq: Sequence
    at: LocalTime
    record: Raw
    hash: Hash
    mark: _WireMark | None = None


class _WireBatch(Struct, frozen=True, forbid_unknown_fields=True):
    journal_id: Uuid
    from_seq: Sequence
    entries: Annotated[list[_WireEntry], Meta(min_length=1, max_length=_MAX_ENTRIES)]


class _WireBinding(Struct, frozen=True):
    provider: str
    mid: str
    tid: str


class _WireOrigin(Struct, frozen=True):
    """`JournalOrigin`; what is kept of it as text is a UUID."""

    parent: Uuid | None
    base_sequence: Sequence
    base_hash: Hash


class _WireBirth(Struct, frozen=True):
    """Of a birth message: terminals of other releases say more, or less.

    No control characters: PostgreSQL holds no U+0000, and a commit that can never succeed would be tried for ever.
    """

    serial: Annotated[str, Meta(max_length=128, pattern=r"\A[^\x00-\x1f\x7f]*\Z")]
    journal_id: Uuid
    bindings: Annotated[tuple[_WireBinding, ...], Meta(max_length=1000)] = ()
    origin: _WireOrigin | None = None


_batches: Final = msgspec.json.Decoder(_WireBatch)
_births: Final = msgspec.json.Decoder(_WireBirth)
_json: Final = msgspec.json.Decoder()
_BROKEN: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def source_of(topic: str) -> tuple[Source, str] | None:
    """Who published it, and what follows the terminal's level; None for any other Topic Name."""
    levels = topic.split("/", 4)
    if len(levels) != 5 or "/".join(levels[:2]) != topics.ROOT:
        return None
    site, terminal = levels[2:4]
    if not (_NAME.fullmatch(site) and _NAME.fullmatch(terminal)):
        return None
    return Source(site, terminal), levels[4]


def check_birth(payload: bytes) -> Born | Refusal:
    """Read a birth message."""
    try:
        birth = _births.decode(payload)
    except _BROKEN:
        return Refusal("not_a_birth", "agent/birth")
    bindings = tuple((one.provider, one.mid, one.tid) for one in birth.bindings)
    said = birth.origin
    origin = JournalOrigin(said.parent, said.base_sequence, said.base_hash) if said is not None else None
    return Born(birth.serial, bindings, birth.journal_id, origin)


def check_batch(payload: bytes, kind: Kind, bindings: Bindings) -> Checked:
    """Read one message of a journal, up to its first entry that cannot be taken.

    Args:
        bindings: (provider, mid, tid) of the terminal, by its birth message: what is none of them is looked through
            for card data as any text is.
    """
    if len(payload) > MAX_BYTES:
        return Checked(None, refusal=Refusal("too_large", f"more than {MAX_BYTES} bytes"))
    try:
        batch = _batches.decode(payload)
    except _BROKEN:
        return Checked(None, refusal=Refusal("not_a_batch", "journal_id, from_seq, entries"))
    entries: list[Entry] = []
    strange: list[int] = []
    refusal: Refusal | None = None
    before: bytes | None = None
    for number, one in enumerate(batch.entries):
        sequence = batch.from_seq + number
        if one.seq != sequence or sequence < 1:
            refusal = Refusal("not_a_batch", f"entry {number + 1} is out of order")
            break
        record = _canonical_record(bytes(one.record), kind, bindings)
        if isinstance(record, Refusal):
            refusal = Refusal(record.reason, f"sequence {sequence}: {record.detail}")
            break
        content, known_form = record
        digest, hash_ = record_digest(content), bytes.fromhex(one.hash)
        if before is not None and link(before, sequence, digest) != hash_:
            refusal = Refusal("broken_chain", f"sequence {sequence} does not follow the entry before it")
            break
        if not known_form:
            strange.append(sequence)
        mark = msgspec.json.encode(one.mark) if one.mark is not None else None
        entries.append(Entry(sequence, one.at, content, digest, hash_, mark))
        before = hash_
    part = Part(batch.journal_id, tuple(entries)) if entries else None
    return Checked(part, batch.journal_id, refusal, tuple(strange))


def _canonical_record(raw: bytes, kind: Kind, bindings: Set[tuple[str, str, str]]) -> tuple[bytes, bool] | Refusal:
    """A record's canonical bytes, and whether this program knows its form."""
    try:
        value = _json.decode(raw)
    except _BROKEN:
        return Refusal("not_canonical", "the record is not JSON that can be read")
    if not isinstance(value, dict):
        return Refusal("not_canonical", "the record is no object")
    content, known_form = b"", False
    try:
        if kind == "txn":
            content, known_form = decode_record(value, bindings).canonical, True
    except CardDataRejected as err:
        return Refusal("card_data", f"{err.field} breaks {err.facts['rule']}")
    except BadRequest:
        pass  # looked through for card data all the same, by decode_record
    if kind != "txn":
        known_form = True
        if finding := card_data.scan_tree(value):
            return Refusal("card_data", f"{finding.field} breaks {finding.rule}")
    if not content:
        try:
            content = canonical(value)
        except (NotCanonical, UnicodeEncodeError):
            return Refusal("not_canonical", "the record has no canonical form")
    if content != raw and _hides_something(raw):
        return Refusal("not_canonical", "a name stands twice in the record")
    return content, known_form


def _hides_something(raw: bytes) -> bool:
    """Whether a name stands twice, so that one of its values was never looked at."""
    parsed = parse_leniently(raw)
    return parsed is None or bool(parsed.repeated)
