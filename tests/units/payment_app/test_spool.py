"""The spool: what waits survives the application's own end, and nothing that was settled comes back."""

from __future__ import annotations

import ast
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agent.payment_app.client import AgentSilent, FileSpool, PaymentClient
from agent.payment_app.spool import Spool
from tests.kit.store_records import sale

ROOT = Path(__file__).parents[3]
KEEPS_AND_DIES = """
import os, signal, sys
from agent.payment_app.client import AgentSilent, FileSpool, PaymentClient
client = PaymentClient(sys.argv[1] + "/s.sock", spool=FileSpool(sys.argv[1] + "/spool"))
for number in range(int(sys.argv[2])):
    try:
        client.record({"number": number})
    except AgentSilent as err:
        print(number, err.durable, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_was_said_to_be_kept_is_there_after_a_kill(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KEEPS_AND_DIES, str(tmp_path), "5"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == -signal.SIGKILL
    assert done.stdout.split("\n")[:5] == [f"{number} True" for number in range(5)]
    with PaymentClient(tmp_path / "s.sock", spool=FileSpool(tmp_path / "spool")) as client:
        assert [record["number"] for record in client.pending] == list(range(5))


def test_what_is_settled_is_forgotten_and_the_file_empties(tmp_path: Path) -> None:
    spool = FileSpool(tmp_path / "spool")
    for number in (1, 2, 3):
        spool.keep(number, {"n": number})
    spool.settle([1, 3, 99])
    assert spool.load() == {2: {"n": 2}}
    again = FileSpool(tmp_path / "spool")
    assert again.load() == {2: {"n": 2}}
    again.settle([2])
    assert (tmp_path / "spool").read_bytes() == b""
    assert FileSpool(tmp_path / "spool").load() == {}
    assert (tmp_path / "spool").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("cut", range(1, 30, 4))
def test_a_line_cut_short_by_a_power_cut_costs_only_itself(tmp_path: Path, cut: int) -> None:
    spool = FileSpool(tmp_path / "spool")
    spool.keep(1, {"n": 1})
    spool.keep(2, {"n": 2})
    content = (tmp_path / "spool").read_bytes()
    (tmp_path / "spool").write_bytes(content[: -min(cut, len(content) // 2)])
    again = FileSpool(tmp_path / "spool")
    assert again.load() == {1: {"n": 1}}
    again.keep(2, {"n": 3})
    assert FileSpool(tmp_path / "spool").load() == {1: {"n": 1}, 2: {"n": 3}}


def test_rubbish_in_the_file_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "spool").write_bytes(b'[]\n{"n":"x","record":{}}\n\xff\n{"n":7,"record":{"a":1}}\n{"settled":5}\n')
    assert FileSpool(tmp_path / "spool").load() == {7: {"a": 1}}


class FullDisk:
    """A spool whose disk is full."""

    def load(self) -> dict[int, dict[str, Any]]:
        return {}

    def keep(self, _number: int, _record: Any) -> None:
        raise OSError("no space left on device")

    def settle(self, _numbers: Any) -> None:
        pass


@pytest.mark.parametrize(("spool", "durable"), [(None, False), (FullDisk(), False)])
def test_it_is_said_when_a_record_is_kept_in_memory_only(tmp_path: Path, spool: Spool | None, durable: bool) -> None:
    with PaymentClient(tmp_path / "s.sock", spool=spool) as client:
        with pytest.raises(AgentSilent) as caught:
            client.record(sale())
        assert caught.value.durable is durable
        assert len(client.pending) == 1


def test_the_folder_parses_under_an_older_python() -> None:
    files = sorted((ROOT / "agent" / "payment_app").glob("*.py"))
    assert len(files) > 8
    for file in files:
        ast.parse(file.read_text(), str(file), feature_version=(3, 8))
        assert "strict=" not in file.read_text()
