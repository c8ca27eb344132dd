"""Which trust policy this process works under, and whether it may be the demo's own."""

from __future__ import annotations

from pathlib import Path

from agent.config import Settings
from agent.contract.policy import Policy
from agent.errors import PolicyInvalid
from agent.trust.policy import is_development_policy, read_policy


def read_trust(settings: Settings, demo_folder: Path | None) -> tuple[Policy | None, str]:
    """The trust policy, or None and why it is not used. Without one nothing is taken from the broker."""
    try:
        policy = read_policy(Path(settings.trust.policy))
    except PolicyInvalid as err:
        return None, err.message
    if policy is not None and is_development_policy(policy) and not _is_demo(settings, demo_folder):
        return None, "the trust policy holds a development key: only `pos-agent demo` accepts its own"
    return policy, ""


def _is_demo(settings: Settings, demo_folder: Path | None) -> bool:
    """Everything below the demo's own folder, and the broker on loopback."""
    if demo_folder is None or settings.mode != "development":
        return False
    folder = demo_folder.resolve()
    used = [settings.paths.state, settings.paths.run, settings.trust.policy, settings.trust.tuf_root]
    is_local = settings.uplink is None or settings.uplink.host in {"127.0.0.1", "::1", "localhost"}
    return is_local and all(Path(path).resolve().is_relative_to(folder) for path in used)
