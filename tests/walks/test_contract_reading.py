"""What control.sock reads of the journal, by the contract's words: lists, sums, and the chain computed by strangers.

One agent with its own journal for the module: the entries are written first, then only read.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.kit.agent_process import AgentProcess
from tests.kit.contract_peer import MID, PROVIDER, TID, Peer, chain_after, chain_start, record_of, sale

CHAIN_IN_NODE = r"""
const {createHash} = require('crypto');
const sha = (...parts) => { const h = createHash('sha256'); parts.forEach(p => h.update(p)); return h.digest(); };
const canonical = v => Array.isArray(v) ? '[' + v.map(canonical).join(',') + ']'
  : v && typeof v === 'object'
    ? '{' + Object.keys(v).sort().map(k => JSON.stringify(k) + ':' + canonical(v[k])).join(',') + '}'
    : JSON.stringify(v);
const {journal_id, entries} = JSON.parse(require('fs').readFileSync(0, 'utf8'));
let hash = sha(Buffer.alloc(32), Buffer.from(journal_id, 'ascii'));
for (const {seq, record} of entries) {
  const number = Buffer.alloc(8); number.writeBigUInt64BE(BigInt(seq));
  hash = sha(hash, number, sha(Buffer.from(canonical(record), 'utf8')));
  console.log(hash.toString('hex'));
}
"""


@dataclass
class Journal:
    """An agent whose journal was filled, and what went in, in order."""

    agent: AgentProcess
    payment: Peer
    support: Peer
    sent: list[dict[str, Any]]


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Journal]:
    agent = AgentProcess(tmp_path_factory.mktemp("agent"))
    agent.start()
    try:
        with Peer(agent.run / "payment.sock") as payment, Peer(agent.run / "control.sock") as support:
            yield Journal(agent, payment, support, _fill(payment))
    finally:
        agent.close()


def _fill(payment: Peer) -> list[dict[str, Any]]:
    yuan, dollar = sale(amount_minor=100), sale(amount_minor=250, currency="840")
    refund = record_of("refund", amount_minor=30, original={"transaction_id": yuan["transaction_id"]})
    voided = sale(amount_minor=7)
    sent = [
        yuan,
        dollar,
        sale(amount_minor=900, batch_no="000002"),
        *(sale(amount_minor=5000, state=state) for state in ("created", "sent", "unknown", "declined", "reversed")),
        voided,
        {**voided, "state": "voided"},
        refund,
        sale(
            memo='宽 e\u0301 ｗ " \\ / \u0001 \u007f \u2028 🙂 <&>',
            original={"date": "2026-11-20", "batch_no": "000001"},
        ),
        *(record_of(kind) for kind in ("qr_sale", "sign_in", "sign_out", "pre_auth")),
        *(sale(batch_no="000003", amount_minor=n) for n in range(60)),
    ]
    for number, record in enumerate(sent, start=1):
        assert payment.record(record) == {"sequence": number, "duplicate": False}
    conflict = {**dollar, "amount_minor": 251}
    assert payment.record_fails(conflict, "TXN_CONFLICT")["sequence"] == len(sent) + 1
    same_key = {**yuan, "transaction_id": str(uuid.uuid4())}
    payment.record(same_key)
    return [*sent, conflict, same_key]


def _entries(journal: Journal, limit: int = 50) -> list[dict[str, Any]]:
    return sorted(journal.support.everything("transaction.list", limit), key=lambda entry: int(entry["seq"]))


def test_sequences_start_at_one_without_holes_and_entries_hold_records_as_received(journal: Journal) -> None:
    entries = _entries(journal)
    assert [entry["seq"] for entry in entries] == list(range(1, len(journal.sent) + 1))
    assert [entry["record"] for entry in entries] == journal.sent
    for entry in entries:
        assert set(entry) - {"mark"} == {"seq", "at", "record", "hash"}
    marked = [entry["seq"] for entry in entries if entry.get("mark")]
    assert marked == [len(journal.sent) - 1, len(journal.sent)]
    assert entries[-1]["mark"]["duplicate_of"] == journal.sent[0]["transaction_id"]


def test_the_chain_as_a_stranger_computes_it(journal: Journal) -> None:
    journal_id = journal.support.ask("agent.info")["journal_id"]
    assert str(uuid.UUID(journal_id)) == journal_id
    previous = chain_start(journal_id)
    for entry in _entries(journal):
        previous = chain_after(previous, entry["seq"], entry["record"])
        assert entry["hash"] == previous.hex(), entry["seq"]


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_the_chain_in_another_language(journal: Journal) -> None:
    entries = _entries(journal)
    journal_id = journal.support.ask("agent.info")["journal_id"]
    given = json.dumps({"journal_id": journal_id, "entries": entries})
    done = subprocess.run(
        ["node", "-e", CHAIN_IN_NODE], input=given, capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout.split() == [entry["hash"] for entry in entries]


def test_verify_finds_the_journal_intact(journal: Journal) -> None:
    expected = {"intact": True, "upto_sequence": len(journal.sent), "missing": []}
    assert journal.support.ask("journal.verify") == expected


@pytest.mark.parametrize("limit", [1, 7, 50])
def test_pages_hold_every_entry_once_whatever_their_size(journal: Journal, limit: int) -> None:
    pages = list(journal.support.pages("transaction.list", limit))
    assert all(len(page) == limit for page in pages[:-1])
    listed = [entry["seq"] for page in pages for entry in page]
    assert sorted(listed) == list(range(1, len(journal.sent) + 1))
    assert listed in (sorted(listed), sorted(listed, reverse=True))


def test_a_list_without_limit_is_bounded_and_goes_on_by_its_cursor(journal: Journal) -> None:
    first = journal.support.ask("transaction.list")
    assert len(first["items"]) > 0
    if first["next_cursor"] is not None:
        second = journal.support.ask("transaction.list", cursor=first["next_cursor"])
        assert not {entry["seq"] for entry in first["items"]} & {entry["seq"] for entry in second["items"]}


FORMS: dict[str, list[Any]] = {
    "limit": [0, -1, "5", 10**9, True, None],
    "cursor": [5, "no cursor of ours", "", [], "9" * 30, "-1", "١"],
    "(unknown)": [1],
}


@pytest.mark.parametrize("method", ["transaction.list", "transaction.summary", "command.list"])
@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in FORMS.items() for value in values])
def test_forms_of_limit_and_cursor(journal: Journal, method: str, field: str, value: Any) -> None:
    answer = journal.support.call(method, {field: value})
    if "error" in answer:
        assert (answer["error"]["code"], answer["error"]["data"]["code"]) == (-32602, "BAD_PARAMS")
        assert answer["error"]["data"]["field"] == field
    else:  # a list may bound a limit that is too large, and an absent one may be written as null
        assert (field, value) in (("limit", 10**9), ("limit", None)), answer


def test_the_summary_counts_current_states_and_leaves_conflicts_out(journal: Journal) -> None:
    items = journal.support.everything("transaction.summary", 2)
    fields = {"provider", "mid", "tid", "batch_no", "currency", "type", "count", "sum_minor"}
    assert all(set(item) == fields for item in items), items
    assert all((item["provider"], item["mid"], item["tid"]) == (PROVIDER, MID, TID) for item in items)
    sums = {(item["batch_no"], item["currency"], item["type"]): (item["count"], item["sum_minor"]) for item in items}
    assert len(sums) == len(items)
    yuan = [100, 7, 12800, 100]  # refunded in part, voided, the one with a memo, the same natural key again
    assert sums["000001", "156", "sale"] == (len(yuan), sum(yuan))
    assert sums["000001", "840", "sale"] == (1, 250)
    assert sums["000002", "156", "sale"] == (1, 900)
    assert sums["000003", "156", "sale"] == (60, sum(range(60)))
    assert sums["000001", "156", "refund"] == (1, 30)
    assert sums["000001", "156", "pre_auth"] == (1, 12800)
    assert Counter(kind for _, _, kind in sums)["qr_sale"] == 1


def test_a_list_by_time_batch_state_and_stan(journal: Journal) -> None:
    entries = _entries(journal)
    first, last = entries[0]["at"], entries[-1]["at"]
    middle = entries[len(entries) // 2]["at"]
    for filters, belongs in (
        ({"batch_no": "000003"}, lambda one: one["record"].get("batch_no") == "000003"),
        ({"state": "declined"}, lambda one: one["record"]["state"] == "declined"),
        ({"stan": journal.sent[1]["stan"]}, lambda one: one["record"].get("stan") == journal.sent[1]["stan"]),
        ({"from_at": first}, lambda _: True),
        ({"to_at": first}, lambda one: one["at"] < first),
        ({"from_at": middle}, lambda one: one["at"] >= middle),
        ({"from_at": middle, "to_at": last}, lambda one: middle <= one["at"] < last),
        ({"from_at": "2001-01-01T00:00:00+08:00", "to_at": "2099-12-31T23:59:59.999999Z"}, lambda _: True),
        ({"from_at": "2099-01-01T00:00:00Z"}, lambda _: False),
        (
            {"from_at": middle, "batch_no": "000003"},
            lambda one: one["at"] >= middle and one["record"].get("batch_no") == "000003",
        ),
    ):
        for newest_first in (False, True):
            listed = journal.support.everything("transaction.list", 7, newest_first=newest_first, **filters)
            expected = [one for one in entries if belongs(one)]
            assert listed == (expected[::-1] if newest_first else expected), filters
    summed = journal.support.everything("transaction.summary", 3, from_at="2099-01-01T00:00:00Z")
    assert summed == []
    everything = journal.support.everything("transaction.summary", 3)
    assert journal.support.everything("transaction.summary", 3, from_at=first) == everything


WRONG_TIMES = ["", "yesterday", "2026-11-21", "2026-11-21T10:00:00", "2026-13-21T10:00:00Z", 1763690400, [], True]


@pytest.mark.parametrize("method", ["transaction.list", "transaction.summary"])
@pytest.mark.parametrize("field", ["from_at", "to_at"])
@pytest.mark.parametrize("value", WRONG_TIMES)
def test_forms_of_times(journal: Journal, method: str, field: str, value: Any) -> None:
    error = journal.support.refused(method, {field: value})
    assert (error["code"], error["data"]["code"], error["data"]["field"]) == (-32602, "BAD_PARAMS", field)


def test_reading_writes_nothing(journal: Journal) -> None:
    before = _entries(journal)
    for record in journal.sent[:3]:
        journal.payment.get(record["transaction_id"])
    journal.support.ask("journal.verify")
    assert _entries(journal) == before
    view = journal.payment.get(journal.sent[1]["transaction_id"])
    assert view["history"] == [before[1], before[len(journal.sent) - 2]]


def test_other_reading_methods_answer(journal: Journal) -> None:
    ready = journal.support.ask("readiness.get")
    assert isinstance(ready["ready"], bool)
    assert all({"code", "text", "since"} <= set(reason) for reason in ready["reasons"])
    assert isinstance(journal.support.ask("health.get"), dict)
    info = journal.support.ask("agent.info")
    assert {"T-0001", "shop-1", "SN123"} <= set(json.dumps(info).replace('"', " ").replace(",", " ").split()), info


def test_the_journal_goes_on_after_a_restart_and_a_kill(tmp_path: Path) -> None:
    agent = AgentProcess(tmp_path)
    records = [sale() for _ in range(4)]
    hashes: list[str] = []
    for number, ending in enumerate(("stop", "kill", "stop")):
        agent.start()
        with Peer(agent.run / "payment.sock") as payment, Peer(agent.run / "control.sock") as support:
            assert payment.record(records[number]) == {"sequence": number + 1, "duplicate": False}
            for earlier in records[:number]:
                assert payment.record(earlier)["duplicate"] is True
            entries = sorted(support.everything("transaction.list"), key=lambda entry: int(entry["seq"]))
            assert [entry["hash"] for entry in entries][:number] == hashes
            hashes = [entry["hash"] for entry in entries]
            assert support.ask("journal.verify") == {"intact": True, "upto_sequence": number + 1, "missing": []}
        getattr(agent, ending)()
