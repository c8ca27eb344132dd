"""The keys of ``agent.toml`` and of model files as tables: forms from the structs, meanings from the explained file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import msgspec
from msgspec import Struct

from agent.config import Settings
from agent.model_file import Model
from docs._generate.forms import default_of, form_of_field
from docs._generate.regions import table

EXPLAINED = Path(__file__).parents[2] / "config" / "agent.toml"
_TABLE = re.compile(r"#?\s*\[{1,2}([a-z_]+)(?:\.[a-z0-9-]+)?\]{1,2}\s*(?:#.*)?")
_KEY = re.compile(r"#?\s*([a-z_]+) = (?:\[.*?\]|\"[^\"]*\"|[^#\"]+?)\s*(?:#\s*(.*))?")


def configuration_keys() -> str:
    """Every key of ``agent.toml``."""
    meanings = _meanings(EXPLAINED.read_text())
    rows = []
    for name, form, default, required in _keys(Settings):
        stem = re.sub(r"\[\]|<id>\.|\.<id>", "", name)
        rows.append((f"`{name}`", form, "required" if required else default, meanings.get(stem, "")))
    return table(("key", "form", "default", "meaning"), rows)


def model_keys() -> str:
    """Every key of a model file; thresholds have a table of their own."""
    rows = [
        (f"`{name}`", form, "required" if required else default, about)
        for name, form, default, required, about in _described(Model)
        if not name.startswith("thresholds.")
    ]
    return table(("key", "form", "default", "meaning"), rows)


def _meanings(text: str) -> dict[str, str]:
    """``uplink.host`` → the comment behind it, or the block of comments before it."""
    found: dict[str, str] = {}
    inside = ""
    block: list[str] = []
    for line in text.splitlines():
        if header := _TABLE.fullmatch(line.strip()):
            inside, block = f"{header[1]}.", []
        elif key := _KEY.fullmatch(line.strip()):
            found[f"{inside}{key[1]}"] = (key[2] or " ".join(block)).strip()
            block = []
        elif line.startswith("# "):
            block.append(line[2:])
        else:
            block = []
    return found


def _keys(kind: type[Struct], at: str = "") -> Iterator[tuple[str, str, str, bool]]:
    for name, form, default, required, _about in _described(kind, at):
        yield name, form, default, required


def _described(kind: type[Struct], at: str = "") -> Iterator[tuple[str, str, str, bool, str]]:
    for field in msgspec.structs.fields(kind):
        inner, form = _struct_in(field.type)
        where = f"{at}{field.encode_name}"
        if inner is not None:
            yield from _described(inner, f"{where}{form}.")
            continue
        form = form_of_field(kind, field.encode_name)
        yield where, form, default_of(field), field.required, _description(field.type)


def _struct_in(kind: Any) -> tuple[type[Struct] | None, str]:
    """The struct that a field is, or is made of, and how its place is written."""
    for one in (kind, *get_args(kind)):
        if isinstance(one, type) and issubclass(one, Struct):
            origin = get_origin(kind)
            return one, "[]" if origin is tuple else ".<id>" if origin is dict else ""
    return None, ""


def _description(kind: Any) -> str:
    for meta in getattr(kind, "__metadata__", ()):
        if isinstance(meta, msgspec.Meta) and meta.description:
            return meta.description
    return ""
