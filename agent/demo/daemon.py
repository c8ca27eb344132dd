"""The agent as the demo starts it: the same as ``pos-agent run``, but for accepting the demo's own development key.

Arguments: the configuration file, and the folder below which everything must lie.
"""

from __future__ import annotations

import sys
from pathlib import Path

from agent.boot import start
from agent.config import load

if __name__ == "__main__":
    sys.exit(start(load(Path(sys.argv[1])), demo_folder=Path(sys.argv[2])))
