"""The name of a unit that orders may touch, in configuration, requests and answers. Source: ``systemd.unit(5)``.

Services only. It never begins with ``-`` and holds no ``/``, blank or line end: it is safe as an argument and in the
name of a file.
"""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta

UNIT_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9@:._\\-]{0,191}\.service\Z"

UnitName = Annotated[str, Meta(pattern=UNIT_PATTERN)]
