"""``python -m drivers.emulators NAME …``: start an emulator of the catalog."""

from __future__ import annotations

import sys

from drivers.catalog import EMULATORS


def main(argv: list[str]) -> int:
    """Exit code of the emulator; 2 for a name that is not there."""
    if not argv or argv[0] not in EMULATORS:
        print(f"usage: python -m drivers.emulators {{{','.join(sorted(EMULATORS))}}} …", file=sys.stderr)
        return 2
    return EMULATORS[argv[0]](argv[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
