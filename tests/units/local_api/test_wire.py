"""Frames and requests: whatever bytes come, they are cut alike however split, and rubbish is named, never repaired."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent.contract import rpc
from agent.contract.canonical_json import NotAnInteger
from agent.local_api.wire import FrameCutter, FrameTooLong, Request, WireFault, parse_request

LIMIT = 32


def cut_all(pieces: list[bytes], limit: int = LIMIT) -> tuple[list[bytes], bool]:
    """Every frame, and whether it ended with one too long."""
    cutter = FrameCutter(limit)
    frames = []
    try:
        for piece in pieces:
            cutter.feed(piece)
            while (frame := cutter.cut()) is not None:
                frames.append(frame)
    except FrameTooLong:
        return frames, True
    return frames, False


def split(data: bytes, places: list[int]) -> Iterator[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return (data[start:end] for start, end in itertools.pairwise(edges))


@given(st.lists(st.binary(max_size=LIMIT + 4)), st.lists(st.integers(0, 10_000)))
def test_frames_are_the_same_however_the_bytes_were_split(lines: list[bytes], places: list[int]) -> None:
    data = b"\n".join(lines) + b"\n"
    whole = cut_all([data])
    assert cut_all(list(split(data, places))) == whole
    assert cut_all([bytes([byte]) for byte in data]) == whole
    expected = data.split(b"\n")[:-1]
    if not whole[1]:
        assert whole[0] == expected
    else:
        assert whole[0] == expected[: len(whole[0])]
        assert len(expected[len(whole[0])]) > LIMIT


@pytest.mark.parametrize(("size", "too_long"), [(LIMIT, False), (LIMIT + 1, True)])
def test_the_limit_counts_the_bytes_before_the_newline(size: int, too_long: bool) -> None:
    assert cut_all([b"x" * size + b"\n"])[1] is too_long
    assert cut_all([b"x" * (size - 1) + b"\r", b"\n"])[1] is too_long
    assert cut_all([b"x" * size])[1] is too_long


def test_a_frame_too_long_stays_too_long() -> None:
    cutter = FrameCutter(LIMIT)
    cutter.feed(b"x" * (LIMIT + 1))
    for _ in range(2):
        with pytest.raises(FrameTooLong):
            cutter.cut()
        cutter.feed(b"\n{}\n")
    cutter.clear()
    assert cutter.held_bytes == 0


def fault_of(frame: bytes) -> WireFault:
    with pytest.raises(WireFault) as caught:
        parse_request(frame)
    return caught.value


GOOD = b'{"jsonrpc":"2.0","id":7,"method":"m","params":{"a":1}}'


@pytest.mark.parametrize("frame", [GOOD, GOOD + b"\r", b" \t" + GOOD + b" \r"])
def test_a_request_is_read_and_a_carriage_return_is_white_space(frame: bytes) -> None:
    assert parse_request(frame) == Request(b"7", "m", {"a": 1})


NOT_JSON = [
    b"",
    b"\r",
    b" ",
    b"hello",
    b"{",
    GOOD[:-1],
    GOOD + b"x",
    GOOD + GOOD,
    b"\xef\xbb\xbf" + GOOD,
    b'{"a":NaN}',
    b'{"a":Infinity}',
    b"{'a':1}",
    b'{"a":01}',
    b'{"a":1,}',
    b'{"a":"\x01"}',
    b'{"a":"\xff"}',
    b'{"\xff":1}',
    b'{"a":"\xed\xa0\x80"}',  # half a surrogate pair as bytes
    b'{"a":"\xc0\x80"}',  # overlong
    b'{"a":"\\ud800"}',
    b'{"a":"\\udc00 after"}',
    b'{"\\udc00":"name"}',
    b'{"a":1,"a":2}',
    b'{"a":1,"a":1}',
    b'{"a":{"b":1,"c":2,"b":3}}',
    b'{"a":[{"b":"x:y","b":"x:y"}]}',
    b'{"a":1,"\\u0061":2}',
    b'{"a":"\\u003a\\u003a","b":1,"b":":"}',
    b'{"jsonrpc":"2.0","jsonrpc":"2.0","id":1,"method":"m"}',
    b"[" * 200_000,
    b"[" * 200_000 + b"]" * 200_000,
    b'{"a":' * 50_000,
    b'{"\\u0061":' * 50_000 + b"1" + b"}" * 50_000,
    b'{"a":' + b"9" * 20_000 + b"}",
]


@pytest.mark.parametrize("frame", NOT_JSON, ids=lambda frame: repr(frame[:24]))
def test_what_is_not_strict_json_is_a_parse_error(frame: bytes) -> None:
    fault = fault_of(frame)
    assert (fault.error.code, fault.request_id) == (rpc.PARSE_ERROR, b"null")


@pytest.mark.parametrize(
    ("frame", "request_id"),
    [
        (b"[]", b"null"),
        (b"[" + GOOD + b"]", b"null"),
        (b"1", b"null"),
        (b'"text"', b"null"),
        (b"null", b"null"),
        (b"{}", b"null"),
        (b'{"jsonrpc":"1.0","id":5,"method":"m"}', b"5"),
        (b'{"jsonrpc":2.0,"id":5,"method":"m"}', b"5"),
        (b'{"id":5,"method":"m"}', b"5"),
        (b'{"jsonrpc":"2.0","id":5}', b"5"),
        (b'{"jsonrpc":"2.0","id":5,"method":1}', b"5"),
        (b'{"jsonrpc":"2.0","id":5,"method":null}', b"5"),
        (b'{"jsonrpc":"2.0","id":5,"method":"m","more":1}', b"5"),
        (b'{"jsonrpc":"2.0","id":1.5,"method":"m"}', b"null"),
        (b'{"jsonrpc":"2.0","id":1e3,"method":"m"}', b"null"),
        (b'{"jsonrpc":"2.0","id":true,"method":"m"}', b"null"),
        (b'{"jsonrpc":"2.0","id":{},"method":"m"}', b"null"),
        (b'{"jsonrpc":"2.0","id":[1],"method":"m"}', b"null"),
    ],
)
def test_json_that_is_no_request_is_an_invalid_request(frame: bytes, request_id: bytes) -> None:
    fault = fault_of(frame)
    assert (fault.error.code, fault.request_id) == (rpc.INVALID_REQUEST, request_id)


@pytest.mark.parametrize("params", [b"[]", b'["a"]', b'"a"', b"1", b"null", b"1.5"])
def test_params_that_are_no_object_are_bad_params(params: bytes) -> None:
    fault = fault_of(b'{"jsonrpc":"2.0","id":"x","method":"m","params":' + params + b"}")
    assert (fault.error.code, fault.error.data.code, fault.error.data.field) == (-32602, "BAD_PARAMS", "params")
    assert fault.request_id == b'"x"'


def id_of(value: object) -> bytes | None:
    return parse_request(json.dumps({"jsonrpc": "2.0", "id": value, "method": "m"}).encode()).request_id


@pytest.mark.parametrize(
    "good", [0, -1, 10**12 - 1, 10**13 + 1, "", "a" * 64, 'quote " and \\', "收据", "411111-1", None]
)
def test_an_id_comes_back_as_it_was(good: object) -> None:
    returned = id_of(good)
    assert returned is not None
    assert json.loads(returned) == good


@pytest.mark.parametrize("digits", ["41111111-1111-4111-8111-111111111111", "55555555-5555-4444-8555-555555554444"])
def test_a_uuid_as_id_is_not_scanned(digits: str) -> None:
    assert id_of(digits) == json.dumps(digits).encode()


@pytest.mark.parametrize(
    "bad",
    [
        "a" * 65,
        10**64,
        -(10**64),
        "4111111111111111",
        4111111111111111,
        -4111111111111111,
        "6212345678901232",
        "order 4111 1111 1111 1111",
        "\uff14111111111111111",
        '{"pan": 1}',
    ],
)
def test_an_id_that_is_too_long_or_card_data_is_answered_null(bad: object) -> None:
    assert id_of(bad) == b"null"


def test_without_an_id_it_is_a_notification() -> None:
    assert parse_request(b'{"jsonrpc":"2.0","method":"m"}') == Request(None, "m", {})


def test_card_data_beside_the_request_is_named_and_not_repeated() -> None:
    for frame in (
        b'{"jsonrpc":"2.0","id":1,"method":"m","note":"4111111111111111"}',
        b'{"jsonrpc":"2.0","id":1,"method":"m","pan":"x"}',
        b'{"jsonrpc":"2.0","id":1,"method":"m","params":["4111111111111111"]}',
        b'{"jsonrpc":"2.0","id":1,"method":"m","params":4111111111111111}',
    ):
        fault = fault_of(frame)
        assert fault.error.code == rpc.AGENT_ERROR
        assert fault.error.data.code == "CARD_DATA_REJECTED"
        assert fault.rule in ("R1", "R3")
        assert b"4111" not in rpc.error_line(fault.request_id, fault.error)


def test_fractions_and_exponents_are_marked_wherever_they_stand() -> None:
    request = parse_request(b'{"jsonrpc":"2.0","id":1,"method":"m","params":{"a":1.0,"b":[1e2],"c":{"d":-0.5E+1}}}')
    marked: list[Any] = [request.params["a"], request.params["b"], request.params["c"]]
    assert isinstance(marked[0], NotAnInteger)
    assert isinstance(marked[1][0], NotAnInteger)
    assert isinstance(marked[2]["d"], NotAnInteger)


@pytest.mark.parametrize(("depth", "fits"), [(64, True), (65, False), (200, False)])
def test_nesting_is_bounded(depth: int, fits: bool) -> None:
    inside = b"[" * (depth - 2) + b"]" * (depth - 2)  # in params, in the request
    frame = b'{"jsonrpc":"2.0","id":1,"method":"m","params":{"a":' + inside + b',"b":[' + b"{}," * 80 + b"{}]}}"
    if fits:
        assert parse_request(frame).method == "m"
    else:
        assert fault_of(frame).error.code == rpc.PARSE_ERROR


@given(st.binary(max_size=400))
@example(b'{"a":"\\ud83d\\ude00","a":1}')
def test_arbitrary_bytes_are_a_request_or_a_fault(frame: bytes) -> None:
    try:
        outcome: Request | int = parse_request(frame)
    except WireFault as fault:
        outcome = fault.error.code
    codes = (rpc.PARSE_ERROR, rpc.INVALID_REQUEST, rpc.INVALID_PARAMS, rpc.AGENT_ERROR)
    assert isinstance(outcome, Request) or outcome in codes


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    max_leaves=12,
)


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), JSON_VALUES), st.booleans())
def test_any_object_is_read_as_another_parser_reads_it(params: dict[str, object], ascii_only: bool) -> None:
    frame = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "m", "params": params}, ensure_ascii=ascii_only)
    assert parse_request(frame.encode()).params == params


def _pairs(names: list[str]) -> st.SearchStrategy[str]:
    value = st.sampled_from(["1", '":"', '"\\u003a"', '{"x":":"}', '[":",":"]', "1.5"])
    return st.tuples(*[value for _ in names]).map(
        lambda values: "{" + ",".join(f"{name}:{item}" for name, item in zip(names, values, strict=True)) + "}"
    )


@given(st.lists(st.sampled_from(['"a"', '"b"', '":"', '"\\u0061"', '"c:d"']), min_size=1, max_size=5).flatmap(_pairs))
def test_a_name_twice_is_found_whatever_stands_around_it(text: str) -> None:
    names = json.loads(text, object_pairs_hook=lambda pairs: [name for name, _ in pairs])
    frame = b'{"jsonrpc":"2.0","id":1,"method":"m","params":' + text.encode() + b"}"
    if len(set(names)) == len(names):
        assert set(parse_request(frame).params) == set(names)
    else:
        assert fault_of(frame).error.code == rpc.PARSE_ERROR
