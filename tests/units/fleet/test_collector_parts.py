"""What a collector takes for a part of a journal, and what it refuses: no card data, and no value of it anywhere."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

import msgspec
import pytest

from agent.contract.canonical_json import canonical
from agent.fleet.collector.parts import (
    MAX_BYTES,
    Born,
    Checked,
    Kind,
    Refusal,
    Source,
    check_batch,
    check_birth,
    source_of,
)
from agent.store.chain import genesis
from tests.kit.swarm import BINDING, Book

JOURNAL = "0192f6d0-0000-7000-8000-0000000000aa"
BINDINGS = frozenset({(BINDING["provider"], BINDING["mid"], BINDING["tid"])})
PAN = "4111111111111111"
BOOK = Book("T-1", JOURNAL)
BOOK.write(5)


def message(*records: dict[str, Any] | str, **changes: Any) -> bytes:
    """A batch that is right but for ``changes``; a record given as text goes in as it is."""
    chain, entries = genesis(JOURNAL), []
    for sequence, record in enumerate(records, 1):
        text = record if isinstance(record, str) else canonical(record).decode()
        digest = sha256(text.encode()).digest()
        chain = sha256(chain + sequence.to_bytes(8, "big") + digest).digest()
        entries.append(
            {
                "seq": sequence,
                "at": "2026-11-21T02:00:00Z",
                "record": msgspec.Raw(text.encode()),
                "hash": chain.hex(),
                **changes,
            }
        )
    return msgspec.json.encode({"journal_id": JOURNAL, "from_seq": 1, "entries": entries})


def record(**changes: Any) -> dict[str, Any]:
    return {**json.loads(BOOK.record(1)), **changes}


def check(payload: bytes, kind: Kind = "txn") -> Checked:
    return check_batch(payload, kind, BINDINGS)


def test_a_right_message_is_taken_record_for_record() -> None:
    checked = check(BOOK.message(1, 5))
    assert checked.refusal is None
    assert checked.part is not None
    assert [entry.record.decode() for entry in checked.part.entries] == [BOOK.record(number) for number in range(1, 6)]
    assert [entry.hash for entry in checked.part.entries] == BOOK.hashes[1:]


@pytest.mark.parametrize(
    "changes",
    [
        {"memo": PAN},
        {"merchant_order_no": PAN},
        {"mid": "411111111111111"[:15], "tid": "1"} | {"mid": "378282246310005"},
        {"note": f"card {PAN}"},
        {"pan": "x"},
        {"later": {"track2": f"{PAN}=25121010000000000000"}},
        {"amount_minor": int(PAN)},
    ],
)
def test_card_data_is_refused_and_its_value_is_nowhere(changes: dict[str, Any]) -> None:
    checked = check(message(record(), record(**changes), record()))
    assert checked.refusal is not None
    assert checked.refusal.reason in {"card_data", "not_canonical"}
    assert checked.part is not None
    assert checked.part.upto_seq == 1  # what was before it is taken
    assert not any(str(value) in repr(checked.refusal) for value in changes.values())


def test_a_number_of_a_merchant_is_taken_where_the_terminal_is_bound_to_it() -> None:
    bound = {"provider": "acme", "mid": "378282246310005", "tid": "1"}
    payload = message(record(**bound))
    assert check(payload).refusal == Refusal("card_data", "sequence 1: mid breaks R3")
    assert check_batch(payload, "txn", frozenset({tuple(bound.values())})).refusal is None  # type: ignore[arg-type]


def test_a_record_of_a_newer_form_is_kept_and_counted() -> None:
    checked = check(message(record(), record(loyalty="gold")))
    assert checked.refusal is None
    assert checked.unknown_form == (2,)


def test_a_name_that_stands_twice_hides_nothing() -> None:
    text = BOOK.record(1)
    twice = text[:-1] + ',"type":"sale"}'
    checked = check(message(twice))
    assert checked.part is None
    hidden = text.replace('{"amount', f'{{"memo":"{PAN}","memo":"x","amount')
    checked = check(message(hidden))
    assert checked.part is None
    assert PAN not in repr(checked)


def test_a_record_in_another_order_has_the_hash_of_its_canonical_form() -> None:
    fields = json.loads(BOOK.record(1))
    shuffled = dict(sorted(fields.items(), reverse=True))
    payload = BOOK.message(1, 1).replace(BOOK.record(1).encode(), json.dumps(shuffled, indent=1).encode())
    checked = check(payload)
    assert checked.part is not None
    assert checked.part.entries[0].record.decode() == BOOK.record(1)


def test_an_altered_record_breaks_the_chain_within_its_message() -> None:
    payload = BOOK.message(1, 5).replace(b'"stan":"000003"', b'"stan":"000004"')
    checked = check(payload)
    assert checked.refusal is not None
    assert checked.refusal.reason == "broken_chain"
    assert checked.part is not None
    assert checked.part.upto_seq == 2


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[]",
        b"\xff",
        b"{" * 10_000,
        b'{"journal_id":"x","from_seq":1,"entries":[]}',
        BOOK.message(1, 2).replace(b'"from_seq":1', b'"from_seq":0'),
        BOOK.message(1, 2).replace(b'"from_seq":1', b'"from_seq":-1'),
        BOOK.message(1, 2).replace(b'"from_seq":1', b'"from_seq":1.5'),
        BOOK.message(1, 2).replace(b'"from_seq":1', b'"from_seq":99999999999999999999'),
        BOOK.message(1, 2).replace(b'"from_seq":1', b'"also":1,"from_seq":1'),
        BOOK.message(1, 2).replace(b'"seq":1,', b'"seq":1,"extra":1,'),
        BOOK.message(1, 2).replace(b'"seq":1,', b'"seq":2,'),
        BOOK.message(1, 2).replace(JOURNAL.encode(), JOURNAL.upper().encode()),
        BOOK.message(1, 2).replace(b'"hash":"', b'"hash":"0'),
        message(record(), at=f"{PAN}"),
        message(record(), mark={"duplicate_of": PAN}),
        message(record(), mark={"note": "x"}),
        message("[1]"),
        message('"text"'),
        message("1"),
        message('{"amount_minor":1.5}'),
        message('{"amount_minor":1e3}'),
        message('{"a":' * 80 + "1" + "}" * 80),
    ],
)
def test_what_is_no_batch_of_right_entries_is_refused_whole(payload: bytes) -> None:
    checked = check(payload)
    assert checked.part is None
    assert checked.refusal is not None
    assert PAN not in repr(checked)


def test_a_message_beyond_any_agreed_size_is_not_even_read() -> None:
    refusal = check(b" " * (MAX_BYTES + 1)).refusal
    assert refusal is not None
    assert refusal.reason == "too_large"


def test_audit_entries_have_any_form_but_no_card_data() -> None:
    assert check(message({"event": "config.changed", "by": "li-wei"}), "audit").refusal is None
    refused = check(message({"event": "config.changed", "by": PAN}), "audit")
    assert refused.part is None
    assert PAN not in repr(refused)


def test_a_birth_message_says_who_it_is_and_what_it_is_bound_to() -> None:
    born = check_birth(BOOK.birth("S-01"))
    assert born == Born("SN-T-1", (("acme", BINDING["mid"], BINDING["tid"]),), JOURNAL, None)
    origin = {"parent": None, "base_sequence": 0, "base_hash": genesis(JOURNAL).hex()}
    with_origin = check_birth(json.dumps({**json.loads(BOOK.birth("S-01")), "origin": origin}).encode())
    assert isinstance(with_origin, Born)
    assert with_origin.origin is not None


@pytest.mark.parametrize("payload", [b"", b"{}", b"\xff", b'{"serial":1,"journal_id":"x"}'])
def test_what_is_no_birth_message_is_refused(payload: bytes) -> None:
    assert isinstance(check_birth(payload), Refusal)


@pytest.mark.parametrize(
    ("topic", "found"),
    [
        ("pos/v1/S-01/T-1/agent/txn", (Source("S-01", "T-1"), "agent/txn")),
        ("pos/v1/S-01/T-1/agent", (Source("S-01", "T-1"), "agent")),
        ("pos/v2/S-01/T-1/agent/txn", None),
        ("pos/v1//T-1/agent/txn", None),
        ("pos/v1/S-01/T\x1b[0m/agent/txn", None),
        ("pos/v1/../../agent/txn", None),
        ("pos/v1/S-01/../agent/txn", None),
        ("pos/v1/S-01/.ssh/agent/txn", None),
        ("pos/v1/S-01", None),
        ("", None),
    ],
)
def test_whose_message_it_is_stands_in_its_topic_name(topic: str, found: object) -> None:
    assert source_of(topic) == found
