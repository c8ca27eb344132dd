"""``pos-agent keys``: the terminal's own public key, made at the first call. The private one is never printed."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path

from agent.backup.restore_key import make_key, read_key
from agent.boot.agent_user import become_agent_user, state_alone
from agent.config import Settings
from agent.ctl.screen import Screen


def keys(settings: Settings, _options: argparse.Namespace, screen: Screen) -> int:
    """Print the recipient ``age1…``. One that was made before is printed while the daemon runs, too."""
    state = Path(settings.paths.state)
    become_agent_user(state)
    key = read_key(state)
    if key is None:
        with state_alone(state):
            key = make_key(state, datetime.now(UTC))
    terminal = settings.terminal
    if screen.as_json:
        screen.document({"site": terminal.site, "terminal": terminal.terminal, "recipient": key.public})
    else:
        screen.line(key.public)
        screen.note(
            f"the public key of {terminal.site}/{terminal.terminal}: give it to the operator, who encrypts backups to"
            " it by posctl fleet backup reencrypt"
        )
    return 0
