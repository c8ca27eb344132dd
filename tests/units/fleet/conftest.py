"""A real broker for the fleet's tests, and a key that the fake terminals trust."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.ctl.__main__ import main
from tests.kit.broker import Broker
from tests.kit.postgres import Postgres


@pytest.fixture(scope="session")
def broker_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with Broker(tmp_path_factory.mktemp("broker")) as broker:
        yield broker.port


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[Broker]:
    """For a test that kills it."""
    with Broker(tmp_path) as broker:
        yield broker


@pytest.fixture
def key(tmp_path: Path) -> Path:
    words = ["--out", str(tmp_path), "--person", "li-wei", "--organisation", "a", "--roles", "operator"]
    assert main(["fleet", "keys", "new", *words]) == 0
    return tmp_path / "li-wei.key.json"


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with Postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty store of either kind, as ``--store`` names it."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/store.db"
    server: Postgres = request.getfixturevalue("postgres")
    return server.store()


@pytest.fixture
def collector_key(tmp_path: Path) -> Path:
    words = ["--out", str(tmp_path), "--person", "collector", "--organisation", "a", "--roles", "collector"]
    assert main(["fleet", "keys", "new", *words]) == 0
    return tmp_path / "collector.key.json"
