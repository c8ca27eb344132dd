"""The guard under abuse: it never crashes, its time grows with the input and no faster; and the net under the logs."""

from __future__ import annotations

import base64
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.contract import card_data
from agent.contract.card_data_decoding import MAX_SCANNED_CHARACTERS

PAN = "4111111111111111"

HOSTILE = {
    "digits": "1",
    "single digits apart": "4 ",
    "brand groups": "5555 4444-",
    "hex": "3a",
    "base64": "QUJD",
    "brackets": "[",
    "objects": '{"a":',
    "closed objects": "{}",
    "quotes": '"',
    "names": '"a":',
    "almost names": '"' + "a" * 39 + '" ',
    "escapes": "\\u0034",
    "masks": "*",
    "masks and digits": "1*",
    "mask groups": "123456*1234 ",
    "x": "x",
    "uuid heads": "01234567-0123-",
    "tracks": "%B123456789012",
    "track middles": "123456789012=123456 ",
    "spaces": " ",
    "zero width": "\u200b",
    "full width": "４",
    "half surrogates": "\ud83d",
    "nul": "\0",
}


@pytest.mark.parametrize("seed", HOSTILE)
def test_time_grows_with_the_input_and_no_faster(seed: str) -> None:
    def cost_s(characters: int) -> float:
        text = (HOSTILE[seed] * characters)[:characters]
        best = float("inf")
        for _ in range(3):
            started = time.thread_time()
            card_data.scan_text(text)
            card_data.scan_order_number(text)
            card_data.redact(text)
            best = min(best, time.thread_time() - started)
        return best

    small, large = cost_s(MAX_SCANNED_CHARACTERS // 8), cost_s(MAX_SCANNED_CHARACTERS)
    assert large < 8 * 6 * max(small, 0.0005)  # eightfold input; quadratic growth would be 64-fold


def test_what_is_beyond_the_limit_is_not_looked_at() -> None:
    started = time.thread_time()
    card_data.scan_text("4 " * MAX_SCANNED_CHARACTERS)
    at_limit = time.thread_time() - started
    started = time.thread_time()
    card_data.scan_text("4 " * MAX_SCANNED_CHARACTERS * 16)
    assert time.thread_time() - started < 6 * max(at_limit, 0.001)


@given(st.text(st.characters(), max_size=300))
def test_any_text_gets_an_answer(text: str) -> None:
    for scan in (card_data.scan_text, card_data.scan_order_number, card_data.scan_name, card_data.scan_request_id):
        assert scan(text) in {None, "R1", "R2", "R3", "R4", "R5", "R6", "R7"}
    assert isinstance(card_data.redact(text), str)


JSONISH: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=15,
)


@given(JSONISH)
def test_a_card_number_anywhere_in_a_tree_is_found(tree: Any) -> None:
    finding = card_data.scan_tree({"note": [tree, {"deep": PAN}]})
    assert finding is not None
    assert finding.rule in {"R1", "R2", "R3"}


@given(st.text(max_size=40), st.text(max_size=40))
def test_a_card_number_between_any_texts_is_found(before: str, after: str) -> None:
    edge = "|"  # a digit beside it would make it another number
    assert card_data.scan_text(f"{before}{edge}{PAN}{edge}{after}") is not None


@given(st.binary(max_size=30), st.binary(max_size=30), st.booleans())
def test_a_card_number_in_any_base64_is_found(before: bytes, after: bytes, url: bool) -> None:
    content = before + b"|" + PAN.encode() + b"|" + after
    encoded = (base64.urlsafe_b64encode if url else base64.b64encode)(content).decode()
    assert card_data.scan_text(encoded) is not None
    assert card_data.scan_text(f"see {encoded.rstrip('=')} there") is not None


@given(st.binary(max_size=30), st.binary(max_size=30))
def test_a_card_number_in_any_hex_is_found(before: bytes, after: bytes) -> None:
    assert card_data.scan_text((before + b"|" + PAN.encode() + b"|" + after).hex()) is not None


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        (f"got {PAN}!", "got [redacted R3]!"),
        ("4111 1111 1111 1111", "[redacted R3]"),
        ("card 6212345678901233.", "card [redacted R4]."),
        (f"%B{PAN}^NAME^2512101", "[redacted R2]"),
        (f";{PAN}=25121011234567890?", ";[redacted R2]?"),
        ("４１１１１１１１１１１１１１１１", "[redacted R3]"),
        ("tab\tstays", "tab\tstays"),
        ("4111 11** **** 1111", "4111 11** **** 1111"),
        ("", ""),
    ],
)
def test_what_a_log_shows(text: str, redacted: str) -> None:
    assert card_data.redact(text) == redacted


@given(st.uuids(), st.binary(min_size=32, max_size=32), st.datetimes())
def test_ids_digests_and_times_stay_whole_in_logs(identifier: Any, digest: bytes, at: Any) -> None:
    for text in (f"run {identifier} done", f"hash={digest.hex()}", f"at {at.isoformat()}Z", digest[:20].hex()):
        assert card_data.redact(text) == text


@given(st.text(max_size=60), st.text(max_size=60))
def test_no_text_around_it_keeps_a_card_number_in_a_log(before: str, after: str) -> None:
    assert PAN not in card_data.redact(f"{before}|{PAN}|{after}")
