"""Every key of the configuration and of model files, wrong in every way: each message names file and key.

The keys come from the structs themselves, so a new one is tried here without a word.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_origin

import msgspec
import pytest
import tomli_w
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Struct

from agent.config import Loaded, Settings, load, load_or_last_good
from agent.errors import ConfigInvalid
from agent.model_file import Model
from drivers.catalog import DRIVERS

ROOT = Path(__file__).parents[2]
SECRET = "not-to-be-told"
GOOD_VALUES: tuple[Any, ...] = (
    *("none", "development", "countertop", "escpos", "shop-1", "00010001", "/somewhere/else", "payment.service"),
    *(
        "https://backup.example/",
        f"age1{'q' * 58}",
        [f"age1{'q' * 58}"],
        "pos_printer",
        1,
        20.0,
        True,
        [],
        {},
        {"chinese": True},
    ),
)
BAD_VALUES: tuple[Any, ...] = (
    *("", f"{SECRET}!", f"{SECRET}\n", "/\0", SECRET * 200, "2s", "yes", 10**12, -1, 0, 1.5, -1.5, 1e12, float("nan")),
    *(float("inf"), True, [], [1], [{}], [[]], {}, {"colour": 1}, {SECRET: {SECRET: SECRET}}, 10**30),
)


class Key(NamedTuple):
    """``steps`` lead to it in a table; ``name`` is how a message names it; ``kind`` is its type, None for a table."""

    steps: tuple[str | int, ...]
    name: str
    kind: Any
    required: bool


def _structs_of(kind: Any) -> tuple[tuple[type[Struct], ...], Any]:
    """The structs that a field may hold (several are told apart by a tag), and in what: None, tuple or dict."""
    origin = get_origin(kind)
    held = get_args(kind)[1] if origin is dict else kind
    found = tuple(one for one in (held, *get_args(held)) if isinstance(one, type) and issubclass(one, Struct))
    return found, origin if origin in (tuple, dict) else None


def _name_of(kind: type[Struct]) -> str:
    """A device of that kind, in tables by name."""
    return f"{kind.__struct_config__.tag or 'printer'}-0"


def _keys(kind: type[Struct], steps: tuple[str | int, ...] = (), at: str = "") -> Iterator[Key]:
    for field in msgspec.structs.fields(kind):
        here, name = (*steps, field.encode_name), f"{at}{field.encode_name}"
        kinds, container = _structs_of(field.type)
        if not kinds:
            yield Key(here, name, field.type, field.required)
            continue
        yield Key(here, name, None, field.required)
        for inner in kinds:
            if container is tuple:
                yield from _keys(inner, (*here, 0), f"{name}[0].")
            elif container is dict:
                yield from _keys(inner, (*here, _name_of(inner)), f"{name}.{_name_of(inner)}.")
            else:
                yield from _keys(inner, here, f"{name}.")


def _converts(kind: Any, value: Any) -> bool:
    try:
        msgspec.convert(value, kind, strict=True)
    except msgspec.ValidationError:
        return False
    return True


def _whole(kind: type[Struct]) -> dict[str, Any]:
    """A table in which every key stands, each with a value that is right."""
    table: dict[str, Any] = {}
    config = kind.__struct_config__
    if config.tag is not None:
        table[str(config.tag_field)] = config.tag
    for field in msgspec.structs.fields(kind):
        kinds, container = _structs_of(field.type)
        if kinds:
            table[field.encode_name] = _whole_tables(kinds, container, field.default)
        elif field.default not in (None, msgspec.NODEFAULT):
            table[field.encode_name] = msgspec.to_builtins(field.default)
        else:
            table[field.encode_name] = next(value for value in GOOD_VALUES if _converts(field.type, value))
    driver = next((name for name, one in DRIVERS.items() if one.category == config.tag), "escpos")
    return {**table, "driver": driver} if "driver" in table else table


def _whole_tables(kinds: tuple[type[Struct], ...], container: Any, default: Any) -> Any:
    if container is dict:
        return {_name_of(inner): _whole(inner) for inner in kinds}
    if container is tuple:
        return [_whole(kinds[0])]
    given = msgspec.to_builtins(default) if isinstance(default, Struct) else {}
    return _laid_over(_whole(kinds[0]), given)


def _laid_over(base: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Defaults of a table over what its keys would have by themselves; where the default is nothing, that stays."""
    after = dict(base)
    for name, value in given.items():
        if isinstance(value, dict) and isinstance(base.get(name), dict):
            after[name] = _laid_over(base[name], value)
        elif value not in (None, [], ()):
            after[name] = value
    return after


def _changed(table: dict[str, Any], steps: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    after = copy.deepcopy(table)
    place: Any = after
    for step in steps[:-1]:
        place = place[step]
    place[steps[-1]] = value
    return after


class Files:
    """A folder with a configuration and its model file, each whole and right until it is changed."""

    def __init__(self, folder: Path) -> None:
        self.config = folder / "agent.toml"
        self.model = folder / "models" / "countertop.toml"
        self.model.parent.mkdir(exist_ok=True)
        self.table = {**_whole(Settings), "mode": "development"}
        self.table["terminal"]["model"] = "countertop"
        self.table["paths"]["state"] = str(folder / "state")
        self.table["backup"]["recipients"] = [f"age1{'q' * 58}"]
        self.table["backup"]["server"][0]["name"] = "vault"  # a folder of the same name would be a problem
        self.table["machine"]["kind"] = "supervisor"  # the one kind that has a socket
        self.model_table = _whole(Model)

    def problems(self, table: dict[str, Any] | None = None, model: dict[str, Any] | None = None) -> list[str]:
        """What loading says of both files; empty when they are right."""
        self.config.write_text(tomli_w.dumps(self.table if table is None else table))
        self.model.write_text(tomli_w.dumps(self.model_table if model is None else model))
        try:
            load(self.config)
        except ConfigInvalid as err:
            return err.problems
        return []


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("settings"))


CONFIG_KEYS, MODEL_KEYS = list(_keys(Settings)), list(_keys(Model))


def test_the_whole_of_both_is_right_as_it_stands(files: Files) -> None:
    assert files.problems() == []
    assert len(CONFIG_KEYS) > 40
    assert len(MODEL_KEYS) > 30


def _wrong(key: Key) -> list[Any]:
    if key.kind is None:
        return [value for value in BAD_VALUES if not isinstance(value, dict | list)]
    return [value for value in BAD_VALUES if not _converts(key.kind, value)]


@pytest.mark.parametrize("key", CONFIG_KEYS, ids=lambda key: key.name)
def test_a_wrong_value_of_the_configuration_is_named_with_its_file(files: Files, key: Key) -> None:
    assert len(_wrong(key)) >= 5
    for value in _wrong(key):
        found = files.problems(table=_changed(files.table, key.steps, value))
        assert any(one.startswith(f"{files.config}: {key.name}") for one in found), (value, found)
        assert not any(SECRET in one.replace(str(files.config), "") for one in found if key.kind is not None), found


@pytest.mark.parametrize("key", MODEL_KEYS, ids=lambda key: key.name)
def test_a_wrong_value_of_a_model_file_is_named_with_its_file(files: Files, key: Key) -> None:
    for value in _wrong(key):
        found = files.problems(model=_changed(files.model_table, key.steps, value))
        assert any(one.startswith(f"{files.model}: {key.name}") for one in found), (value, found)


@pytest.mark.parametrize("key", [key for key in CONFIG_KEYS if key.kind is not None], ids=lambda key: key.name)
def test_a_line_break_after_a_right_text_is_wrong(files: Files, key: Key) -> None:
    """``$`` in a pattern lets one through: a name with a line break would get into topics and paths."""
    right: Any = files.table
    for step in key.steps:
        right = right[step]
    if isinstance(right, str):
        found = files.problems(table=_changed(files.table, key.steps, f"{right}\n"))
        assert any(one.startswith(f"{files.config}: {key.name}: ") for one in found), found


@pytest.mark.parametrize(
    "steps", sorted({key.steps[:-1] for key in CONFIG_KEYS}, key=str), ids=lambda steps: ".".join(map(str, steps))
)
def test_an_unknown_key_is_named_in_every_table(files: Files, steps: tuple[str | int, ...]) -> None:
    [at] = {key.name.rpartition(".")[0] for key in CONFIG_KEYS if key.steps[:-1] == steps}
    found = files.problems(table=_changed(files.table, (*steps, "colour"), SECRET))
    assert [one for one in found if one.startswith(f"{files.config}: {f'{at}.' if at else ''}colour: unknown key")]
    assert SECRET not in " ".join(found)


@pytest.mark.parametrize("key", [one for one in CONFIG_KEYS if one.required], ids=lambda key: key.name)
def test_a_missing_key_is_named(files: Files, key: Key) -> None:
    table = copy.deepcopy(files.table)
    place: Any = table
    for step in key.steps[:-1]:
        place = place[step]
    del place[key.steps[-1]]
    found = files.problems(table=table)
    assert f"{files.config}: {key.name}: is required and missing" in found


def test_all_problems_of_all_tables_come_at_once(files: Files) -> None:
    table = copy.deepcopy(files.table)
    names = []
    for key in CONFIG_KEYS:
        if key.kind is not None and key.name not in {"terminal.model", "devices.printer-0.driver"}:
            table = _changed(table, key.steps, next(one for one in _wrong(key) if isinstance(one, float | int)))
            names.append(key.name)
    found = files.problems(table=table)
    assert [name for name in names if not any(one.startswith(f"{files.config}: {name}: ") for one in found)] == []


# ── whole files in any state ───────────────────────────────────────────────────────────────────────────────────
def _loads_or_tells(file: Path, *others: Path) -> None:
    """Loaded, or a list of problems each of which names a file; nothing else ever leaves here."""
    for loading in (load, load_or_last_good):
        try:
            loaded = loading(file)
        except ConfigInvalid as err:
            told = err.problems
        else:
            assert isinstance(loaded, Loaded)
            continue
        assert told
        for problem in told:
            assert any(problem.startswith(f"{one}: ") for one in (file, *others)), problem


@pytest.mark.parametrize(
    "text",
    [
        "x = " + "[" * 20_000,
        "x = " + "{a=" * 5_000,
        "[" + "a." * 20_000 + "b]\n",
        "x = " + "9" * 10_000,
        "x = 0x" + "f" * 100_000,
        "x = 1e" + "9" * 5_000,
        "x = 1979-05-27T07:32:00.999999999999Z",
        "x = 9999-99-99",
        'x = "\\uD800"',
        "mode = 1979-05-27\n[terminal]\nsite = 07:32:00\n",
        "\ufeffmode = 'development'",
        "a = 1\ra = 2",
        "\0",
    ],
    ids=lambda text: ascii(text[:12]),
)
def test_no_text_however_odd_is_more_than_a_list_of_problems(tmp_path: Path, text: str) -> None:
    file = tmp_path / "agent.toml"
    file.write_text(text)
    _loads_or_tells(file)


CONFIG_TEXT = (ROOT / "config" / "agent.toml").read_text()
MODEL_TEXT = (ROOT / "config" / "models" / "countertop.toml").read_text()


def _mutated(text: str) -> st.SearchStrategy[str]:
    """The text with some of its lines dropped, doubled, uncommented, cut, or with anything put in."""
    lines = text.splitlines()
    places = st.integers(0, len(lines) - 1)
    change = st.one_of(
        st.tuples(st.just("drop"), places, st.just("")),
        st.tuples(st.just("double"), places, st.just("")),
        st.tuples(st.just("uncomment"), places, st.just("")),
        st.tuples(st.just("cut"), places, st.integers(1, 30).map(str)),
        st.tuples(st.just("put"), places, st.text(max_size=30)),
        st.tuples(st.just("value"), places, st.sampled_from(["[]", "{}", "true", "-1", "''", "1e400", "'x'", "nan"])),
    )

    def apply(changes: list[tuple[str, int, str]]) -> str:
        after: list[list[str]] = [[line] for line in lines]
        for kind, place, word in changes:
            for index, line in enumerate(after[place]):
                match kind:
                    case "uncomment":
                        after[place][index] = line.removeprefix("# ")
                    case "cut":
                        after[place][index] = line[: int(word)]
                    case "put":
                        after[place][index] = line + word
                    case "value" if " = " in line:
                        after[place][index] = f"{line.removeprefix('# ').partition(' = ')[0]} = {word}"
            if kind == "drop":
                after[place] = []
            elif kind == "double":
                after[place] = after[place] * 2
        return "\n".join(line for group in after for line in group)

    return st.lists(change, min_size=1, max_size=8).map(apply)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_mutated(CONFIG_TEXT))
def test_any_mutation_of_the_shipped_configuration_loads_or_is_told(tmp_path: Path, text: str) -> None:
    file = tmp_path / "agent.toml"
    file.write_text(text, encoding="utf-8", errors="surrogatepass")
    _loads_or_tells(file, *(tmp_path / "models" / f"{name}.toml" for name in ("countertop",)))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_mutated(MODEL_TEXT))
def test_any_mutation_of_a_shipped_model_loads_or_is_told(tmp_path: Path, text: str) -> None:
    file, model = tmp_path / "agent.toml", tmp_path / "models" / "countertop.toml"
    model.parent.mkdir(exist_ok=True)
    file.write_text(CONFIG_TEXT.replace('# model = "countertop"', 'model = "countertop"'))
    model.write_text(text, encoding="utf-8", errors="surrogatepass")
    _loads_or_tells(file, model)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300))
def test_any_bytes_load_or_are_told(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "agent.toml"
    file.write_bytes(content)
    _loads_or_tells(file)
