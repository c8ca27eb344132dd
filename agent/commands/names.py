"""Names that arguments of several commands carry."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

DeviceName = Annotated[
    str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}\Z", description="a device's id in the model or configuration")
]
UnitName = Annotated[
    str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9@:._\\-]{0,191}\.service\Z", description="a service unit of the machine")
]
