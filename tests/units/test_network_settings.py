"""[network] and [[reach]] in the configuration: every problem at once, and nothing usable refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.config import load
from agent.errors import ConfigInvalid

BASE = """
mode = "development"
[terminal]
site = "s"
terminal = "t"
serial = "n"
[devices.printer-0]
driver = "escpos"
port = "/dev/null"
"""


def _load(folder: Path, text: str) -> list[str]:
    """Keys of the problems; empty when it is taken."""
    file = folder / "agent.toml"
    file.write_text(BASE + text)
    try:
        load(file)
    except ConfigInvalid as err:
        return sorted(problem.replace(f"{file}: ", "").partition(":")[0] for problem in err.problems)
    return []


def _host(name: str = "acquirer", **more: str) -> str:
    lines = {"name": f'"{name}"', "host": '"host.example"', "port": "443", **more}
    return "[[reach]]\n" + "".join(f"{key} = {value}\n" for key, value in lines.items())


def test_a_host_with_everything_is_taken(tmp_path: Path) -> None:
    everything = _host(
        ca_file='"/etc/ca.pem"',
        server_name='"x.example"',
        expected='["203.0.113.0/24", "2001:db8::/32", "192.0.2.1"]',
        required="true",
    )
    network = '[network]\ninterfaces = ["eth0", "wlan0.100"]\nreach_interval_s = 30\ncertificate_warn_days = 30\n'
    assert _load(tmp_path, network + everything + _host("plain", tls="false") + _host("v6", host='"2001:db8::1"')) == []


def test_every_problem_of_the_network_is_listed_at_once(tmp_path: Path) -> None:
    text = (
        '[network]\ninterfaces = ["a/b"]\nreach_interval_s = 0\ninterval = 3\n'
        + _host("memory", port="0")
        + _host("b", host='"a b"', tls="1")
        + _host("c", protocol='"https"')
    )
    assert _load(tmp_path, text) == [
        "network.interfaces",
        "network.interval",
        "network.reach_interval_s",
        "reach[0].port",
        "reach[1].host",
        "reach[1].tls",
        "reach[2].protocol",
    ]


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        (_host("memory"), ["reach[0].name"]),
        (_host("network"), ["reach[0].name"]),
        (_host("printer-0"), ["reach[0].name"]),
        (_host() + _host(), ["reach[1].name"]),
        (_host(tls="false", ca_file='"/ca.pem"'), ["reach[0].tls"]),
        (_host(expected='["203.0.113.1/24"]'), ["reach[0].expected"]),
        (_host(expected='["host.example"]'), ["reach[0].expected"]),
        ("".join(_host(f"h{number}") for number in range(9)), ["reach"]),
    ],
)
def test_what_single_keys_cannot_show_is_refused(tmp_path: Path, text: str, keys: list[str]) -> None:
    assert _load(tmp_path, text) == keys
