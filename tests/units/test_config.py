"""Configuration: strict, every problem at once with file and key, and the last good copy."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from agent.config import GOOD_COPY, good_copy_files, load, load_or_last_good
from agent.errors import ConfigInvalid

ROOT = Path(__file__).parents[2]
GOOD = """
mode = "development"
[terminal]
site = "shop-1"
terminal = "T-0001"
serial = "SN1"
[paths]
state = "{state}"
"""


def _write(folder: Path, text: str, name: str = "agent.toml") -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text.replace("{state}", str(folder / "state")))
    return file


def _problems(file: Path) -> list[str]:
    with pytest.raises(ConfigInvalid) as caught:
        load(file)
    return caught.value.problems


def test_the_shipped_file_is_a_valid_configuration() -> None:
    assert load(ROOT / "config" / "agent.toml").settings.mode == "production"


def test_the_shipped_file_names_every_key() -> None:
    import msgspec

    from agent.config import Settings

    text = (ROOT / "config" / "agent.toml").read_text()
    for table in msgspec.structs.fields(Settings):
        kinds = [kind for kind in (table.type, *getattr(table.type, "__args__", ())) if isinstance(kind, type)]
        for kind in kinds:
            if issubclass(kind, msgspec.Struct):
                for field in msgspec.structs.fields(kind):
                    named = f"{field.name} = " in text or f"[[{table.name}.{field.name}]]" in text
                    assert named, f"{table.name}.{field.name} is not explained"


def test_every_problem_is_reported_at_once_with_file_and_key(tmp_path: Path) -> None:
    file = _write(
        tmp_path,
        """
mode = "test"
colour = "red"
[terminal]
site = "shop 1"
terminal = 17
[paths]
run = "relative"
[uplink]
port = "1883"
tls = "yes"
[health]
interval_ms = 10000
read_deadline_s = "2s"
[[binding]]
provider = "a"
mid = "1234567890123456"
""",
    )
    problems = _problems(file)
    for key in (
        "mode",
        "colour",
        "terminal.site",
        "terminal.terminal",
        "terminal.serial",
        "paths.run",
        "uplink.host",
        "uplink.port",
        "uplink.tls",
        "health.interval_ms",
        "health.read_deadline_s",
        "binding[0].mid",
        "binding[0].tid",
    ):
        assert [p for p in problems if p.startswith(f"{file}: {key}: ")], f"{key} is missing in {problems}"
    assert len(problems) == 13


def test_one_service_is_one_application(tmp_path: Path) -> None:
    twice = "".join(f'[[application]]\nname = "{name}"\nunit = "payment.service"\n' for name in ("shop", "fuel"))
    file = _write(tmp_path, GOOD + twice)
    assert _problems(file) == [
        f"{file}: application: the unit payment.service stands twice: one service is one application"
    ]


def test_two_places_for_backups_are_two_folders(tmp_path: Path) -> None:
    places = "".join(
        f'[[backup.folder]]\nname = "{name}"\npath = "{path}"\n'
        for name, path in (("card", "/media/backup"), ("stick", "/media//backup/"), ("disk", "/media/disk"))
    )
    file = _write(tmp_path, GOOD + f'[backup]\nrecipients = ["age1{"q" * 58}"]\n{places}')
    assert _problems(file) == [
        f"{file}: backup.folder: the path /media/backup stands twice: two places in one folder disturb each other"
    ]


@pytest.mark.parametrize(
    ("url", "is_right"),
    [
        ("https://backup.example/terminals/", True),
        ("https://[::1]:8443", True),
        ("https://backup.example:99999/", False),
        ("https://name:secret@backup.example/", False),
        ("https://backup.example/?token=secret", False),
        ("http://backup.example/", False),
    ],
)
def test_a_server_for_backups_is_host_port_and_path(tmp_path: Path, url: str, *, is_right: bool) -> None:
    server = f'[backup]\nrecipients = ["age1{"q" * 58}"]\n[[backup.server]]\nname = "vault"\nurl = "{url}"\n'
    file = _write(tmp_path, GOOD + server)
    if is_right:
        load(file)
    else:
        (problem,) = _problems(file)
        assert "backup.server[0].url" in problem
        assert "secret" not in problem


def test_a_wrong_unit_is_named(tmp_path: Path) -> None:
    problems = _problems(_write(tmp_path, GOOD + "[health]\ninterval_ms = 5\nread_deadline_s = '2s'\n"))
    assert any("use interval_s" in p for p in problems)
    assert any("plain number of seconds" in p for p in problems)


def test_a_near_miss_is_suggested(tmp_path: Path) -> None:
    assert any(
        "did you mean terminal" in p for p in _problems(_write(tmp_path, GOOD.replace("terminal =", "terminl =")))
    )


@pytest.mark.parametrize("text", ["mode = ", "[terminal", "mode = 'a'\nmode = 'b'"])
def test_bad_toml_tells_line_and_column(tmp_path: Path, text: str) -> None:
    (problem,) = _problems(_write(tmp_path, text))
    assert "is not TOML" in problem
    assert "line" in problem


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    (problem,) = _problems(tmp_path / "none.toml")
    assert "does not exist" in problem
    assert "--config" in problem


def test_a_folder_and_rubbish_bytes_are_named(tmp_path: Path) -> None:
    assert "folder" in _problems(tmp_path)[0]
    rubbish = tmp_path / "agent.toml"
    rubbish.write_bytes(b"\xff\xfe\x00")
    assert "not UTF-8" in _problems(rubbish)[0]


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    """As another user: root may read everything."""
    if os.getuid() != 0:
        pytest.skip("needs root, to become somebody else")
    tmp_path.chmod(0o755)
    file = _write(tmp_path, GOOD)
    file.chmod(0o600)
    parent = tmp_path.parent
    while parent != parent.parent:
        parent.chmod(parent.stat().st_mode | 0o011)
        parent = parent.parent
    # Everything is imported before the change of user: the interpreter itself may lie where only root can read.
    script = (
        "import os, tomllib\nfrom pathlib import Path\nfrom agent.config import load\nos.setuid(65534)\n"
        f"try:\n    load(Path({str(file)!r}))\nexcept Exception as err:\n    print(err)\n"
    )
    run = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "may not be read by this user" in run.stdout


def test_drop_ins_are_laid_over_in_name_order_and_problems_name_them(tmp_path: Path) -> None:
    file = _write(tmp_path, GOOD)
    _write(tmp_path, "[terminal]\nserial = 'SN2'\n[health]\ninterval_s = 5", "agent.d/20.toml")
    _write(tmp_path, "[terminal]\nserial = 'SN3'", "agent.d/30.toml")
    settings = load(file).settings
    assert (settings.terminal.serial, settings.terminal.site, settings.health.interval_s) == ("SN3", "shop-1", 5.0)
    bad = _write(tmp_path, "[terminal]\nsite = ''", "agent.d/40.toml")
    assert _problems(file)[0].startswith(f"{bad}: terminal.site: ")


def test_a_production_terminal_takes_no_assumed_clock_and_no_open_broker(tmp_path: Path) -> None:
    text = (
        GOOD.replace("development", "production")
        + "[clock]\ntrust='assume'\n[uplink]\nhost='broker.example'\ntls=false"
    )
    keys = [p.split(": ")[1] for p in _problems(_write(tmp_path, text))]
    assert keys == ["clock.trust", "uplink.tls"]


def test_a_bad_file_runs_on_the_last_good_copy(tmp_path: Path) -> None:
    file = _write(tmp_path, GOOD)
    good = load(file)
    (tmp_path / "state").mkdir()
    for name, content in good_copy_files(good).items():
        if content is not None:
            (tmp_path / "state" / name).write_bytes(content)
    file.write_text(file.read_text() + "\ncolour = 'red'\n[unknown]\n")
    loaded = load_or_last_good(file)
    assert loaded.settings == good.settings
    assert loaded.digest == good.digest
    assert len(loaded.problems) == 2
    assert GOOD_COPY == "agent.toml.good"


def test_a_bad_file_without_a_good_copy_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid):
        load_or_last_good(_write(tmp_path, GOOD + "colour = 1"))


def test_a_damaged_good_copy_is_not_used(tmp_path: Path) -> None:
    file = _write(tmp_path, GOOD + "colour = 1")
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / GOOD_COPY).write_text("mode = 'development'\n")
    with pytest.raises(ConfigInvalid):
        load_or_last_good(file)


def test_the_digest_follows_content_not_form(tmp_path: Path) -> None:
    first = load(_write(tmp_path, GOOD)).digest
    assert load(_write(tmp_path, "# a comment\n" + GOOD)).digest == first
    assert load(_write(tmp_path, GOOD + "[health]\ninterval_s = 11")).digest != first


def test_check_config_exits_2_and_lists_everything(tmp_path: Path) -> None:
    file = _write(tmp_path, "mode = 1\n[terminal]\nsite = 2")
    run = subprocess.run(
        [sys.executable, "-m", "agent", "check-config", "--config", str(file)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 2
    assert "mode" in run.stderr
    assert "terminal.site" in run.stderr
    assert "terminal.terminal" in run.stderr
    assert "terminal.serial" in run.stderr
