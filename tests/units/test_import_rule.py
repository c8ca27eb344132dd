"""The house's one rule: a file imports from its own room and from floors below; never up, never sideways."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FLOORS = {
    "demo": 6,
    "supervisor": 6,
    "local_api": 5,
    "ctl": 5,
    "fleet": 5,
    "payment_app": 5,
    "commands": 4,
    "health": 4,
    "uplink": 4,
    "selling": 4,
    "workflow": 3,
    "machine": 3,
    "update": 3,
    "trust": 3,
    "backup": 3,
    "store": 2,
    "runtime": 1,
    "contract": 0,
}
# The last is the command line of posctl: it hands `posctl fleet …` on to the operator's side, and knows no more of it.
ABOVE_ALL = {"agent/__main__.py", "agent/ctl/__main__.py"}
COMPOSITION_ROOT = "agent/boot/"
FOR_BOOT_ONLY = {
    "agent.config",
    "agent.devices",
    "agent.journal_settings",
    "agent.model_file",
    "agent.network_settings",
    "agent.strict_toml",
    "agent.boot",
    "agent.__main__",
}
ONLY_HERE = {
    # The demo's witness reads the file without any code of the store: that is what makes it a witness.
    # Children and tools open the file by `open_readonly` of the same place.
    "sqlite3": {"agent/store/sqlite.py", "agent/demo/evidence.py", "agent/fleet/collector/sqlite_store.py"},
    "pyrage": {"agent/backup/age.py"},
    "aiomqtt": {"agent/uplink/connection.py"},
    "paho": {"agent/uplink/connection.py"},
    "serial": {"drivers/transports/serial_port.py"},
}
ONLY_IN_ROOM = {"nacl": "agent/trust/", "psycopg": "agent/fleet/collector/", "sqlite_utils": "agent/fleet/collector/"}


def _imports(path: Path) -> list[tuple[int, str]]:
    found: list[tuple[int, str]] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import; write the whole name"
            found += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
    return found


def _broken_rules(name: str, imported: str) -> str | None:
    """Why file ``name`` (``agent/store/chain.py``) may not import ``imported`` (``agent.trust.policy.Policy``)."""
    top = imported.partition(".")[0]
    for library, places in ONLY_HERE.items():
        if top == library and name not in places:
            return f"{library} belongs to {sorted(places)} alone"
    for library, room in ONLY_IN_ROOM.items():
        if top == library and not name.startswith(room):
            return f"{library} belongs to {room} alone"
    if name.startswith("drivers/"):
        return "drivers never import the agent" if top == "agent" else None
    if name in ABOVE_ALL or name.startswith(COMPOSITION_ROOT):
        return None
    if top == "drivers":
        if (
            name == "agent/devices.py"
            or name.startswith("agent/demo/")
            or imported.startswith(
                (
                    "drivers.contract",
                    "drivers.host_contract",
                    "drivers.sysfs_contract",
                    "drivers.reach_contract",
                    "drivers.errors",
                )
            )
        ):
            return None
        return "rooms see only the contracts of drivers and drivers.errors"
    if top != "agent" or imported == "agent" or imported.startswith(("agent.errors", "agent.__version__")):
        return None
    if any(imported == one or imported.startswith(f"{one}.") for one in FOR_BOOT_ONLY):
        # The demo starts the same agent with its own development key; nothing else may.
        inside = name in {"agent/demo/daemon.py", *(f"{one.replace('.', '/')}.py" for one in FOR_BOOT_ONLY)}
        return None if inside else "settings and model files are read by agent/boot and __main__.py only"
    parts = name.split("/")
    if len(parts) < 3:
        return None if name == "agent/errors.py" else _top_level(imported)
    here, there = parts[1], imported.split(".")[1]
    if here == there or FLOORS[there] < FLOORS[here]:
        return None
    return f"{here} (floor {FLOORS[here]}) may not use {there} (floor {FLOORS[there]})"


def _top_level(imported: str) -> str | None:
    """Files at the top of agent/ (config, model_file) may use the two lowest floors and each other."""
    is_low = imported.startswith(("agent.contract", "agent.runtime"))
    return None if is_low else "a file at the top of agent/ uses only contract and runtime"


def _product_files() -> list[str]:
    return sorted(
        str(path.relative_to(ROOT)) for folder in ("agent", "drivers") for path in (ROOT / folder).rglob("*.py")
    )


@pytest.mark.parametrize("name", _product_files())
def test_a_file_uses_only_its_own_room_and_floors_below(name: str) -> None:
    broken = [
        f"{name}:{line}: imports {imported}: {why}"
        for line, imported in _imports(ROOT / name)
        if (why := _broken_rules(name, imported))
    ]
    assert not broken, "\n".join(broken)


def test_every_room_has_a_floor() -> None:
    folders = {path.name for path in (ROOT / "agent").iterdir() if path.is_dir()}
    rooms = folders - {"__pycache__", COMPOSITION_ROOT.split("/")[1]}
    assert rooms <= set(FLOORS), f"give these rooms a floor: {sorted(rooms - set(FLOORS))}"


def test_no_room_is_named_for_what_it_is_not() -> None:
    forbidden = {"utils", "common", "helpers", "manager"}
    assert not [name for name in _product_files() if forbidden & set(Path(name).with_suffix("").parts)]


@pytest.mark.parametrize(
    ("name", "imported"),
    [
        ("agent/store/chain.py", "agent.workflow.engine.Engine"),
        ("agent/health/monitor.py", "agent.uplink.gauges.Gauges"),
        ("agent/contract/rpc.py", "agent.runtime.clock.Clock"),
        ("drivers/catalog.py", "agent.errors.AgentError"),
        ("agent/health/probes/cpu.py", "drivers.host.cpu.Cpu"),
        ("agent/uplink/session.py", "agent.config.Settings"),
        ("agent/store/outbox.py", "sqlite3"),
        ("agent/store/database.py", "sqlite3"),
        ("agent/fleet/send.py", "aiomqtt"),
        ("agent/fleet/keys.py", "nacl.signing"),
    ],
)
def test_the_rule_catches_what_it_is_for(name: str, imported: str) -> None:
    assert _broken_rules(name, imported) is not None


@pytest.mark.parametrize(
    "path", [*_product_files(), *sorted(str(p.relative_to(ROOT)) for p in (ROOT / "tests").rglob("*.py"))]
)
def test_no_file_is_two_rooms_in_one(path: str) -> None:
    assert len((ROOT / path).read_text().splitlines()) <= 400
