"""The operator's link: TLS with certificates of one's own, both protocols, a broker that says no."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.ctl.__main__ import main
from tests.kit.broker import Broker


def openssl(folder: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True, timeout=60)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``ca.pem``, and ``broker`` and ``operator`` with certificates that it signed."""
    folder = tmp_path_factory.mktemp("certificates")
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    openssl(folder, "req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca", "-days", "2")
    (folder / "san").write_text("subjectAltName=IP:127.0.0.1")
    for name in ("broker", "operator"):
        openssl(folder, "req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        signing = ["-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2"]
        openssl(folder, "x509", *signing, "-out", f"{name}.pem", "-extfile", "san")
    return folder


@pytest.fixture
def secure_broker(tmp_path: Path, certificates: Path) -> Iterator[Broker]:
    files = {"cafile": "ca.pem", "certfile": "broker.pem", "keyfile": "broker.key"}
    config = "".join(f"{option} {certificates / file}\n" for option, file in files.items())
    with Broker(tmp_path, config=f"{config}require_certificate true\n") as broker:
        yield broker


def send(port: int, key: Path, *words: str) -> int:
    where = ["--broker", f"127.0.0.1:{port}", "--site", "S-01", "--terminal", "T-1", "--key", str(key)]
    return main(["fleet", "send", *where, "ping", *words])


def test_a_certificate_of_ones_own_opens_the_link(secure_broker: Broker, key: Path, certificates: Path) -> None:
    own = ["--cert", str(certificates / "operator.pem"), "--cert-key", str(certificates / "operator.key")]
    ca = ["--ca", str(certificates / "ca.pem")]
    assert send(secure_broker.port, key, *ca, *own) == 0
    assert send(secure_broker.port, key, *own) == 3  # the system's authorities did not sign that broker
    assert send(secure_broker.port, key, *ca) == 3  # it wants to see a certificate
    assert send(secure_broker.port, key) == 3  # nor does it speak without TLS
    assert send(secure_broker.port, key, *ca, *own[:2]) == 2


def test_the_older_protocol_will_do(broker_port: int, key: Path) -> None:
    assert send(broker_port, key, "--protocol", "3.1.1") == 0


def test_a_broker_that_takes_no_orders_from_this_operator_refuses(
    tmp_path: Path, key: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "acl").write_text("topic read pos/v1/#\n")
    (tmp_path / "acl").chmod(0o600)
    with Broker(tmp_path, config=f"acl_file {tmp_path / 'acl'}\n") as broker:
        assert send(broker.port, key) == 4
    assert "access list" in capsys.readouterr().err


def test_a_port_where_no_broker_lives_is_told_from_silence(
    tmp_path: Path, key: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broker = Broker(tmp_path)
    assert send(broker.port, key) == 3
    assert "cannot be reached" in capsys.readouterr().err
