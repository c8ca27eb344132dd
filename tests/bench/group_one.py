"""The same agent with a group size of one: every record is a commit of its own, the peer of group commit.

``COMMIT_DELAY_MS`` adds that many milliseconds to every commit of either server, as slow storage would.
"""

from __future__ import annotations

import os
import sys

from agent.__main__ import main
from agent.store import database
from tests.bench import slow_commit

if __name__ == "__main__":
    if os.environ.get("MAX_GROUP"):
        _init = database.Database.__init__

        def _one(self: database.Database, *args: object, **kwargs: object) -> None:
            _init(self, *args, **{**kwargs, "max_group": int(os.environ["MAX_GROUP"])})  # type: ignore[arg-type]

        database.Database.__init__ = _one  # type: ignore[method-assign]
    slow_commit.install(float(os.environ.get("COMMIT_DELAY_MS", "0")))
    sys.exit(main(["run", *sys.argv[1:]]))
