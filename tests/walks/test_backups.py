"""Backups by a real agent on real media: within seconds, through full, protected and pulled-out media and kills."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.backup import age
from agent.backup.file_format import Entry, read_compressed
from tests.kit.agent_process import AgentProcess, call
from tests.kit.contract_peer import eventually, is_root, sale
from tests.kit.https_place import HttpsPlace

KEY = age.present().generate()
QUICK = {"recipients": [KEY.public], "segment_after_s": 1.0}
AS_ROOT = pytest.mark.skipif(not is_root(), reason="mounts file systems")


class Shop:
    """An agent with places for backups."""

    def __init__(self, folder: Path, backup: dict[str, Any]) -> None:
        self.agent = AgentProcess(folder, {"backup": {**QUICK, **backup}, "health": {"interval_s": 0.5}})
        self.recorded: list[str] = []

    def sell(self, count: int = 1) -> None:
        for _ in range(count):
            record = sale()
            answer = call(self.agent.run / "payment.sock", "transaction.record", record)
            assert "result" in answer, answer
            self.recorded.append(record["transaction_id"])

    def ask(self, method: str, **params: Any) -> Any:
        answer = call(self.agent.run / "control.sock", method, params)
        assert "result" in answer, answer
        return answer["result"]

    def order(self, method: str, **params: Any) -> dict[str, Any]:
        """Give the order and wait for its end."""
        state: dict[str, Any] = self.ask(method, **params)
        while state["state"] in ("accepted", "waiting", "running"):
            time.sleep(0.05)
            state = self.ask("command.get", command_id=state["command_id"])
        return state

    def covered(self, target: str = "card") -> int:
        (found,) = [one for one in self.ask("backup.list")["targets"] if one["name"] == target]
        return int(found["backed_up_upto"])

    def all_covered(self, target: str = "card") -> bool:
        return self.covered(target) == len(self.recorded)

    def faults(self) -> set[tuple[str, str]]:
        return {(one["code"], one["device"]) for one in self.ask("health.get")["faults"]}

    def is_protected(self) -> bool:
        view = call(self.agent.run / "payment.sock", "transaction.get", {"transaction_id": self.recorded[-1]})
        return bool(view["result"]["copies"]["backup"])

    def __enter__(self) -> Shop:
        self.agent.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.agent.close()


def _folder(name: str, path: Path, **more: str) -> dict[str, str]:
    return {"name": name, "path": str(path), **more}


def _media(tmp_path: Path, name: str = "media") -> Path:
    path = tmp_path / name
    path.mkdir()
    return path


def _restored(media: Path) -> list[str]:
    """Ids of the transactions in the order of entries, out of all files; each must be whole and readable."""
    found: dict[int, str] = {}
    for path in sorted(media.rglob("*.age")):
        with path.open("rb") as file, age.present().decrypting(file, [KEY.secret]) as stream:
            for part in read_compressed(stream):
                if isinstance(part, Entry):
                    found[part.seq] = part.item.record["transaction_id"]
    assert sorted(found) == list(range(1, len(found) + 1))
    return [found[sequence] for sequence in sorted(found)]


def _children(agent: AgentProcess) -> list[int]:
    assert agent.process is not None
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"PPid:\t{agent.process.pid}\n" in (folder / "status").read_text():
                found.append(int(folder.name))
    return found


def test_a_record_is_in_a_verified_backup_within_seconds_and_everything_restores(tmp_path: Path) -> None:
    media = _media(tmp_path)
    with Shop(tmp_path, {"folder": [_folder("card", media)]}) as shop:
        shop.sell(3)
        eventually(shop.is_protected, "the records are in a backup")
        shop.sell(2)
        eventually(lambda: shop.all_covered() and shop.is_protected(), "the later ones, too")
        made = shop.order("backup.run", kind="snapshot", reason="before an update")
        assert (made["state"], made["name"]) == ("succeeded", "backup")
        (file,) = made["result"]["files"]
        assert (file["kind"], file["upto_seq"]) == ("snapshot", 5)
        assert shop.order("backup.run", kind="segment")["result"] == {"files": [], "problems": []}  # nothing new
        assert shop.order("backup.verify")["state"] == "succeeded"
        target = media / file["file"]
        content = bytearray(target.read_bytes())
        content[50] ^= 1
        target.write_bytes(content)
        bad = shop.order("backup.verify", backup_id=file["backup_id"])
        assert (bad["state"], bad["reason"]["code"]) == ("failed", "NOT_VERIFIED")
        (listed,) = [one for one in shop.ask("backup.list")["items"] if one["backup_id"] == file["backup_id"]]
        assert (listed["verified_at"], listed["problem"]) == (None, "other bytes of the same number")
        target.unlink()
        eventually(shop.all_covered, "what the lost file held is backed up again")
        assert _restored(media) == shop.recorded


def test_orders_that_cannot_be_carried_out_are_refused(tmp_path: Path) -> None:
    with Shop(tmp_path, {"folder": [_folder("card", _media(tmp_path))]}) as shop:
        state = shop.order("backup.run", kind="segment", target="vault")
        assert (state["state"], state["reason"]["code"]) == ("rejected", "INVALID_ARGUMENTS")
        missing = "0192f6d0-7c1e-7000-8000-000000000001"
        state = shop.order("backup.verify", backup_id=missing, command_id="my-order")
        assert (state["command_id"], state["state"]) == ("my-order", "failed")
        for method, params in (
            ("backup.run", {}),
            ("backup.run", {"kind": "full"}),
            ("backup.verify", {"backup_id": "1"}),
            ("backup.list", {"cursor": "1"}),
        ):
            answer = call(shop.agent.run / "control.sock", method, params)
            assert answer["error"]["data"]["code"] == "BAD_PARAMS", answer


def test_a_broken_place_is_told_and_holds_the_other_up_in_nothing(tmp_path: Path) -> None:
    media, missing = _media(tmp_path), tmp_path / "missing"
    with Shop(tmp_path, {"folder": [_folder("card", media), _folder("stick", missing)]}) as shop:
        shop.sell(3)
        eventually(shop.is_protected, "the good place has it")
        eventually(lambda: ("TXN-BKP-002", "stick") in shop.faults(), "the broken one is told")
        assert ("TXN-BKP-002", "card") not in shop.faults()
        made = shop.order("backup.run", kind="snapshot")
        assert [one["target"] for one in made["result"]["files"]] == ["card"]
        assert [one["target"] for one in made["result"]["problems"]] == ["stick"]
        assert shop.order("backup.run", kind="segment", target="stick")["state"] == "failed"
        missing.mkdir()
        shop.order("backup.run", kind="segment", target="stick")
        assert shop.covered("stick") == 3
        eventually(lambda: ("TXN-BKP-002", "stick") not in shop.faults(), "the fault is over")
        assert _restored(missing) == shop.recorded


def test_a_place_that_is_not_configured_any_more_has_no_fault(tmp_path: Path) -> None:
    shop = Shop(tmp_path, {"folder": [_folder("stick", tmp_path / "missing")]})
    with shop:
        shop.sell()
        eventually(lambda: ("TXN-BKP-002", "stick") in shop.faults(), "told")
        shop.agent.stop()
        shop.agent.write_config({})
        shop.agent.start()
        eventually(lambda: ("TXN-BKP-002", "stick") not in shop.faults(), "over")


def test_a_killed_child_counts_for_nothing_and_the_next_one_cleans_up(tmp_path: Path) -> None:
    media = _media(tmp_path)
    with Shop(tmp_path, {"folder": [_folder("card", media)], "segment_after_s": 3600.0}) as shop:
        shop.sell(3)
        killed = 0
        deadline = time.monotonic() + 30
        while killed < 3 and time.monotonic() < deadline:
            state = shop.ask("backup.run", kind="snapshot")
            while shop.ask("command.get", command_id=state["command_id"])["state"] in ("accepted", "running"):
                if list(media.rglob("*.part")):
                    for pid in _children(shop.agent):
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(pid, signal.SIGKILL)
                    break
            state = shop.order("command.get", command_id=state["command_id"])
            killed += state["state"] == "failed"
        assert killed == 3
        shop.order("backup.run", kind="snapshot")
        assert not list(media.rglob("*.part"))
        listed = {one["file"] for one in shop.ask("backup.list")["items"]}
        assert listed == {str(path.relative_to(media)) for path in media.rglob("*.age")}
        assert _restored(media) == shop.recorded


def test_an_agent_that_dies_between_the_file_and_its_row_loses_and_doubles_nothing(tmp_path: Path) -> None:
    media = _media(tmp_path)
    shop = Shop(tmp_path, {"folder": [_folder("card", media)]})
    with shop:
        shop.sell(2)
        eventually(shop.is_protected, "a first backup")
        for _ in range(3):
            shop.sell(2)
            files = set(media.rglob("*.age"))
            while not set(media.rglob("*.age")) - files:
                time.sleep(0.002)
            shop.agent.kill()
            shop.agent.start()
        eventually(lambda: shop.all_covered() and shop.is_protected(), "everything is in a backup")
        assert _restored(media) == shop.recorded
        shop.order("backup.run", kind="snapshot")
        listed = {one["file"] for one in shop.ask("backup.list")["items"]}
        assert listed == {str(path.relative_to(media)) for path in media.rglob("*.age")}


class Tmpfs:
    """A medium of 256 KiB that can be pulled out; ``device`` stands for the link by its path."""

    def __init__(self, folder: Path) -> None:
        self.device = folder / "by-path"
        self.device.write_bytes(b"")
        self.path = folder / "medium"
        self.path.mkdir()

    def mount(self) -> None:
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=256k", str(self.device), str(self.path)], check=True, timeout=10
        )

    def set(self, options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", str(self.path)], check=True, timeout=10)

    def unmount(self) -> None:
        """Also in the middle of a write: as if pulled out."""
        subprocess.run(["umount", "-l", str(self.path)], check=False, capture_output=True, timeout=10)


@pytest.fixture(name="medium")
def _medium(tmp_path: Path) -> Iterator[Tmpfs]:
    medium = Tmpfs(tmp_path)
    medium.mount()
    yield medium
    medium.unmount()


@AS_ROOT
def test_a_full_medium_is_told_does_no_harm_and_is_used_again_when_there_is_room(tmp_path: Path, medium: Tmpfs) -> None:
    with Shop(tmp_path, {"folder": [_folder("card", medium.path, device=str(medium.device))]}) as shop:
        shop.sell(2)
        eventually(shop.is_protected, "a first backup")
        ballast = medium.path / "somebody's"
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        shop.sell(2)
        eventually(lambda: ("TXN-BKP-002", "card") in shop.faults(), "a full medium is told")
        shop.sell(2)  # recording goes on
        assert not list(medium.path.rglob("*.part"))
        assert ballast.stat().st_size > 0
        ballast.unlink()
        eventually(shop.all_covered, "it goes on by itself", timeout_s=30)
        eventually(lambda: ("TXN-BKP-002", "card") not in shop.faults(), "the fault is over")
        assert _restored(medium.path) == shop.recorded


@AS_ROOT
def test_a_medium_that_is_write_protected_is_told_and_used_again_afterwards(tmp_path: Path, medium: Tmpfs) -> None:
    with Shop(tmp_path, {"folder": [_folder("card", medium.path, device=str(medium.device))]}) as shop:
        medium.set("ro")
        shop.sell(2)
        eventually(lambda: ("TXN-BKP-002", "card") in shop.faults(), "told")
        medium.set("rw")
        made = shop.order("backup.run", kind="segment")  # at once, when somebody orders it
        assert [one["upto_seq"] for one in made["result"]["files"]] == [2]
        eventually(lambda: ("TXN-BKP-002", "card") not in shop.faults(), "the fault is over")


@AS_ROOT
def test_a_medium_pulled_out_leaves_the_mount_point_empty_and_catches_up_when_it_is_back(
    tmp_path: Path, medium: Tmpfs
) -> None:
    with Shop(tmp_path, {"folder": [_folder("card", medium.path, device=str(medium.device))]}) as shop:
        shop.sell(2)
        eventually(shop.is_protected, "a first backup")
        for _ in range(3):
            state = shop.ask("backup.run", kind="snapshot")
            while shop.ask("command.get", command_id=state["command_id"])["state"] in ("accepted", "running"):
                if list(medium.path.rglob("*.part")):
                    medium.unmount()
                    break
            else:
                medium.unmount()
            shop.order("command.get", command_id=state["command_id"])
            shop.sell(1)
            shop.order("backup.run", kind="segment")
            assert not os.listdir(medium.path)  # the empty mount point
            assert ("TXN-BKP-002", "card") in shop.faults()
            medium.mount()  # another medium of the same place: nothing is on it
            shop.order("backup.verify")  # what was there is gone …
            shop.order("backup.run", kind="snapshot")
            assert shop.all_covered()  # … and everything is there again
        assert _restored(medium.path) == shop.recorded


def test_a_server_gets_everything_and_is_caught_up_with_after_an_outage(tmp_path: Path) -> None:
    with HttpsPlace(tmp_path / "server") as server:
        place = {"name": "vault", "url": server.url, "ca_file": str(server.authority.file)}
        with Shop(tmp_path, {"server": [place]}) as shop:
            shop.sell(2)
            eventually(shop.is_protected, "a first backup")
            server.fault("503")
            shop.sell(2)
            eventually(lambda: ("TXN-BKP-002", "vault") in shop.faults(), "an outage is told")
            server.fault("other-get")
            assert shop.order("backup.run", kind="segment")["state"] == "failed"
            assert not shop.all_covered("vault")
            server.fault(None)
            shop.order("backup.run", kind="segment")
            assert shop.all_covered("vault")
            assert shop.order("backup.run", kind="snapshot")["state"] == "succeeded"
            assert shop.order("backup.verify")["state"] == "succeeded"
        assert _restored(server.folder) == shop.recorded
