"""Model files: shipped ones load, every problem of a bad one is listed at once, the schema agrees with the drivers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import pytest

from agent.contract.health import Thresholds
from agent.devices import Roots, fit
from agent.errors import ConfigInvalid
from agent.model_file import RESERVED_NAMES, ModelDevice, ModelPrinter, model_schema, read_model
from drivers.catalog import DRIVERS, HOST_SOURCES
from drivers.contract import Sensor

MODELS = Path(__file__).parents[2] / "config" / "models"
GOOD = 'schema = 1\ntitle = "x"\n[devices.printer-0]\ncategory = "pos_printer"\ndriver = "escpos"\n'
ROOTS = Roots(Path("/sys"), Path("/dev"), Path("/run/pos-agent-keypad"))


@dataclass(frozen=True)
class Anywhere:
    """What a configuration says of a device: a port."""

    driver: str | None = None
    port: str | None = "/dev/null"


def _problems(path: Path, text: str | bytes) -> list[str]:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigInvalid) as caught:
        read_model(path)
    assert all(str(path) in problem for problem in caught.value.problems)
    return [problem.replace(f"{path}: ", "") for problem in caught.value.problems]


@pytest.mark.parametrize("path", sorted(MODELS.glob("*.toml")), ids=lambda path: path.stem)
def test_a_shipped_model_loads_and_its_devices_can_be_built(path: Path) -> None:
    model, text = read_model(path)
    assert text == path.read_bytes()
    fitted, problems = fit(model, dict.fromkeys(model.devices, Anywhere()), ROOTS)
    assert not problems
    assert [(one.name, one.category) for one in fitted] == sorted(
        (name, device.category) for name, device in model.devices.items()
    )
    for one in fitted:
        assert one.driver is not None
        assert (one.driver.name, one.driver.category) == (one.name, one.category)


def test_the_countertop_model_shows_the_defaults_it_says_it_shows() -> None:
    model, _text = read_model(MODELS / "countertop.toml")
    assert model.thresholds == Thresholds()
    assert model.devices["printer-0"].required


def test_what_is_left_out_has_its_default(tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text(GOOD)
    model, _text = read_model(tmp_path / "m.toml")
    device = model.devices["printer-0"]
    assert isinstance(device, ModelPrinter)
    assert (device.sensors, device.answers, device.required, device.baud_rate) == ((), True, False, 115_200)


def test_every_problem_is_listed_at_once(tmp_path: Path) -> None:
    text = """
schema = 2
colour = "red"
[devices."bad name"]
category = "pos_printer"
driver = "escpos"
[devices.memory]
category = "toaster"
sensors = ["nose"]
baud_rate = "fast"
require = true
[thresholds.memory_available]
degraded_pct = 5.0
failed_pct = 10.0
margin_pct = 3.0
for_s = 20.0
[thresholds.storage_used]
degraded_pct = 85.0
failed_pct = 101.0
for_s = "20 s"
[thresholds.cpu_pressure]
degraded_pct = 1.0
failed_pct = 0.5
margin_pct = 2.0
for_s = 1.0
"""
    keys = [problem.partition(":")[0] for problem in _problems(tmp_path / "m.toml", text)]
    assert sorted(keys) == sorted(
        [
            "schema",
            "colour",
            "title",
            "devices.bad name",
            "devices.memory",
            "devices.memory.category",
            "devices.memory.sensors",
            "devices.memory.baud_rate",
            "devices.memory.require",
            "devices.memory.driver",
            "thresholds.memory_available.failed_pct",
            "thresholds.storage_used.failed_pct",
            "thresholds.storage_used.for_s",
            "thresholds.storage_used.margin_pct",
            "thresholds.cpu_pressure.failed_pct",
            "thresholds.cpu_pressure.margin_pct",
        ]
    )


def test_a_near_miss_is_answered_with_the_right_key(tmp_path: Path) -> None:
    (problem,) = _problems(tmp_path / "m.toml", GOOD + "require = true\n")
    assert "required" in problem


@pytest.mark.parametrize("content", [b"schema = ", b"\xff\xfe", b"a = 1\na = 2"])
def test_a_file_that_is_not_toml_is_one_problem(tmp_path: Path, content: bytes) -> None:
    assert len(_problems(tmp_path / "m.toml", content)) == 1


def test_a_file_that_is_not_there_or_no_file_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(ConfigInvalid, match="is no file"):
            read_model(path)


def test_the_schema_and_the_drivers_speak_of_the_same_things() -> None:
    definitions = model_schema()["$defs"]
    kinds = {kind.__name__: definitions[kind.__name__] for kind in get_args(ModelDevice)}
    for kind in kinds.values():
        assert kind["additionalProperties"] is False
        assert set(kind["required"]) == {"category", "driver"}
    assert set(kinds["ModelPrinter"]["properties"]["sensors"]["items"]["enum"]) == set(Sensor)
    categories = {kind["properties"]["category"]["enum"][0] for kind in kinds.values()}
    assert categories == {entry.category for entry in DRIVERS.values()}
    assert set(definitions["Thresholds"]["properties"]) == set(Thresholds.__struct_fields__)
    assert set(HOST_SOURCES) <= RESERVED_NAMES
