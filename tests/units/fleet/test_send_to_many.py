"""`posctl fleet send` to twenty terminals on a real broker: one order each, whatever breaks in the middle."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import pytest

from agent.ctl.__main__ import main
from tests.kit.broker import Broker, free_port
from tests.units.fleet.fake_terminal import COMMAND_TYPE, FakeTerminal, open_envelope, public_keys

NAMES = [f"T-{n:02}" for n in range(1, 21)]
REASON = {"code": "DEVICE_UNKNOWN", "text": "no such device"}
REJECTING: list[dict[str, Any]] = [{"state": "accepted"}, {"state": "rejected", "reason": REASON}]
CHECK = ["check_device", "device=printer-0", "level=internal"]
WAIT_S = 60.0


def where(port: int, site: str, *keys: Path) -> list[str]:
    signing = [word for key in keys for word in ("--key", str(key))]
    return ["fleet", "send", "--broker", f"127.0.0.1:{port}", "--site", site, *signing]


@contextlib.contextmanager
def shop(
    port: int, site: str, key: Path, *, held: bool = False, but: Mapping[str, list[dict[str, Any]]] | None = None
) -> Iterator[list[FakeTerminal]]:
    """Twenty terminals; ``but``: name → other answers."""
    keys = public_keys([key])
    with contextlib.ExitStack() as stack:
        terminals = [FakeTerminal(port, name, keys, site=site, held=held) for name in NAMES]
        for terminal, name in zip(terminals, NAMES, strict=True):
            if name in (but or {}):
                terminal.answer_from_now_on((but or {})[name])
            stack.enter_context(terminal)
        yield terminals


@contextlib.contextmanager
def sending(*words: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "agent.ctl", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=20)


def read(stream: IO[str] | None, wanted: str, times: int = 1) -> None:
    """Read until ``wanted`` came in so many lines; pytest has the deadline."""
    assert stream is not None
    for line in stream:
        times -= wanted in line
        if times <= 0:
            return
    raise AssertionError(f"{wanted!r} came too seldom")


def until(condition: Callable[[], bool], what: str) -> None:
    deadline_s = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline_s, what
        time.sleep(0.02)


def test_twenty_terminals_get_an_order_each_and_all_are_seen_to_their_ends(
    broker_port: int, key: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = tmp_path / "terminals"
    listed.write_text("".join(f"{name} SN-{name}\n" for name in NAMES[10:]))
    with shop(broker_port, "many-1", key) as terminals:
        words = [*CHECK, *NAMES[:9], NAMES[9], f"@{listed}", "--wait", "60s", "--window", "22:00-05:00"]
        assert main([*where(broker_port, "many-1", key), *words]) == 0
    orders = [terminal.orders[0] for terminal in terminals]
    assert [len(terminal.orders) for terminal in terminals] == [1] * 20
    assert [order["target"]["terminal"] for order in orders] == NAMES
    assert [order["target"].get("serial") for order in orders] == [None] * 10 + [f"SN-{name}" for name in NAMES[10:]]
    assert len({order["command_id"] for order in orders}) == 20
    assert {json.dumps(order["arguments"]) for order in orders} == {'{"device": "printer-0", "level": "internal"}'}
    assert not any(flag for terminal in terminals for flag in terminal.was_retained)
    out = capsys.readouterr().out
    assert "20 terminals: 20 succeeded" in out


def test_one_that_is_silent_and_one_that_rejects_are_told_apart(
    broker_port: int, key: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    but = {"T-07": [], "T-13": REJECTING}
    capsys.readouterr()
    with shop(broker_port, "many-2", key, but=but):
        code = main([*where(broker_port, "many-2", key), "ping", ",".join(NAMES), "--wait", "6s", "--json"])
    assert code == 1
    shown = json.loads(capsys.readouterr().out)
    assert shown["counts"] == {"succeeded": 18, "rejected": 1, "no answer": 1}
    states = {one["terminal"]: one["state"] for one in shown["terminals"]}
    assert states["T-07"] is None
    assert states["T-13"]["reason"] == REASON
    assert shown["outcome"] == "failed"


def test_a_broker_that_dies_in_the_middle_makes_no_order_twice(own_broker: Broker, key: Path) -> None:
    words = [*where(own_broker.port, "many-3", key), "ping", *NAMES, "--wait", "90s"]
    with shop(own_broker.port, "many-3", key, held=True) as terminals, sending(*words) as process:
        read(process.stdout, ": accepted", times=12)
        own_broker.kill()
        read(process.stderr, "trying again")
        for terminal in terminals[:10]:
            terminal.release()  # while nobody can hear it
        own_broker.start()
        until(lambda: all(terminal.done for terminal in terminals), "not everybody got it")
        for terminal in terminals[10:]:
            terminal.release()
        out, err = process.communicate(timeout=90)
        assert process.returncode == 0, err
    assert "20 succeeded" in out
    assert "Traceback" not in err
    assert [len(terminal.done) for terminal in terminals] == [1] * 20  # one id each, however often it was sent
    assert all(len(set(terminal.envelopes)) == 1 for terminal in terminals)


def test_a_second_run_goes_on_and_orders_nothing_twice(
    broker_port: int, key: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    batch = tmp_path / "monday.batch"
    first = [*where(broker_port, "many-4", key), *CHECK, *NAMES, "--batch", str(batch), "--wait", "6s"]
    with shop(broker_port, "many-4", key, but={"T-07": []}) as terminals:
        assert main(first) == 1
        assert f"--batch {batch}" in " ".join(capsys.readouterr().err.split())
        ids = {
            one["terminal"]: one["command_id"] for one in json.loads(batch.read_text().splitlines()[0])["recipients"]
        }
        late = terminals[6]
        late.answer_from_now_on([{"state": "accepted"}, {"state": "succeeded"}])
        assert main([*where(broker_port, "many-4", key), "--batch", str(batch), "--wait", "20s"]) == 0
        assert main([*where(broker_port, "many-4", key), "--batch", str(batch), "--wait", "20s"]) == 0  # nothing left
    assert Counter(len(terminal.envelopes) for terminal in terminals) == {1: 19, 2: 1}
    assert len(set(late.envelopes)) == 1
    assert {terminal.orders[0]["command_id"] for terminal in terminals} == set(ids.values())
    assert late.orders[0]["command_id"] == ids["T-07"]


def test_posctl_killed_in_the_middle_can_be_run_again(broker_port: int, key: Path, tmp_path: Path) -> None:
    batch = tmp_path / "batch"
    place = where(broker_port, "many-5", key)
    with shop(broker_port, "many-5", key, held=True) as terminals:
        words = ["ping", *NAMES, "--batch", str(batch), "--wait", "60s", "--at-once", "3"]
        with sending(*place, *words) as process:
            read(process.stdout, ": accepted", times=3)
            assert sum(len(terminal.orders) for terminal in terminals) == 3  # no more at work at once
            process.send_signal(signal.SIGKILL)
            process.wait(20)
        for terminal in terminals:
            terminal.release()
        assert main([*place, "--batch", str(batch), "--wait", "60s"]) == 0
    assert [len(terminal.done) for terminal in terminals] == [1] * 20


def test_no_more_terminals_are_at_work_than_allowed(broker_port: int, key: Path) -> None:
    words = [*where(broker_port, "many-6", key), "ping", *NAMES, "--wait", "60s", "--at-once", "4"]
    with shop(broker_port, "many-6", key, held=True) as terminals, sending(*words) as process:

        def at_work() -> list[FakeTerminal]:
            return [terminal for terminal in terminals if terminal.orders and terminal.is_held]

        for _ in range(5):
            until(lambda: len(at_work()) == 4, "not four at work")
            read(process.stdout, ": accepted", times=4)
            for terminal in at_work():
                terminal.release()
        process.communicate(timeout=60)
        assert process.returncode == 0


def test_a_terminal_that_comes_online_late_gets_what_its_broker_had_no_place_for(broker_port: int, key: Path) -> None:
    place = where(broker_port, "many-14", key)
    with sending(*place, "ping", "T-EARLY", "T-LATE", "--wait", "60s") as process:
        early = FakeTerminal(broker_port, "T-EARLY", public_keys([key]), site="many-14")
        late = FakeTerminal(broker_port, "T-LATE", public_keys([key]), site="many-14")
        read(process.stdout, ": sent ping", times=2)  # nobody subscribed: the broker has thrown both away
        for terminal, name in ((early, "T-EARLY"), (late, "T-LATE")):
            with terminal:
                terminal.publish("agent/status", {"online": True, "conn": 7}, retain=True)
                read(process.stdout, f"{name}: succeeded")
        process.communicate(timeout=60)
        assert process.returncode == 0
    assert [len(terminal.orders) for terminal in (early, late)] == [1, 1]


def test_two_people_where_two_must_sign(broker_port: int, key: Path, tmp_path: Path) -> None:
    words = ["--out", str(tmp_path), "--person", "ana", "--organisation", "b", "--roles", "operator"]
    assert main(["fleet", "keys", "new", *words]) == 0
    both = [key, tmp_path / "ana.key.json"]
    names = ["T-A", "T-B"]
    order = ["reset", "level=reboot", "force=true", *names, "--wait", "20s"]
    with contextlib.ExitStack() as stack:
        terminals = [
            stack.enter_context(FakeTerminal(broker_port, name, public_keys(both), site="many-7", people=2))
            for name in names
        ]
        assert main([*where(broker_port, "many-7", key), *order]) == 4
        assert main([*where(broker_port, "many-7", *both), *order]) == 0
    assert [terminal.orders[0]["command_id"] != terminal.orders[1]["command_id"] for terminal in terminals] == [
        True
    ] * 2


def test_every_terminal_that_the_broker_knows(broker_port: int, key: Path) -> None:
    status = {"agent/status": {"online": True, "conn": 1}}
    keys = public_keys([key])
    with (
        FakeTerminal(broker_port, "T-A", keys, site="many-8", retained=status) as one,
        FakeTerminal(broker_port, "T-B", keys, site="many-8", retained=status) as two,
        FakeTerminal(broker_port, "T-C", keys, site="many-8b", retained=status) as elsewhere,
    ):
        place = where(broker_port, "many-8", key)
        assert main([*place, "reset", "level=reboot", "--every", "--wait", "20s"]) == 0
        assert main([*where(broker_port, "many-nowhere", key), "ping", "--every"]) == 2
    assert [len(terminal.orders) for terminal in (one, two, elsewhere)] == [1, 1, 0]
    assert one.orders[0]["command_id"] != two.orders[0]["command_id"]


def test_a_dry_run_says_who_would_get_what_and_sends_nothing(
    key: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    batch = tmp_path / "batch"
    place = where(free_port(), "many-9", key)
    words = [*CHECK, *NAMES, "--batch", str(batch), "--dry-run"]
    capsys.readouterr()
    assert main([*place, *words]) == 0
    out = capsys.readouterr().out
    assert "would go to 20, signed by li-wei; nothing was sent" in out
    assert main([*place, *words, "--json"]) == 0
    assert [one["terminal"] for one in json.loads(capsys.readouterr().out)["would_send"]] == NAMES
    assert not batch.exists()


def test_printed_orders_are_good_for_each_terminal(key: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main([*where(free_port(), "many-9", key), "ping", *NAMES, "--print"]) == 0
    opened = [
        open_envelope(line.encode(), public_keys([key]), COMMAND_TYPE) for line in capsys.readouterr().out.splitlines()
    ]
    assert [(order["target"]["terminal"], good) for order, good in opened] == [(name, 1) for name in NAMES]


def test_orders_to_be_carried_by_hand_are_kept_as_a_batch_too(
    broker_port: int, key: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place, batch = where(broker_port, "many-13", key), tmp_path / "batch"
    capsys.readouterr()
    assert main([*place, "ping", "T-A", "T-B", "--batch", str(batch), "--print"]) == 0
    printed = capsys.readouterr().out
    assert main([*place, "--batch", str(batch), "--print"]) == 0
    assert capsys.readouterr().out == printed


def test_a_batch_that_expired_is_only_asked_about(
    broker_port: int, key: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    batch, place = tmp_path / "batch", where(broker_port, "many-10", key)
    with FakeTerminal(broker_port, "T-A", public_keys([key]), site="many-10") as terminal:
        assert main([*place, "ping", "T-A", "T-B", "--batch", str(batch), "--expires", "1s", "--wait", "1s"]) == 1
        expired_s = time.time() + 1
        until(lambda: time.time() > expired_s, "the clock stands still")
        capsys.readouterr()
        assert main([*place, "--batch", str(batch), "--wait", "1s"]) == 1
        captured = capsys.readouterr()
        assert "has expired" in captured.err
        assert main([*place, "--batch", str(batch)]) == 2
    assert len(terminal.orders) == 1


@pytest.mark.parametrize(
    "words",
    [
        ["ping"],
        ["T-1"],
        ["ping", "T-1", "T/2"],
        ["ping", "T-1", "_all"],
        ["ping", "T-1", "--terminal", "T-2"],
        ["ping", "T-1", "--every"],
        ["ping", "@/nowhere"],
        ["reset", "_all", "level=reboot"],
        ["check_device", "device=p", "level=external", "_all"],
        ["reset", "T-1"],
        ["reset", "level=device", "T-1"],
        ["ping", "extra=1", "T-1"],
        ["reinit", "scope=terminal", "T-1"],
        ["reinit", "scope=terminal", "T-1", "T-2", "--serial", "SN1"],
        ["reinit", "scope=terminal", "T-1", "T-2", "--serial", "T-1=SN1"],
        ["ping", "T-1", "--expires", "31d"],
        ["ping", "T-1", "--retain"],
        ["ping", "T-1", "--at-once", "0"],
        ["ping", "T-1", "T-2", "--command-id", "019aa43e-0c00-7000-8000-000000000001"],
        ["ping", "T-1", "--command-id", "019aa43e-0c00-7000-8000-000000000001"],  # issued long ago: expired
        ["ping", "T-1", "--batch", "/nowhere/batch"],
    ],
    ids=" ".join,
)
def test_wrong_use_exits_2_before_anybody_is_asked(words: list[str], key: Path) -> None:
    assert main([*where(free_port(), "many-11", key), *words]) == 2


@pytest.mark.parametrize(
    "changed",
    [["rebirth"], ["ping", "T-1"], ["ping", "--expires", "2h"], ["ping", "--reason", "x"], ["ping", "a=1"]],
    ids=" ".join,
)
def test_a_batch_file_is_never_taken_for_another_order(
    changed: list[str], broker_port: int, key: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    batch, place = tmp_path / "batch", where(broker_port, "many-12", key)
    assert main([*place, "ping", "T-1", "T-2", "--batch", str(batch)]) == 0
    kept = batch.read_bytes()
    assert main([*place, *changed, "--batch", str(batch)]) == 2
    assert "another order" in capsys.readouterr().err
    assert batch.read_bytes() == kept
    assert main([*place, "ping", "T-2", "T-1", "--batch", str(batch)]) == 0
