"""The words of an order on a command line, ``name=value``, → its arguments. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from agent.errors import BadRequest

ARGUMENTS_HELP = (
    "name=value: true, false and whole numbers are taken as such, all else as text; name:=JSON says it exactly"
)
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_WHOLE_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,14})")
_TRUTH: dict[str, object] = {"true": True, "false": False}


def read_arguments(words: Iterable[str]) -> dict[str, object]:
    """``["level=internal", "confirm_s=300"]`` → ``{"level": "internal", "confirm_s": 300}``.

    Raises:
        BadRequest: A word of another form, a name twice, or JSON that is none.
    """
    arguments: dict[str, object] = {}
    for word in words:
        left, equals, text = word.partition("=")
        exact = left.endswith(":")
        name = left.removesuffix(":")
        if not equals or not _NAME.fullmatch(name):
            raise BadRequest("an argument of an order is written name=value", hint=ARGUMENTS_HELP)
        if name in arguments:
            raise BadRequest("an argument is given twice", field=name)
        arguments[name] = _json(text, name) if exact else _value(text)
    return arguments


def _value(text: str) -> object:
    if text in _TRUTH:
        return _TRUTH[text]
    return int(text) if _WHOLE_NUMBER.fullmatch(text) else text


def _json(text: str, name: str) -> object:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as err:
        raise BadRequest(f"what follows := is not JSON: {err}", field=name) from err
