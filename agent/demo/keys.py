"""The demo's own keys and policy, made with the operator's tools as anybody would make theirs.

Its organisation is ``development``: the agent takes such a key only when the demo started it, ``pos-agent run`` never.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from agent.backup.age import present
from agent.demo.parts import DemoFailed

PERSON, ORGANISATION = "demo-operator", "development"
COLLECTOR = "demo-collector"


def make_development_trust(key_folder: Path, policy_file: Path) -> None:
    """Make ``demo-operator.key.json`` and ``demo-collector.key.json`` below ``key_folder``, and a policy of both.

    Raises:
        DemoFailed: The tool refused, in its own words.
    """
    policy_file.parent.mkdir(parents=True, exist_ok=True)
    for person, roles in ((PERSON, "root,support,operator,security"), (COLLECTOR, "collector")):
        who = ["--person", person, "--organisation", ORGANISATION, "--roles", roles]
        _fleet_keys("new", "--out", str(key_folder), *who)
    keys = [str(key_folder / f"{person}.key.json") for person in (PERSON, COLLECTOR)]
    _fleet_keys("policy", "--out", str(policy_file), "--keys", *keys)


def make_operator_key(file: Path) -> str:
    """Make the operator's age key, to which backups are encrypted; the public part. As ``age-keygen`` does it."""
    pair = present().generate()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"# public key: {pair.public}\n{pair.secret}\n")
    file.chmod(0o600)
    return pair.public


def _fleet_keys(*arguments: str) -> None:
    command = [sys.executable, "-m", "agent.ctl", "fleet", "keys", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        raise DemoFailed(f"{' '.join(command[2:])}: {done.stderr.strip() or done.stdout.strip()}")
