"""The catalog of commands and the interlock table as tables, from ``agent/commands``."""

from __future__ import annotations

from inspect import signature
from typing import Any

import msgspec
from msgspec import Struct

from agent.commands.catalog import build_commands
from agent.commands.interlocks import INTERLOCKS, Cell
from agent.commands.operation import Operation
from agent.trust.policy import DEFAULT_RULES
from docs._generate.forms import form_of_field
from docs._generate.regions import table

_RULE_OF_ANOTHER = {"verify_backup": "backup"}


class _Nothing:
    """Stands for whatever a command acts upon: nothing is done while documents are made."""

    def __call__(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("nothing is carried out while documents are made")

    def __getattr__(self, _name: str) -> _Nothing:
        return self


def catalog() -> str:
    """Every command of this release with its arguments and default rule."""
    rows = []
    parts: dict[str, Any] = {name: _Nothing() for name in signature(build_commands).parameters}
    for name, command in build_commands(**parts).items():
        rows.append((f"`{name}`", _arguments(command.arguments), _rule(name)))
    return table(("command", "arguments", "who may, by default"), rows)


def _arguments(kind: type[Struct]) -> str:
    parts = []
    for field in msgspec.structs.fields(kind):
        optional = "" if field.required else "?"
        parts.append(f"`{field.encode_name}`{optional}: {form_of_field(kind, field.encode_name)}")
    return "; ".join(parts) or "none"


def _rule(name: str) -> str:
    if (same_as := _RULE_OF_ANOTHER.get(name)) is not None:
        return f"as `{same_as}`"
    rules = [(key, rule) for key, rule in DEFAULT_RULES.items() if key == name or key.startswith(f"{name}.")]
    return "; ".join(f"{_form(key)}{_who(rule)}" for key, rule in rules)


def _form(key: str) -> str:
    return f"`{key}`: " if "." in key else ""


def _who(rule: Any) -> str:
    people = f"{rule.people} people" if rule.people > 1 else "one"
    organisations = f" of {rule.organisations} organisations" if rule.organisations > 1 else ""
    local = f", or `pos-{rule.local}` at the terminal" if rule.local else ""
    return f"{people}{organisations} with role {' or '.join(rule.roles)}{local}"


def interlocks() -> str:
    """The published table: what a condition does to each class of operations."""
    rows = []
    for one in INTERLOCKS:
        cells = (_CELLS[one.cells.get(operation)] for operation in Operation)
        rows.append((f"`{one.code}`", one.condition, *cells))
    return table(("reason", "while", *(f"`{operation.value}`" for operation in Operation)), rows)


_CELLS = {None: "", Cell.BLOCK: "refused", Cell.DEFER: "waits", Cell.RECORD: "noted"}
