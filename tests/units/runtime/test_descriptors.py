"""The soft limit of descriptors is raised as far as the hard one allows, and it is said when that is too little."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
soft, hard, wanted = (int(one) for one in sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
from agent.runtime.descriptors import allow_descriptors
print(allow_descriptors(wanted), *resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.parametrize(
    ("soft", "hard", "wanted", "given", "told"),
    [
        (256, 900, 700, "700 700 900", ""),
        (256, 400, 700, "400 400 400", "descriptors.too_few"),
        (800, 900, 700, "700 800 900", ""),
        (700, 700, 700, "700 700 700", ""),
    ],
)
def test_as_many_as_wanted_or_as_allowed(soft: int, hard: int, wanted: int, given: str, told: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(soft), str(hard), str(wanted)], capture_output=True, text=True, check=True
    )
    *logged, last = done.stdout.splitlines()
    assert last == given
    assert told in "".join(logged)
    assert bool(logged) == bool(told)
