"""The Debian package on a terminal: installed, configured, upgraded, removed; and what its bytecode is good for."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import tomli_w

import agent
from tests.lab.release import CONFIGURATION, build_package
from tests.lab.terminal import CommandFailed, Terminal
from tests.lab.test_service import UNIT, main_pid, pay, records

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

NEXT = f"{agent.__version__}.1"
CURRENT = "/opt/pos-agent/current"
RUN = f"{CURRENT}/bin/python {{more}} -I -OO -X pycache_prefix={CURRENT}/bytecode -m agent run"
EXAMPLES = "/usr/share/doc/pos-agent"


@pytest.fixture(scope="module")
def fresh(debian: Path, package: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    """Debian with two packages in a folder, none of them installed."""
    layer = tmp_path_factory.mktemp("packages")
    layer.chmod(0o755)
    (layer / "packages").mkdir()
    shutil.copy(package, layer / "packages/this.deb")
    shutil.copy(build_package(tmp_path_factory.mktemp("next"), NEXT), layer / "packages/next.deb")
    with Terminal(tmp_path_factory.mktemp("fresh"), [layer, debian]) as booted:
        for user in ("payer", "owner"):
            booted.run("useradd", "--system", user)
        yield booted


def install(terminal: Terminal, name: str) -> str:
    """What dpkg and the package say; the lab's Debian leaves out documents, and the examples are some."""
    return terminal.run("sh", "-c", f"dpkg --path-include='{EXAMPLES}/*' -i /packages/{name}.deb 2>&1")


def configure(terminal: Terminal) -> None:
    """As the package says it, with the values of this terminal."""
    terminal.run("cp", f"{EXAMPLES}/examples/agent.toml", "/etc/pos-agent/agent.toml")
    terminal.run("tee", "/etc/pos-agent/agent.toml", stdin=tomli_w.dumps(CONFIGURATION))
    terminal.run("pos-agent", "check-config")


def exists(terminal: Terminal, path: str) -> bool:
    """A file, folder or link of that name."""
    return terminal.run("sh", "-c", f"ls -d {path} 2>/dev/null || true").strip() != ""


def start_ms_and_rss_kib(terminal: Terminal) -> tuple[float, int]:
    """Of a start of the unit: from its process to READY; resident memory then."""
    terminal.run("systemctl", "restart", UNIT)
    began, ready = (terminal.show(UNIT, f"{name}TimestampMonotonic") for name in ("ExecMainStart", "ActiveEnter"))
    status = terminal.run("cat", f"/proc/{main_pid(terminal)}/status")
    fields = dict(line.split(":", 1) for line in status.splitlines())
    return (int(ready) - int(began)) / 1000, int(fields["VmRSS"].split()[0])


def test_a_package_is_installed_configured_upgraded_and_removed_and_no_record_is_lost(fresh: Terminal) -> None:
    # Installed: everything is there, and an unconfigured terminal is left alone, also at its next boot.
    said = install(fresh, "this")
    assert "not configured" in said
    assert fresh.show(UNIT, "ActiveState") == "inactive"
    assert fresh.run("systemctl", "is-enabled", UNIT).strip() == "enabled"
    assert fresh.run("pos-agent", "version").strip() == agent.__version__
    fresh.reboot()
    assert fresh.show(UNIT, "ActiveState") == "inactive"
    assert fresh.run("systemctl", "--failed", "--plain", "--no-legend").strip() == ""

    # Configured: it starts and takes records. A file of dpkg's is as it was packed.
    configure(fresh)
    fresh.run("systemctl", "start", UNIT)
    assert fresh.run("dpkg", "--verify", "pos-agent").strip() == ""
    for number in (1, 2, 3):
        pay(fresh, number)
    assert fresh.run("posctl", "ready", check=False).strip() != ""

    # Upgraded: another process of the next release, with the records; of the one before nothing is left.
    pid = main_pid(fresh)
    install(fresh, "next")
    assert main_pid(fresh) != pid
    assert fresh.run("readlink", CURRENT).strip() == f"releases/{NEXT}"
    assert fresh.run("ls", "-A", "/opt/pos-agent/releases").split() == [NEXT]
    assert fresh.run("pos-agent", "version").strip() == NEXT
    assert records(fresh) == 3
    assert pay(fresh, 3)["duplicate"] is True
    pay(fresh, 4)

    # What somebody had stopped stays stopped when the same package is installed again.
    fresh.run("systemctl", "stop", UNIT)
    install(fresh, "next")
    assert fresh.show(UNIT, "ActiveState") == "inactive"
    fresh.run("systemctl", "start", UNIT)

    # Removed, with all that it made but the journal; installed again, it runs at once, with every record.
    said = fresh.run("sh", "-c", "dpkg --remove pos-agent 2>&1")
    assert "warning" not in said
    assert fresh.show(UNIT, "ActiveState") == "inactive"
    assert not exists(fresh, "/opt/pos-agent")
    install(fresh, "this")  # an older release goes on with the journal of a newer one
    assert fresh.run("readlink", CURRENT).strip() == f"releases/{agent.__version__}"
    main_pid(fresh)
    assert records(fresh) == 4

    # Purged: still with the journal. Installed on a bad configuration it is not started, and says what is wrong.
    assert "is kept" in fresh.run("dpkg", "--purge", "pos-agent")
    assert not exists(fresh, "/etc/pos-agent/models")
    assert exists(fresh, "/var/lib/pos-agent/agent.db")
    fresh.run("tee", "/etc/pos-agent/agent.toml", stdin="[terminal]\nsiet = 1\n")
    said = install(fresh, "this")
    assert "siet" in said
    assert "Correct what is listed above" in said
    assert fresh.show(UNIT, "ActiveState") == "inactive"
    configure(fresh)
    fresh.run("systemctl", "start", UNIT)
    assert records(fresh) == 4


def test_an_upgrade_that_is_cut_off_leaves_an_agent_that_runs_and_can_be_given_up(terminal: Terminal) -> None:
    scripts = "/var/lib/dpkg/info/pos-agent"
    terminal.run(f"{scripts}.prerm", "upgrade", NEXT)
    folder = f"/opt/pos-agent/releases/{agent.__version__}"
    terminal.run("mv", folder, f"{folder}.away")  # as dpkg removes it
    terminal.reboot()
    pay(terminal, 10)
    terminal.run("mv", f"{folder}.away", folder)
    terminal.run(f"{scripts}.postinst", "abort-upgrade", NEXT)
    assert terminal.run("readlink", CURRENT).strip() == f"releases/{agent.__version__}"
    assert terminal.run("ls", "-A", "/opt/pos-agent/releases").split() == [agent.__version__]
    assert exists(terminal, f"{CURRENT}/bytecode/usr/lib/python3.11")


def test_a_newer_release_that_an_update_brought_stays_the_current_one(terminal: Terminal, package: Path) -> None:
    newer = f"releases/{NEXT}"
    terminal.run("cp", "-a", f"/opt/pos-agent/releases/{agent.__version__}", f"/opt/pos-agent/{newer}")
    terminal.run("ln", "-sfn", newer, CURRENT)
    try:
        terminal.run("/var/lib/dpkg/info/pos-agent.postinst", "configure", agent.__version__)
        assert terminal.run("readlink", CURRENT).strip() == newer
    finally:
        terminal.run("ln", "-sfn", f"releases/{agent.__version__}", CURRENT)
        terminal.run("rm", "-r", f"/opt/pos-agent/{newer}")
        terminal.run("systemctl", "restart", UNIT)


def test_every_module_of_the_agent_comes_from_bytecode_that_the_agent_cannot_write(terminal: Terminal) -> None:
    terminal.run("rm", "-f", "/run/imports")
    terminal.drop_in(UNIT, "StandardError=file:/run/imports")
    terminal.drop_in(UNIT, f"ExecStart=\nExecStart={RUN.format(more='-v')}")
    uplink = "/etc/pos-agent/agent.d/uplink.toml"  # with a broker's name to look up
    terminal.run("mkdir", "-p", str(Path(uplink).parent))
    terminal.run("tee", uplink, stdin='[uplink]\nhost = "broker.invalid"\ntls = false\ndown_fault_after_s = 5.0\n')
    try:
        terminal.run("systemctl", "restart", UNIT)
        pay(terminal, 5)
        terminal.wait(lambda: "NET-MQT-001" in terminal.run("posctl", "health", check=False), what="the broker's fault")
        terminal.run("systemctl", "stop", UNIT)
        lines = terminal.run("cat", "/run/imports").splitlines()
    finally:
        terminal.run("rm", "-r", uplink, f"/etc/systemd/system/{UNIT}.d")
        terminal.run("systemctl", "daemon-reload")
        terminal.run("systemctl", "start", UNIT)
    compiled = [line for line in lines if line.startswith("# code object from /") and line.endswith(".py")]
    assert len([line for line in lines if line.startswith("# code object from '/") and ".opt-2.pyc" in line]) > 150
    for late in ("aiomqtt/client.", "concurrent/futures/thread."):  # imported once the agent runs
        assert any(late in line for line in lines)
    assert compiled == [], "\n".join(compiled)
    with pytest.raises(CommandFailed, match="Permission denied"):
        terminal.run_as("pos-agent", [], "touch", f"{CURRENT}/bytecode/usr/written")


def test_bytecode_makes_the_start_faster_and_the_process_smaller(terminal: Terminal) -> None:
    with_it = start_ms_and_rss_kib(terminal)
    bytecode = terminal.run("readlink", "-f", f"{CURRENT}/bytecode").strip()
    terminal.run("mv", bytecode, f"{bytecode}.away")
    try:
        without = start_ms_and_rss_kib(terminal)
    finally:
        terminal.run("mv", f"{bytecode}.away", bytecode)
    print(
        f"to READY {with_it[0]:.0f} ms with bytecode, {without[0]:.0f} ms without; {with_it[1]}, {without[1]} KiB RSS"
    )
    assert with_it[0] < without[0]
    assert with_it[1] < without[1]


def test_all_of_it_is_within_its_budget(terminal: Terminal) -> None:
    said = terminal.run("du", "--summarize", "--apparent-size", "--block-size=1", "/opt/pos-agent")
    print(f"{int(said.split()[0]) / 1e6:.1f} MB installed")
    assert int(said.split()[0]) <= 10_000_000


def test_an_upgrade_of_the_standard_library_has_its_bytecode_made_again(terminal: Terminal) -> None:
    source = "/usr/lib/python3.11/json/decoder.py"
    compiled = f"{CURRENT}/bytecode/usr/lib/python3.11/json/decoder.cpython-311.opt-2.pyc"
    before = terminal.run("stat", "-L", "-c", "%i", f"{CURRENT}/bytecode")
    terminal.run("touch", source)
    terminal.run("dpkg-trigger", "--no-await", "--by-package=python3", "/usr/lib/python3.11/json")
    terminal.run("dpkg", "--configure", "--pending")
    assert terminal.run("stat", "-L", "-c", "%i", f"{CURRENT}/bytecode") != before
    noted = terminal.run("od", "-A", "n", "-t", "u4", "-j", "8", "-N", "4", compiled).strip()
    assert noted == terminal.run("stat", "-c", "%Y", source).strip()
