"""What the daemon leaves out of its libraries: gone from memory, there for whoever asks, and nothing else changed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
DAEMON = (
    "from agent.runtime.lean_imports import import_libraries; import_libraries(); import agent.boot, agent.config; "
)


def run(code: str) -> str:
    """In a process of its own, as modules that are loaded already stay so."""
    done = subprocess.run([sys.executable, "-OO", "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_daemon_holds_none_of_what_it_never_calls() -> None:
    left_out = {
        *("ast", "locale", "ipaddress", "pickle", "typing_extensions", "random", "argparse", "gettext", "shutil"),
        *("inspect", "dis", "decimal", "msgspec.inspect", "msgspec.msgpack", "msgspec.toml", "msgspec.yaml"),
        *(
            "difflib",
            "urllib.request",
            "http.client",
            "email",
            "encodings.idna",
            "grp",
            "pwd",
            "concurrent.futures.thread",
        ),
        *("structlog.dev", "structlog.stdlib", "structlog.testing", "structlog.tracebacks"),
        *("nacl.bindings.crypto_box", "nacl.bindings.crypto_pwhash", "nacl.public"),
    }
    loaded = set(run(DAEMON + "import sys; print(*sys.modules)").split())
    assert "agent.uplink.session" in loaded
    assert loaded & left_out == set()


def test_whoever_imports_a_left_out_module_later_gets_the_real_one() -> None:
    run(
        DAEMON + "import ast, locale, ipaddress, pickle, typing_extensions, structlog.dev, structlog.testing, random;"
        "assert ast.parse('1').body; assert ipaddress.ip_address('::1'); assert pickle.loads(pickle.dumps(1)) == 1;"
        "assert locale.getpreferredencoding(False); assert structlog.dev.ConsoleRenderer();"
        "from structlog.testing import capture_logs; assert typing_extensions.Self"
    )


def test_a_library_that_uses_its_stand_in_after_all_is_passed_on() -> None:
    run(
        DAEMON + "import subprocess, sys, urllib.parse, inspect;"
        "done = subprocess.run([sys.executable, '-c', 'print(1)'], capture_output=True, text=True, check=True);"
        "assert done.stdout == '1\\n'; assert urllib.parse.urlsplit('http://[::1]:80/').hostname == '::1';"
        "assert 'iterable' in str(inspect.signature(sorted))"
    )


def test_dataclasses_are_made_with_and_without_a_docstring() -> None:
    run(
        DAEMON + "import dataclasses, decimal, msgspec.toml;"
        "made = dataclasses.make_dataclass('Made', ['a']); assert made(1) == made(1); assert made.__doc__ == 'Made';"
        "assert msgspec.toml.decode('a = 1') == {'a': 1}; assert decimal.Decimal('1.50') + 1 == decimal.Decimal('2.5')"
    )


def test_a_module_that_is_loaded_already_is_left_alone() -> None:
    run(
        "import ast, structlog.dev, locale; kept = [ast, structlog.dev, locale];" + DAEMON + "import sys;"
        "assert [sys.modules[one.__name__] for one in kept] == kept; assert structlog.dev is kept[1]"
    )


def test_the_lean_libraries_log_and_decode_like_the_whole_ones() -> None:
    said = run(
        DAEMON + "import sys; from agent.runtime import event_log; import structlog, msgspec;"
        "event_log.configure('info', str, sys.stdout); log = structlog.get_logger('x');\n"
        "class One(msgspec.Struct):\n    a: int\n"
        "try:\n    msgspec.json.decode(b'{}', type=One)\n"
        "except msgspec.ValidationError as err:\n    log.error('thing.happened', count=1, exc_info=err)\n"
    )
    assert '"event":"thing.happened"' in said
    assert '"exception":"ValidationError at' in said
