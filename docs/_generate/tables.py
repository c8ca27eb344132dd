"""Every table that a page may ask for, by the name in its mark."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from agent.contract.command import ReasonCode
from agent.contract.faults import CATALOGUE, Lasts
from agent.contract.health import Thresholds
from agent.contract.mqtt_api import CHANNELS
from agent.contract.transaction_form import REQUIRED, RecordFields
from agent.contract.transaction_states import FOLLOWS, REPEATING
from agent.trust.policy import DEFAULT_RULES
from docs._generate import commands, openrpc, settings
from docs._generate.forms import form_of_field
from docs._generate.reasons import MEANINGS
from docs._generate.regions import table
from drivers.catalog import DRIVERS, EMULATORS, HOST_SOURCES

_LASTS = {Lasts.WHILE_TRUE: "while it is so", Lasts.UNTIL_CLEARED: "until it is expressly over, restarts included"}


def faults() -> str:
    rows = []
    for kind in sorted(CATALOGUE.values(), key=lambda kind: kind.code):
        lasts = _LASTS.get(kind.lasts) or f"{_duration(kind.ages_out_s)} after it last happened"
        rows.append((f"`{kind.code}`", kind.severity.value, kind.impact.value, kind.text, kind.what_to_do, lasts))
    return table(("code", "severity", "impact", "what is so", "what to do", "lasts"), rows)


def _duration(seconds: float) -> str:
    days, hours = seconds / 86_400, seconds / 3600
    return f"{days:g} day{'s' if days != 1 else ''}" if days >= 1 else f"{hours:g} hour{'s' if hours != 1 else ''}"


def thresholds() -> str:
    rows = []
    for field in msgspec.structs.fields(Thresholds):
        values = [(one.name, getattr(field.default, one.name)) for one in msgspec.structs.fields(type(field.default))]
        keys = ", ".join(f"`{name}` = {'none' if value is None else format(value, 'g')}" for name, value in values)
        rows.append((f"`[thresholds.{field.name}]`", keys))
    return table(("table", "keys and their defaults"), rows)


def channels() -> str:
    rows = []
    for one in CHANNELS:
        site = " and below `_all`" if one.site_wide else ""
        kept = "yes" if one.retained else "**never**" if one.signed else "no"
        rows.append(
            (
                f"`{one.below}`{site}",
                one.sender.value,
                str(one.qos),
                kept,
                f"`{one.payload.__name__}`: {one.summary}",
                one.when,
            )
        )
    return table(("topic", "written by", "QoS", "retained", "content", "published"), rows)


def reasons() -> str:
    return table(("reason", "what it means", "what to do"), [(f"`{code}`", *MEANINGS[code]) for code in ReasonCode])


def policy_rules() -> str:
    rows = [
        (f"`{name}`", " or ".join(rule.roles), str(rule.people), str(rule.organisations), rule.local or "no")
        for name, rule in DEFAULT_RULES.items()
    ]
    return table(("rule", "role", "people", "organisations", "at the terminal"), rows)


def record_fields() -> str:
    always = {field.name for field in msgspec.structs.fields(RecordFields) if field.required}
    rows = [
        (f"`{field.name}`", form_of_field(RecordFields, field.name), _required_by(field.name, always))
        for field in msgspec.structs.fields(RecordFields)
    ]
    return table(("field", "form", "required"), rows)


def _required_by(name: str, always: set[str]) -> str:
    if name in always:
        return "always"
    return ", ".join(f"`{kind}`" for kind, names in REQUIRED.items() if name in names)


def transaction_states() -> str:
    rows = []
    for state, follows in FOLLOWS.items():
        note = "may repeat with another `attempt`" if state in REPEATING else "" if follows else "final"
        rows.append((f"`{state}`", " ".join(f"`{one}`" for one in follows) or "nothing", note))
    return table(("state", "may be followed by", ""), rows)


def drivers() -> str:
    rows = [("device driver", f"`{name}`") for name in DRIVERS]
    rows += [("part of the board", f"`{name}`") for name in HOST_SOURCES]
    rows += [("emulator (`pos-agent emulate …`)", f"`{name}`") for name in EMULATORS]
    return table(("kind", "name"), rows)


MAKERS: Mapping[str, Callable[[], str]] = {
    "faults": faults,
    "thresholds": thresholds,
    "channels": channels,
    "methods": openrpc.methods_table,
    "reasons": reasons,
    "policy_rules": policy_rules,
    "commands": commands.catalog,
    "interlocks": commands.interlocks,
    "record_fields": record_fields,
    "transaction_states": transaction_states,
    "configuration": settings.configuration_keys,
    "model": settings.model_keys,
    "drivers": drivers,
}
