"""The sockets as OpenRPC 1.x documents, from ``agent/contract/socket_api.py``. Pure: facts in, document out."""

from __future__ import annotations

import re
from typing import Any

import msgspec

import agent
from agent.contract import rpc
from agent.contract.socket_api import COMMON_ERRORS, METHODS, OWN_ERRORS, MethodForm, Socket, methods_of
from agent.contract.transaction_form import RecordFields
from docs._generate.regions import table
from docs._generate.schemas import components, key_of

SOCKETS = tuple(socket.value for socket in Socket)
_ABOUT = {
    Socket.PAYMENT: "What payment applications ask. Frames up to 256 KiB; members of pos-payment.",
    Socket.CONTROL: "What technicians and their tools ask. Frames up to 64 KiB; members of pos-support.",
}
_NUMBER = re.compile(r"(-32\d{3})(?:, id null)?: ")


def document(name: str) -> dict[str, Any]:
    """The whole document of one socket."""
    socket = Socket(name)
    forms = methods_of(socket).values()
    schema_of, schemas = components([*(form.params for form in forms), *(form.result for form in forms), rpc.ErrorData])
    return {
        "openrpc": "1.3.2",
        "info": {
            "title": f"pos-agent, {socket.value}.sock",
            "version": agent.__version__,
            "description": f"{_ABOUT[socket]} JSON-RPC 2.0, one object a line, parameters by name, no batches. "
            "docs/sockets.md explains it.",
            "license": {"name": "Apache-2.0"},
        },
        "servers": [{"name": "local", "url": f"unix:/run/pos-agent/{socket.value}.sock"}],
        "methods": [_method(form, schema_of, schemas) for form in forms],
        "components": {
            "schemas": schemas,
            "errors": {code: _error(code) for form in forms for code in _codes(form)},
        },
    }


def methods_table() -> str:
    """Every method of both sockets for people."""
    rows = []
    for form in METHODS:
        own = ", ".join(f"`{code}`" for code in form.errors)
        rows.append((f"`{form.socket.value}`", f"`{form.name}`", _fields(form), _result(form), form.summary, own))
    return table(("socket", "method", "parameters", "result", "what it is for", "errors of its own"), rows)


def _method(form: MethodForm, schema_of: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    params = _object(schema_of[key_of(form.params)], schemas)
    required = params.get("required", [])
    return {
        "name": form.name,
        "summary": form.summary,
        "tags": [{"name": f"right: {form.right.value}"}],
        "paramStructure": "by-name",
        "params": [
            {"name": name, "required": name in required, "schema": schema}
            for name, schema in params["properties"].items()
        ],
        "result": {"name": _result(form), "schema": schema_of[key_of(form.result)]},
        "errors": [{"$ref": f"#/components/errors/{code}"} for code in _codes(form)],
    }


def _object(schema: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = schemas[schema["$ref"].rpartition("/")[2]]
    return found


def _codes(form: MethodForm) -> list[str]:
    return [*form.errors, *COMMON_ERRORS]


def _error(code: str) -> dict[str, Any]:
    if code in OWN_ERRORS:
        return {"code": rpc.AGENT_ERROR, "message": OWN_ERRORS[code], "data": {"code": code}}
    number = _NUMBER.match(COMMON_ERRORS[code])
    if number is None:
        raise ValueError(f"{code} of COMMON_ERRORS must begin with its number")
    return {"code": int(number[1]), "message": COMMON_ERRORS[code][number.end() :], "data": {"code": code}}


def _fields(form: MethodForm) -> str:
    if form.params is RecordFields:
        return "a record, see below"
    fields = msgspec.structs.fields(form.params)
    names = [f"`{field.encode_name}`" + ("" if field.required else "?") for field in fields]
    return ", ".join(names) or "none"


def _result(form: MethodForm) -> str:
    return getattr(form.result, "__name__", "object") if isinstance(form.result, type) else "object"
