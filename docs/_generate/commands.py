"""The catalog of commands and the interlock table as tables, from ``agent/commands``."""

from __future__ import annotations

from inspect import signature
from typing import Any

import msgspec
from msgspec import Struct

from agent.commands.catalog import build_commands
from agent.commands.interlocks import INTERLOCKS
from agent.trust.policy import DEFAULT_RULES
from docs._generate.forms import form_of_field
from docs._generate.regions import table


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
    """The published table."""
    rows = []
    for one in INTERLOCKS:
        longest = "its `expires_at`" if one.longest_s is None else f"{one.longest_s / 3600:g} h, then `expired`"
        rows.append((f"`{one.code}`", one.text, f"{one.look_again_s:g} s", longest))
    return table(("reason", "while", "looked at again after", "waits at most until"), rows)
