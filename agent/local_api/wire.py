"""Bytes of a connection into JSON-RPC requests, strictly. No I/O in this file.

One JSON object a line. Refused, never repaired: names twice in an object, invalid UTF-8 and half surrogate pairs,
empty lines, batches. Numbers with a fraction or an exponent are marked (`NotAnInteger`) and left for whoever knows the
field. msgspec parses; since it keeps the last of two equal names, names are counted afterwards: writing the value out
again gives fewer colons than came in exactly when a name was dropped. That costs a quarter of what a hook for each
object does; with escapes in the text, which can hide a colon, the hook looks.
"""

from __future__ import annotations

import json
from typing import Final, NamedTuple

import msgspec

from agent.contract import card_data, rpc
from agent.contract.canonical_json import NotAnInteger
from agent.contract.rpc import ErrorObject
from agent.errors import CardDataRejected

NO_ID: Final = b"null"
MAX_DEPTH: Final = 64
"""Objects and arrays inside each other; deeper is refused, so that nobody behind this door can run out of stack."""
_MEMBERS: Final = frozenset({"jsonrpc", "id", "method", "params"})
_PLAIN_ID_LIMIT: Final = 10**12  # fewer digits than any card number
_LARGEST_ID: Final = 10**rpc.MAX_ID_CHARACTERS


class FrameTooLong(Exception):
    """The bytes before the next newline are more than the socket takes. Nothing after them can be understood."""


class WireFault(Exception):
    """Bytes that are no request. ``request_id`` is the id to answer with, as JSON; ``rule`` the card-data rule."""

    def __init__(self, error: ErrorObject, request_id: bytes = NO_ID, *, rule: str | None = None) -> None:
        super().__init__(error.message)
        self.error = error
        self.request_id = request_id
        self.rule = rule


class Request(NamedTuple):
    """``request_id``: as JSON, ready for the answer; None for a notification, which gets none."""

    request_id: bytes | None
    method: str
    params: dict[str, object]


class FrameCutter:
    """Cuts what was received at newlines, however it was split on its way."""

    __slots__ = ("_buffer", "_limit", "_searched")

    def __init__(self, limit_bytes: int) -> None:
        """``limit_bytes``: the longest frame, its newline not counted."""
        self._buffer = bytearray()
        self._limit = limit_bytes
        self._searched = 0

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Take what was received."""
        self._buffer += data

    def cut(self) -> bytes | None:
        """The next whole frame without its newline; None when it is not there yet.

        Raises:
            FrameTooLong: Every time from then on.
        """
        buffer = self._buffer
        end = buffer.find(b"\n", self._searched)
        if end > self._limit or (end < 0 and len(buffer) > self._limit):
            raise FrameTooLong
        if end < 0:
            self._searched = len(buffer)
            return None
        frame = bytes(memoryview(buffer)[:end])
        del buffer[: end + 1]
        self._searched = 0
        return frame

    def clear(self) -> None:
        """Forget everything received."""
        self._buffer = bytearray()
        self._searched = 0

    @property
    def held_bytes(self) -> int:
        """Received and not cut yet."""
        return len(self._buffer)


def parse_request(frame: bytes) -> Request:
    """One frame as a request.

    Raises:
        WireFault: -32700 or -32600 with what to answer; it never holds anything of the frame.
    """
    value = _parse(frame)
    if not isinstance(value, dict):
        raise WireFault(rpc.NO_BATCHES if isinstance(value, list) else rpc.invalid_request("request", "not an object"))
    request_id = _request_id(value)
    if not value.keys() <= _MEMBERS:
        raise _unknown_member(value, request_id)
    if value.get("jsonrpc") != "2.0":
        raise WireFault(rpc.invalid_request("jsonrpc", 'jsonrpc must be "2.0"'), request_id or NO_ID)
    method = value.get("method")
    if type(method) is not str:
        raise WireFault(rpc.invalid_request("method", "method must be text"), request_id or NO_ID)
    params = value.get("params", _ABSENT)
    if type(params) is not dict:
        if params is not _ABSENT:
            raise _wrong_params(params, request_id)
        params = {}
    return Request(request_id, method, params)


def _parse(frame: bytes) -> object:
    try:
        value: object = _decoder.decode(frame)
        if b"\\" in frame:
            _names_checker.decode(frame.decode())
        elif _encoder.encode(value).count(b":") != frame.count(b":"):
            raise WireFault(rpc.NOT_JSON)
    except (ValueError, RecursionError):  # msgspec's, json's and Unicode errors: all may quote the frame
        pass
    else:
        if frame.count(b"{") + frame.count(b"[") <= MAX_DEPTH or not _is_deeper(value, MAX_DEPTH):
            return value
    raise WireFault(rpc.NOT_JSON)


def _is_deeper(value: object, depth: int) -> bool:
    level = [value]
    for _ in range(depth):
        level = [
            item
            for holder in level
            for item in (holder.values() if isinstance(holder, dict) else holder if isinstance(holder, list) else ())
            if isinstance(item, dict | list)
        ]
        if not level:
            return False
    return True


def _request_id(value: dict[str, object]) -> bytes | None:
    """The id as JSON; ``null`` for one that is too long or looks like card data; None when there is none."""
    if "id" not in value:
        return None
    given = value["id"]
    if type(given) is int:
        if -_PLAIN_ID_LIMIT < given < _PLAIN_ID_LIMIT:
            return b"%d" % given
        too_long = not -_LARGEST_ID < given < _LARGEST_ID
    elif type(given) is str:
        too_long = len(given) > rpc.MAX_ID_CHARACTERS
    elif given is None:
        return NO_ID
    else:
        raise WireFault(rpc.invalid_request("id", "id must be text, an integer or null"))
    return NO_ID if too_long or card_data.scan_request_id(given) else msgspec.json.encode(given)


def _unknown_member(value: dict[str, object], request_id: bytes | None) -> WireFault:
    unknown = {name: item for name, item in value.items() if name not in _MEMBERS}
    return _guarded(unknown, rpc.invalid_request(rpc.UNKNOWN_FIELD, "a member is not known"), request_id)


def _wrong_params(params: object, request_id: bytes | None) -> WireFault:
    error = ErrorObject(
        rpc.INVALID_PARAMS, "params is an object", rpc.ErrorData("BAD_PARAMS", field="params", hint="name each one")
    )
    return _guarded(params, error, request_id)


def _guarded(content: object, error: ErrorObject, request_id: bytes | None) -> WireFault:
    """``error``, or the refusal of card data when that is what ``content`` holds."""
    try:
        rpc.refuse_card_data(content)
    except CardDataRejected as err:
        return WireFault(rpc.error_object(err), request_id or NO_ID, rule=str(err.facts["rule"]))
    return WireFault(error, request_id or NO_ID)


def _once(pairs: list[tuple[str, object]]) -> None:
    if len({name for name, _value in pairs}) != len(pairs):
        raise WireFault(rpc.NOT_JSON)


_ABSENT: Final = object()
_decoder: Final = msgspec.json.Decoder(float_hook=NotAnInteger)
_encoder: Final = msgspec.json.Encoder(enc_hook=lambda _marked: None)
_names_checker: Final = json.JSONDecoder(object_pairs_hook=_once, parse_int=len, parse_float=len, parse_constant=len)
