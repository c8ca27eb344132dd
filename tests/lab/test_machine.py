"""Acts on units and on the machine under a real systemd: the agent's adapter asks as its user, root's helper acts."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.lab.terminal import AGENT_PYTHON, Terminal

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300), pytest.mark.usefixtures("own_boot_id")]

# Run as the agent's user and with its groups, but outside its unit: so it sees the end of a restart of that unit too.
ADAPTER = """
import asyncio, json, sys
from pathlib import Path
import msgspec
from agent.errors import Refused, Unavailable
from agent.machine.systemd import SystemdMachine
from agent.runtime.clock import SystemClock
units = frozenset({"payment.service", "systemd-journald.service"})
machine = SystemdMachine(Path("/run/pos-agent"), SystemClock(), units=units, own_unit="pos-agent.service")
try:
    state = asyncio.run(getattr(machine, sys.argv[1])(*sys.argv[2:]))
    print(json.dumps({"state": msgspec.to_builtins(state)}))
except Refused as err:
    print(json.dumps({"refused": err.reason, "text": err.message}))
except Unavailable as err:
    print(json.dumps({"unavailable": err.message}))
"""


def ask(terminal: Terminal, *arguments: str) -> dict[str, Any]:
    """One method of the adapter; ``state``, ``refused`` or ``unavailable``."""
    said = terminal.run_as("pos-agent", [], AGENT_PYTHON, "-I", "-c", ADAPTER, *arguments)
    answer: dict[str, Any] = json.loads(said)
    return answer


def starts(terminal: Terminal) -> int:
    """How often the payment application was started."""
    return len(terminal.run("cat", "/var/lib/payment/starts").split())


def refusals(terminal: Terminal) -> int:
    """How many requests were refused for their form since the boot."""
    return terminal.journal("pos-agent-machine.service").count("refused a request")


def settled(terminal: Terminal) -> None:
    """Until the helper has nothing to do any more."""
    folder = "/run/pos-agent/machine/requests"
    terminal.wait(lambda: terminal.run("ls", "-A", folder, check=False) == "", what="an empty folder of requests")
    terminal.wait(lambda: terminal.show("pos-agent-machine.service", "ActiveState") != "activating", what="its end")


def test_a_listed_unit_is_restarted_once_however_often_it_is_asked(terminal: Terminal) -> None:
    terminal.wait(lambda: starts(terminal) == 1, what="the application's first start")
    before = ask(terminal, "unit_state", "payment.service")["state"]
    assert before["active"] == "active"
    assert str(before["main_pid"]) == terminal.show("payment.service", "MainPID")
    after = ask(terminal, "restart", "payment.service", "cmd-restart")["state"]
    assert (after["active"], after["main_pid"] != before["main_pid"]) == ("active", True)
    assert after["invocation"] == terminal.show("payment.service", "InvocationID") != before["invocation"]
    assert ask(terminal, "restart", "payment.service", "cmd-restart")["state"] == after
    terminal.wait(lambda: starts(terminal) == 2, what="the second start")


def test_reinitialise_empties_the_cache_and_keeps_the_state(terminal: Terminal) -> None:
    terminal.run("sh", "-c", "mkdir /var/cache/payment/deep && echo old > /var/cache/payment/deep/menu")
    before = starts(terminal)
    state = ask(terminal, "reinitialise", "payment.service", "cmd-reinit")["state"]
    assert state["active"] == "active"
    terminal.wait(lambda: starts(terminal) == before + 1, what="the next start")
    terminal.wait(lambda: terminal.run("ls", "/var/cache/payment") == "menu\n", what="a fresh cache")


def test_the_agent_restarts_its_own_unit_once(terminal: Terminal) -> None:
    before = terminal.show("pos-agent.service", "MainPID")
    state = ask(terminal, "restart", "pos-agent.service", "cmd-service")["state"]
    assert str(state["main_pid"]) == terminal.show("pos-agent.service", "MainPID") != before
    assert ask(terminal, "restart", "pos-agent.service", "cmd-service")["state"] == state
    assert terminal.show("pos-agent.service", "NRestarts") == "0"  # asked for, not brought back


def test_a_unit_that_only_the_agents_list_names_is_refused_by_roots(terminal: Terminal) -> None:
    before = terminal.show("systemd-journald.service", "MainPID")
    answer = ask(terminal, "restart", "systemd-journald.service", "cmd-journald")
    assert answer["refused"] == "INVALID_ARGUMENTS"
    assert "machine.toml" in answer["text"]
    assert terminal.show("systemd-journald.service", "MainPID") == before


def test_a_list_that_others_may_write_allows_nothing(terminal: Terminal) -> None:
    before = starts(terminal)
    terminal.run("chmod", "0666", "/etc/pos-agent/machine.toml")
    try:
        assert ask(terminal, "restart", "payment.service", "cmd-unsafe")["refused"] == "STEP_FAILED"
    finally:
        terminal.run("chmod", "0644", "/etc/pos-agent/machine.toml")
    assert starts(terminal) == before
    assert "state" in ask(terminal, "restart", "payment.service", "cmd-unsafe")


def test_a_unit_that_does_not_come_up_is_reported_as_such(terminal: Terminal) -> None:
    terminal.run("mv", "/opt/payment/application.py", "/opt/payment/gone.py")
    terminal.run("sh", "-c", "mkdir -p /run/systemd/system/payment.service.d")
    broken = "[Service]\\nType=notify\\nRestart=no\\n"
    terminal.run(
        "sh", "-c", f"printf '{broken}' > /run/systemd/system/payment.service.d/x.conf; systemctl daemon-reload"
    )
    try:
        assert ask(terminal, "restart", "payment.service", "cmd-broken")["refused"] == "STEP_FAILED"
    finally:
        terminal.run("mv", "/opt/payment/gone.py", "/opt/payment/application.py")
        terminal.run("rm", "-r", "/run/systemd/system/payment.service.d")
        terminal.run("systemctl", "daemon-reload")
    assert ask(terminal, "restart", "payment.service", "cmd-broken")["refused"] == "STEP_FAILED"  # not repeated
    assert ask(terminal, "restart", "payment.service", "cmd-mended")["state"]["active"] == "active"


REQUEST = '{"ask":"0123456789abcdef0123456789abcdef","act":{"order_id":"%s","verb":"%s","unit":"%s"}}'
HOSTILE = {
    "a link to a file of root's": "ln -s /etc/shadow $R/a.json",
    "a pipe": "mkfifo $R/b.json",
    "a folder": "mkdir $R/c.json",
    "too long": "head -c 100000 /dev/zero > $R/d.json",
    "no JSON": "echo nonsense > $R/e.json",
    "another verb": f"echo '{REQUEST % ('f', 'poweroff', 'payment.service')}' > $R/f.json",
    "an option as a unit": f"echo '{REQUEST % ('g', 'restart', '--force.service')}' > $R/g.json",
    "a path as a unit": f"echo '{REQUEST % ('h', 'restart', '../payment.service')}' > $R/h.json",
    "another's name": f"echo '{REQUEST % ('i', 'restart', 'payment.service')}' > $R/j.json",
    "a name with a line end": 'echo x > "$R/k\nl.json"',
}


@pytest.mark.parametrize("shell", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_request_does_nothing_and_goes(terminal: Terminal, shell: str) -> None:
    before, said = starts(terminal), refusals(terminal)
    asked = f"R=/run/pos-agent/machine/requests; mkdir -p $R; {shell}"
    terminal.run_as("pos-agent", [], "sh", "-c", asked)
    settled(terminal)
    assert starts(terminal) == before
    assert terminal.show("pos-agent-machine.path", "ActiveState") == "active"
    terminal.wait(lambda: refusals(terminal) == said + 1, what="a refusal in the log")


def test_a_request_of_somebody_else_is_not_even_possible(terminal: Terminal) -> None:
    said = terminal.run_as("stranger", [], "sh", "-c", "echo x > /run/pos-agent/machine/requests/x.json", check=False)
    assert said == ""
    assert terminal.run("ls", "-A", "/run/pos-agent/machine/requests") == ""
    writing = terminal.run_as(
        "pos-agent", [], "sh", "-c", "echo x > /run/pos-agent-machine/x.json || echo no", check=False
    )
    assert writing == "no\n"


def test_a_reboot_happens_once_an_order_and_not_again_within_ten_minutes(terminal: Terminal) -> None:
    order = [AGENT_PYTHON, "-I", "-c", ADAPTER, "reboot", "cmd-reboot"]
    # It is answered or ended by the reboot, whichever comes first.
    terminal.reboot(lambda: terminal.run_as("pos-agent", [], *order, check=False))
    assert ask(terminal, "reboot", "cmd-reboot") == {"state": None}  # done: the boot id says so
    assert ask(terminal, "reboot", "cmd-again")["refused"] == "TOO_MANY_TRIES"
    acts = json.loads(terminal.run("cat", "/var/lib/pos-agent-machine/acts.json"))["entries"]
    assert [one["act"]["order_id"] for one in acts].count("cmd-reboot") == 1
