"""A server as a place for backups, over real TLS: what it says, how it fails, and that nothing counts then."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.backup.job import ServerPlace
from agent.backup.server_target import ServerTarget
from agent.backup.target import Measure
from agent.errors import TargetUnusable
from tests.kit.certificates import Authority
from tests.kit.https_place import HttpsPlace

FOLDER = "shop-1/T-0001/journal"
FILE = f"{FOLDER}/segment-000000000001-000000000002-01234567.age"
CONTENT = b"content" * 50_000


@pytest.fixture(name="server")
def _server(tmp_path: Path) -> Iterator[HttpsPlace]:
    with HttpsPlace(tmp_path / "server") as server:
        yield server


def _target(server: HttpsPlace, tmp_path: Path, **changes: str) -> ServerTarget:
    place = {"name": "vault", "url": server.url, "ca_file": str(server.authority.file), **changes}
    return ServerTarget(ServerPlace(**place), tmp_path)


def _put(target: ServerTarget, content: bytes = CONTENT, file: str = FILE) -> Measure | None:
    with target.writing(FOLDER, "segment", "token") as work:
        work.write(content)
        work.flush()
        target.keep(work, file, Measure(len(content), ""))
    measure = target.measure(file)
    if measure is not None:
        target.confirm(file, measure)
    return measure


def _index(server: HttpsPlace) -> list[str]:
    return [one["file"] for one in json.loads((server.folder / "shop-1/T-0001/index.json").read_bytes())["files"]]


def test_files_are_put_read_back_listed_and_removed(server: HttpsPlace, tmp_path: Path) -> None:
    target = _target(server, tmp_path)
    assert target.names(FOLDER) == []
    assert target.measure(FILE) is None
    measure = _put(target)
    assert measure is not None
    assert measure.size_bytes == len(CONTENT)
    second = FILE.replace("000000000002", "000000000009")
    _put(target, b"more", second)
    _put(target, b"more", second)
    assert target.names(FOLDER) == [FILE.rpartition("/")[2], second.rpartition("/")[2]]
    assert (server.folder / FILE).read_bytes() == CONTENT
    target.remove(FILE)
    target.remove(FILE)
    assert _index(server) == [f"journal/{second.rpartition('/')[2]}"]
    assert not (server.folder / FILE).exists()
    assert list(tmp_path.iterdir()) == [tmp_path / "server"]  # nothing was left where files wait


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("503", "answered PUT with 503"),
        ("no-put", "answered PUT with 405"),
        ("cut-put", "cannot be reached"),
        ("cut-get", "cannot be reached"),
        ("redirect", "answered PUT with 302"),
    ],
)
def test_a_server_that_fails_says_how_and_the_next_time_is_right(
    server: HttpsPlace, tmp_path: Path, fault: str, says: str
) -> None:
    target = _target(server, tmp_path)
    server.fault(fault)
    with pytest.raises(TargetUnusable, match=says) as caught:
        _put(target)
    assert caught.value.hint
    assert "index.json" not in server.names()
    server.fault(None)
    assert _put(target) is not None
    assert len(_index(server)) == 1


@pytest.mark.parametrize("fault", ["short-get", "other-get"])
def test_bytes_that_come_back_otherwise_are_seen(server: HttpsPlace, tmp_path: Path, fault: str) -> None:
    target = _target(server, tmp_path)
    right = _put(target)
    server.fault(fault)
    assert target.measure(FILE) != right


def test_a_server_that_does_not_let_files_be_removed_says_so(server: HttpsPlace, tmp_path: Path) -> None:
    target = _target(server, tmp_path)
    _put(target)
    server.fault("no-delete")
    with pytest.raises(TargetUnusable, match="DELETE with 405"):
        target.remove(FILE)


def test_a_certificate_of_somebody_else_gets_nothing(server: HttpsPlace, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other", "other")
    for target in (
        _target(server, tmp_path, ca_file=str(other.file)),
        _target(server, tmp_path, url=f"https://localhost:{server.port}/backups/"),
    ):
        with pytest.raises(TargetUnusable, match="not trusted"):
            _put(target)
    assert server.names() == []


def test_a_server_that_is_not_there_is_said_to_be_so(tmp_path: Path) -> None:
    place = ServerPlace("vault", "https://127.0.0.1:9/")
    with pytest.raises(TargetUnusable, match="vault cannot be reached"):
        _put(ServerTarget(place, tmp_path))


def test_certificates_that_cannot_be_read_are_named(server: HttpsPlace, tmp_path: Path) -> None:
    (tmp_path / "rubbish.pem").write_text("rubbish")
    for name in ("rubbish.pem", "nowhere.pem"):
        with pytest.raises(TargetUnusable, match="certificates of vault"):
            _target(server, tmp_path, ca_file=str(tmp_path / name))


def test_a_server_that_wants_a_certificate_gets_this_terminals_own(tmp_path: Path) -> None:
    terminals = Authority(tmp_path / "terminals", "terminals")
    certificate, key = terminals.server("T-0001")
    with HttpsPlace(tmp_path / "server", client_ca=terminals.file) as server:
        with pytest.raises(TargetUnusable, match="cannot be reached"):
            _put(_target(server, tmp_path))
        assert _put(_target(server, tmp_path, certificate_file=str(certificate), key_file=str(key))) is not None


def test_an_index_that_is_none_of_ours_is_left_alone(server: HttpsPlace, tmp_path: Path) -> None:
    index = server.folder / "shop-1/T-0001/index.json"
    index.parent.mkdir(parents=True)
    index.write_text("somebody's")
    with pytest.raises(TargetUnusable, match="none of ours"):
        _put(_target(server, tmp_path))
    assert index.read_text() == "somebody's"
