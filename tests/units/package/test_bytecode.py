"""Bytecode of a small release, by a real interpreter that is laid out as a release's is."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "package/bytecode.py"
MINOR = f"{sys.version_info[0]}.{sys.version_info[1]}"
SOURCES = {
    "agent/__init__.py": '"""Ours."""\n',
    "agent/demo/tour.py": "",
    "agent/lazy.py": "def later() -> None:\n    import agent.demo.tour, colorsys\n",
    "drivers/__init__.py": "",
    "drivers/absent.py": "import a_library_that_is_not_here\n",
    "drivers/broken.py": "this is no Python\n",
}


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """One release, and ``current`` that leads to it."""
    release = tmp_path / "releases/0.2.0"
    python = Path(sys.executable).resolve()
    (release / "bin").mkdir(parents=True)
    (release / "bin/python").symlink_to(python)
    (release / "pyvenv.cfg").write_text(f"home = {python.parent}\ninclude-system-site-packages = false\n")
    for name, source in SOURCES.items():
        file = release / f"lib/python{MINOR}/site-packages" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(source)
    (tmp_path / "current").symlink_to("releases/0.2.0")
    return release


def compile_it(release: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """As the maintainer script does."""
    command = [*map(str, (release / "bin/python", *options, SCRIPT, release, release.parents[1] / "current"))]
    return subprocess.run(command, capture_output=True, text=True, timeout=100)


def options(release: Path) -> list[str]:
    """Of the interpreter."""
    return ["-I", "-OO", "-X", f"pycache_prefix={release}/bytecode.new"]


def imports(release: Path, statement: str) -> str:
    """What Python says of its imports when it is started through ``current``."""
    current = release.parents[1] / "current"
    started = [f"{current}/bin/python", "-v", "-I", "-OO", "-X", f"pycache_prefix={current}/bytecode", "-c", statement]
    done = subprocess.run(started, check=True, capture_output=True, text=True, timeout=100)
    return done.stderr


def compiled_anew(said: str) -> list[str]:
    """Sources that had no bytecode."""
    return re.findall(r"^# code object from /.*\.py$", said, re.MULTILINE)


def test_our_modules_and_what_they_import_at_any_time_are_found_through_current(release: Path) -> None:
    assert "site-packages/agent/lazy.py" in "".join(compiled_anew(imports(release, "import agent.lazy")))
    made = compile_it(release, *options(release))
    assert (made.returncode, made.stderr, made.stdout) == (0, "", "")
    said = imports(release, "import agent.lazy, colorsys, encodings.idna")
    assert compiled_anew(said) == []
    assert not list((release / "bytecode").rglob("tour*"))
    assert f"current/bytecode{release.parents[1]}/current/lib/python{MINOR}/site-packages/agent/lazy" in said
    assert not (release / "bytecode.new").exists()


def test_a_module_that_cannot_be_imported_here_is_compiled_and_one_that_is_no_python_is_left_out(release: Path) -> None:
    assert compile_it(release, *options(release)).returncode == 0
    made = {path.name.partition(".")[0] for path in (release / "bytecode").rglob("drivers/*.opt-2.pyc")}
    assert made == {"__init__", "absent"}


def test_a_second_run_replaces_the_first(release: Path) -> None:
    compile_it(release, *options(release))
    (release / f"lib/python{MINOR}/site-packages/agent/lazy.py").unlink()
    assert compile_it(release, *options(release)).returncode == 0
    assert not list((release / "bytecode").rglob("lazy*"))


def test_another_interpreter_would_make_other_bytecode_and_is_refused(release: Path) -> None:
    made = compile_it(release, "-I", "-O", "-X", f"pycache_prefix={release}/bytecode.new")
    assert made.returncode == 2
    assert "-I -OO" in made.stderr
    assert compile_it(release, "-I", "-OO").returncode == 2
    assert not (release / "bytecode").exists()
