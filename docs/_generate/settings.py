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
        inner, mark = _structs_in(field.type)
        where = f"{at}{field.encode_name}"
        if len(inner) == 1:
            yield from _described(inner[0], f"{where}{mark}.")
        elif inner:
            yield from _one_of(inner, f"{where}{mark}.")
        else:
            form = form_of_field(kind, field.encode_name)
            yield where, form, default_of(field), field.required, _description(field.type)


def _one_of(kinds: tuple[type[Struct], ...], at: str) -> Iterator[tuple[str, str, str, bool, str]]:
    """Keys of tables of several kinds, told apart by one of their keys; what all of them have stands once."""
    config = [kind.__struct_config__ for kind in kinds]
    tags = ", ".join(f"`{one.tag}`" for one in config)
    yield f"{at}{config[0].tag_field}", tags, "", True, "what it is; says which other keys it has"
    rows = {kind: list(_described(kind, at)) for kind in kinds}
    common = [row for row in rows[kinds[0]] if all(row in others for others in rows.values())]
    yield from common
    for kind, one in zip(kinds, config, strict=True):
        for name, form, default, required, about in rows[kind]:
            if (name, form, default, required, about) not in common:
                yield name, form, default, required, f"of a `{one.tag}`: {about}"


def _structs_in(kind: Any) -> tuple[tuple[type[Struct], ...], str]:
    """The structs that a field is, or is made of, and how its place is written."""
    origin = get_origin(kind)
    held = get_args(kind)[1] if origin is dict else kind
    found = tuple(one for one in (held, *get_args(held)) if isinstance(one, type) and issubclass(one, Struct))
    return found, "[]" if origin is tuple else ".<id>" if origin is dict else ""


def _description(kind: Any) -> str:
    for meta in getattr(kind, "__metadata__", ()):
        if isinstance(meta, msgspec.Meta) and meta.description:
            return meta.description
    return ""
