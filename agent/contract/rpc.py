"""JSON-RPC 2.0 as both sockets speak it: error codes, answers as bytes, and the forms of what methods take and give.

Source: the JSON-RPC 2.0 specification. Left out on purpose: batches, and parameters by position. What a record, a
command or a health report looks like stands in the files of those subjects. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final, TypeVar

import msgspec
from msgspec import Meta, Struct

from agent.contract import card_data
from agent.contract.backup_views import TargetName
from agent.contract.canonical_json import NotAnInteger
from agent.contract.command import CommandId
from agent.contract.health import At, DeviceHealth, DeviceId, Fault
from agent.contract.transaction_form import Uuid
from agent.errors import AgentError, BadRequest, CardDataRejected, Refused

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
AGENT_ERROR: Final = -32000
"""The agent's own refusals; ``data.code`` says which."""

MAX_ID_CHARACTERS: Final = 64
MAX_RECORDS: Final = 100
MAX_LIMIT: Final = 1000
DEFAULT_LIMIT: Final = 50
UNKNOWN_FIELD: Final = card_data.UNKNOWN_FIELD

Shape = TypeVar("Shape", bound=Struct)

_FIELD: Final = re.compile(r"at `\$\.([a-z_.\[\]0-9]+)`\Z")
_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_MISSING: Final = re.compile(r"missing required field `([a-z_]+)`")


# ── Errors ─────────────────────────────────────────────────────────────────────────────────────────────────────
class ErrorData(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What goes with every error. ``code`` is stable; ``field`` names the input at fault, never its value."""

    code: str
    field: str | None = None
    hint: str | None = None
    rule: str | None = None
    sequence: int | None = None
    retry_after_s: float | None = None


class ErrorObject(Struct, frozen=True, forbid_unknown_fields=True):
    """The ``error`` member of an answer."""

    code: int
    message: str
    data: ErrorData


NOT_JSON: Final = ErrorObject(
    PARSE_ERROR,
    "not JSON",
    ErrorData("PARSE_ERROR", hint="one JSON object a line, UTF-8, every name once in its object"),
)
NO_BATCHES: Final = ErrorObject(
    INVALID_REQUEST, "an array: there are no batches here", ErrorData("NO_BATCH", hint="one request a line; pipeline")
)
FRAME_TOO_LONG: Final = ErrorObject(
    INVALID_REQUEST,
    "the line is longer than this socket takes: the connection is closed",
    ErrorData("FRAME_TOO_LONG", hint="send fewer records a call"),
)
NO_SUCH_METHOD: Final = ErrorObject(
    METHOD_NOT_FOUND,
    "no such method on this socket",
    ErrorData("METHOD_NOT_FOUND", hint="payment.sock and control.sock have different methods"),
)
INTERNAL: Final = ErrorObject(
    INTERNAL_ERROR,
    "the agent failed in this call",
    ErrorData("INTERNAL_ERROR", hint="its log says where; the same call again is safe"),
)


def invalid_request(field: str, what: str) -> ErrorObject:
    """-32600: the object is no request of JSON-RPC 2.0."""
    return ErrorObject(INVALID_REQUEST, f"no JSON-RPC 2.0 request: {what}", ErrorData("INVALID_REQUEST", field=field))


def error_object(error: AgentError) -> ErrorObject:
    """What a caller is told of an error that a room raised: its own code, field, hint and facts, never a value."""
    plain = isinstance(error, BadRequest) and error.code == BadRequest.code
    rule, sequence, retry_after_s = (error.facts.get(name) for name in ("rule", "sequence", "retry_after_s"))
    return ErrorObject(
        INVALID_PARAMS if plain else AGENT_ERROR,
        error.message,
        ErrorData(
            code=error.reason if isinstance(error, Refused) else error.code,
            field=error.field,
            hint=error.hint,
            rule=rule if isinstance(rule, str) else None,
            sequence=sequence if isinstance(sequence, int) else None,
            retry_after_s=retry_after_s if isinstance(retry_after_s, int | float) else None,
        ),
    )


# ── Answers as bytes ───────────────────────────────────────────────────────────────────────────────────────────
_encoder: Final = msgspec.json.Encoder()


def result_line(request_id: bytes, result: object) -> bytes:
    """An answer with its newline.

    Args:
        request_id: The id as JSON.
        result: Anything that msgspec encodes.
    """
    return b'{"jsonrpc":"2.0","id":%b,"result":%b}\n' % (request_id, _encoder.encode(result))


def error_line(request_id: bytes, error: ErrorObject) -> bytes:
    """An error answer with its newline."""
    return b'{"jsonrpc":"2.0","id":%b,"error":%b}\n' % (request_id, _encoder.encode(error))


# ── Parameters ─────────────────────────────────────────────────────────────────────────────────────────────────
def decode_params(params: Mapping[str, object], shape: type[Shape]) -> Shape:
    """Parameters as their struct.

    Args:
        params: Parsed JSON; a number with fraction or exponent stands as `NotAnInteger`.

    Raises:
        CardDataRejected: Of wrong form, and holding card data.
        BadRequest: Of wrong form; ``field`` names the first, or is ``(unknown)``.
    """
    try:
        return msgspec.convert(params, shape)
    except msgspec.ValidationError as err:
        message = str(err)  # names of our fields may be taken from it, values never
    refuse_card_data(params, frozenset(shape.__struct_fields__))
    if "unknown field" in message:
        raise BadRequest("a parameter is not known", field=UNKNOWN_FIELD, hint="leave it out")
    if missing := _MISSING.search(message):
        raise BadRequest(f"a parameter is missing: {missing[1]}", field=missing[1], hint="send it")
    found = _FIELD.search(message)
    field = found[1] if found else UNKNOWN_FIELD
    raise BadRequest(f"a parameter has a wrong form: {field}", field=field, hint="correct it; unchanged it fails again")


def refuse_card_data(params: object, known: frozenset[str] = frozenset()) -> None:
    """Look through JSON of any form, names and values.

    Args:
        known: Names of ours, which may be told in the refusal.

    Raises:
        CardDataRejected: ``field`` is one of ``known`` or ``(unknown)``.
    """
    finding: card_data.Finding | None = None
    params = _without_uuids(params)
    if isinstance(params, Mapping):
        for name, value in params.items():
            found = card_data.scan_tree(value, name) if name in known else card_data.scan_tree({name: value})
            if found and (finding is None or found.rule < finding.rule):
                finding = found
    else:
        finding = card_data.scan_tree(params)
    if finding is not None:
        raise card_data_rejected(finding.field, finding.rule)


def _without_uuids(value: object) -> object:
    """Identifiers taken out: one random UUID in a thousand looks like a card number. One of digits alone stays."""
    if isinstance(value, str):
        return "" if _UUID.fullmatch(value) and not value.replace("-", "").isdigit() else value
    if isinstance(value, Mapping):
        return {name: _without_uuids(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_without_uuids(item) for item in value]
    return value


def card_data_rejected(field: str, rule: str) -> CardDataRejected:
    """The one refusal of card data."""
    hint = card_data.HINTS.get(rule, card_data.DEFAULT_HINT)
    return CardDataRejected("card data is never taken", field=field, hint=hint, rule=rule)


def json_text(value: object) -> bytes:
    """JSON of a parsed value again, numbers as they were written."""
    return _rewriter.encode(value)


def _as_written(value: object) -> msgspec.Raw:
    if isinstance(value, NotAnInteger):
        return msgspec.Raw(value.text_for_guard().encode())
    raise TypeError(type(value).__name__)


_rewriter: Final = msgspec.json.Encoder(enc_hook=_as_written)

# ── What the methods take and give ─────────────────────────────────────────────────────────────────────────────
FilterWord = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9._-]{1,32}\Z")]
Cursor = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9._-]{1,64}\Z")]
Limit = Annotated[int, Meta(ge=1, le=MAX_LIMIT)]
Instant = Annotated[datetime, Meta(tz=True)]


class Nothing(Struct, frozen=True, forbid_unknown_fields=True):
    """No parameters: ``{}`` or left out."""


class RecordResult(Struct, frozen=True, forbid_unknown_fields=True):
    """``transaction.record``: the record is durable on this disk. ``duplicate``: it was before, with this sequence."""

    sequence: int
    duplicate: bool


class RecordManyItem(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One record of several: either the first two, as of `RecordResult`, or the error alone."""

    sequence: int | None = None
    duplicate: bool | None = None
    error: ErrorObject | None = None


class RecordManyParams(Struct, frozen=True, forbid_unknown_fields=True):
    """``transaction.record_many``; each record stands for itself and is decoded by itself."""

    records: Annotated[list[Any], Meta(max_length=MAX_RECORDS)]


class RecordManyResult(Struct, frozen=True, forbid_unknown_fields=True):
    """In the order of the records."""

    results: list[RecordManyItem]


class TransactionGetParams(Struct, frozen=True, forbid_unknown_fields=True):
    """``transaction.get``."""

    transaction_id: Uuid


class TransactionListParams(Struct, frozen=True, forbid_unknown_fields=True):
    """``transaction.list`` and ``transaction.summary``; a filter left out (or null) lets all through. Oldest first.

    ``from_at`` and ``to_at``: stored (``at``) at or after the one and before the other, RFC 3339 with offset. A page of
    the list may have fewer items than ``limit``, even none, and go on by its ``next_cursor``.
    """

    transaction_id: Uuid | None = None
    provider: FilterWord | None = None
    mid: Annotated[str, Meta(pattern=r"\A[A-Za-z0-9._-]{1,15}\Z")] | None = None
    tid: Annotated[str, Meta(pattern=r"\A[A-Za-z0-9._-]{1,8}\Z")] | None = None
    batch_no: Annotated[str, Meta(pattern=r"\A[0-9]{6}\Z")] | None = None
    stan: Annotated[str, Meta(pattern=r"\A[0-9]{6}\Z")] | None = None
    state: FilterWord | None = None
    type: FilterWord | None = None
    currency: Annotated[str, Meta(pattern=r"\A[0-9]{3}\Z")] | None = None
    from_at: Instant | None = None
    to_at: Instant | None = None
    newest_first: bool = False
    limit: Limit = DEFAULT_LIMIT
    cursor: Cursor | None = None


class CommandGetParams(Struct, frozen=True, forbid_unknown_fields=True):
    """``command.get``."""

    command_id: CommandId


class CommandListParams(Struct, frozen=True, forbid_unknown_fields=True):
    """``command.list``, newest first."""

    limit: Limit = DEFAULT_LIMIT
    cursor: Cursor | None = None


class BackupListParams(Struct, frozen=True, forbid_unknown_fields=True):
    """``backup.list``, newest first; ``target`` left out (or null): files of all places."""

    target: TargetName | None = None
    limit: Limit = DEFAULT_LIMIT
    cursor: Cursor | None = None


class HealthResult(Struct, frozen=True, forbid_unknown_fields=True):
    """``health.get``: every device, and every active fault."""

    devices: tuple[DeviceHealth, ...]
    faults: tuple[Fault, ...]
    at: At


class HealthHistoryParams(Struct, frozen=True, forbid_unknown_fields=True):
    """``health.history``, newest first; ``device`` left out (or null): of all devices and parts."""

    device: DeviceId | None = None
    limit: Limit = DEFAULT_LIMIT
    cursor: Cursor | None = None


class ConfigResult(Struct, frozen=True, forbid_unknown_fields=True):
    """``config.get``: what runs, not what it says. ``version`` is null until a ``configure`` order set one."""

    digest: str
    version: int | None = None
