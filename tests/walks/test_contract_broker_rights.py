"""The access list shipped for the broker: enough for a terminal and no more, also when bound to certificates."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.kit import orders
from tests.kit.agent_process import ROOT
from tests.kit.broker import Broker, Seen, Watcher, eventually, free_port, subscribe
from tests.kit.collector import collector_policy, running
from tests.kit.contract_peer import Peer, sale
from tests.kit.contract_walk import BASE, SITE, TERMINAL, Terminal, settled, uplink

ACL = ROOT / "config" / "mosquitto.acl"
OWN_STATUS = "pattern read pos/v1/+/%c/agent/status\n"
TRUTH = [f"agent/{name}" for name in ("status", "birth", "readiness", "faults", "cfg")] + ["dev/memory/health"]


def _status(watcher: Watcher) -> dict[str, Any]:
    """The newest ``agent/status``."""
    newest: dict[str, Any] = json.loads(watcher.on(BASE + "agent/status")[-1])
    return newest


def _has(messages: list[Seen]) -> bool:
    return {BASE + one for one in TRUTH} <= {message.topic for message in messages}


@pytest.mark.parametrize("own_status", [True, False], ids=["as shipped", "the least"])
async def test_it_works_under_the_acl_that_is_shipped(tmp_path: Path, own_status: bool) -> None:
    rules = ACL.read_text()
    assert OWN_STATUS in rules
    acl = tmp_path / "acl"
    acl.write_text(rules if own_status else rules.replace(OWN_STATUS, ""))
    acl.chmod(0o600)
    one = Terminal(tmp_path, 0, policy=orders.signed_policy())
    with Broker(tmp_path, config=f"acl_file {acl}") as broker:
        one.agent.write_config({"uplink": uplink(broker.port)})
        async with subscribe(broker, "pos/v1/#", username="backend") as backend:
            with one.agent:
                await backend.until(_has)
                await settled(backend)
                everyone = orders.order_payload(terminal="_all")
                await backend.publish(f"pos/v1/{SITE}/_all/in/req/ping", orders.signed_order(everyone))
                await eventually(lambda: one.rows() == 2, what="the order to the site")
                assert one.agent.stop() == 0
            await backend.until(lambda _: not _status(backend)["online"])
        log = broker.log()
        denied = [line for line in log.splitlines() if "Denied PUBLISH from" in line and TERMINAL in line]
        assert denied == [], "it writes nothing that it may not"
        await _the_acl_holds(broker)


async def _the_acl_holds(broker: Broker) -> None:
    """A client that is no terminal of this name can neither read its orders nor speak for it."""
    async with (
        subscribe(broker, "pos/v1/#", username="backend") as backend,
        subscribe(broker, "pos/v1/#") as stranger,
    ):
        told = len(backend.messages)
        await stranger.publish(BASE + "agent/status", b'{"online": true}', retain=True)
        await stranger.publish(BASE + "in/req/ping", b"x")
        await backend.publish(BASE + "in/req/ping", b"y")
        await backend.until(lambda seen: any(one.payload == b"y" for one in seen))
        assert {one.payload for one in backend.messages[told:] if one.payload in {b"x", b'{"online": true}'}} == set()
        assert stranger.messages == []


async def test_a_collector_has_the_journal_and_the_word_for_it_and_no_more(tmp_path: Path) -> None:
    acl = tmp_path / "acl"
    acl.write_text(ACL.read_text())
    acl.chmod(0o600)
    one = Terminal(tmp_path, 0, policy=collector_policy())
    with Broker(tmp_path, config=f"acl_file {acl}") as broker:
        one.agent.write_config({"uplink": uplink(broker.port)})
        async with (
            running(broker, username="collector") as collector,
            subscribe(broker, "pos/v1/#", username="collector") as reader,
            subscribe(broker, "pos/v1/#", username="backend") as backend,
        ):
            with one.agent:
                await backend.until(_has)
                with Peer(one.payment) as peer:
                    peer.record(sale())
                delivered = "SELECT value FROM meta WHERE name = 'delivered_upto' AND value = '1'"
                await eventually(lambda: bool(one.query(delivered)), what="delivered")
                assert collector.model.journal().upto == 1
                await reader.publish(BASE + "in/req/ping", orders.signed_order())
                await settled(backend)
                assert one.rows() == 1, "the collector's order was not passed on"
        assert {message.topic for message in reader.messages} == {f"{BASE}agent/txn", f"{BASE}agent/birth"}
        denied = [line for line in broker.log().splitlines() if "Denied PUBLISH from" in line]
        assert all("/in/req/ping" in line for line in denied), denied
        assert denied


def _certificates(folder: Path, *names: str) -> None:
    """An authority, a broker for 127.0.0.1, and a client for each name, which is its CN."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], check=True, cwd=folder, capture_output=True)

    (folder / "san").write_text("subjectAltName=IP:127.0.0.1\n")
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca", "-days", "2")
    for name in ("broker", *names):
        openssl("req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        issuer = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "san")
        openssl("x509", "-req", "-in", f"{name}.csr", *issuer, "-out", f"{name}.pem")


async def test_bound_to_certificates_nobody_speaks_in_another_name(tmp_path: Path) -> None:
    _certificates(tmp_path, TERMINAL, "T-0002")
    (tmp_path / "acl").write_text(ACL.read_text())
    (tmp_path / "acl").chmod(0o600)
    port = free_port()
    hints = [line.removeprefix("#").split("#")[0].strip() for line in ACL.read_text().splitlines() if " true" in line]
    assert len(hints) == 3, "the three settings that the file's comment asks for"
    files = f"cafile {tmp_path}/ca.pem\ncertfile {tmp_path}/broker.pem\nkeyfile {tmp_path}/broker.key\n"
    listener = f"listener {port} 127.0.0.1\n" + files + "\n".join(hints)
    honest, thief = Terminal(tmp_path / "a", 0, policy=orders.signed_policy()), Terminal(tmp_path / "b", 0)
    for one, name in ((honest, TERMINAL), (thief, "T-0002")):  # both are configured as T-0001; one has no right to be
        tls = {"tls": True, "ca_file": f"{tmp_path}/ca.pem"}
        own = {"certificate_file": f"{tmp_path}/{name}.pem", "key_file": f"{tmp_path}/{name}.key"}
        one.agent.write_config({"uplink": uplink(port, **tls, **own)})
    with Broker(tmp_path, config=f"acl_file {tmp_path}/acl\n{listener}") as broker:
        async with subscribe(broker, "pos/v1/#", username="backend") as backend:
            with thief.agent:
                await eventually(lambda: "Denied PUBLISH from T-0002" in broker.log(), what="the thief refused")
            assert backend.messages == []
            with honest.agent:
                await backend.until(_has)
                await settled(backend)
